"""Routes of the API under `/v1`."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from timesformer.errors import ConfigError
from timesformer.explanation.explanation import Method
from timesformer.inference.embed import Embedding, refuse_level
from timesformer.model.tokens import Level
from timesformer.serve import explaining, timelining
from timesformer.serve.explaining import explain_request
from timesformer.serve.jobs import Job
from timesformer.serve.problems import ProblemError
from timesformer.serve.schemas import (
    VIDEO_BODY,
    VIDEO_STATUSES,
    EmbeddingAnswer,
    ExplanationAnswer,
    JobAccepted,
    JobAnswer,
    ModelCard,
    PredictionAnswer,
    TimelineAnswer,
    files,
    problems,
)
from timesformer.serve.service import Service
from timesformer.serve.timelining import timeline_request

TopK = Annotated[int, Query(ge=1, le=10_000, description="Number of classes in the answer; all if there are fewer.")]
Class = Annotated[
    str | None,
    Query(alias="class", max_length=1000, description="Class to explain, by name or index."),
]
Seconds = Annotated[float | None, Query(gt=0, le=86_400, allow_inf_nan=False, description="In seconds.")]


def model_routes(service: Service) -> APIRouter:
    """The routes under `/v1`."""
    routes = APIRouter(prefix="/v1", tags=["model"])
    _add_model(routes, service)
    _add_explain(routes, service)
    _add_timeline(routes, service)
    _add_jobs(routes, service)
    return routes


def _add_model(routes: APIRouter, service: Service) -> None:
    @routes.get("/model", responses=problems(401, 403), response_model=ModelCard)
    async def model() -> JSONResponse:
        """The model card, and the limits of the server."""
        return JSONResponse(service.card)

    @routes.post("/predict", openapi_extra=VIDEO_BODY, response_model=PredictionAnswer,
                 responses=problems(*VIDEO_STATUSES))  # fmt: skip
    async def predict(request: Request, top_k: TopK = 5) -> JSONResponse:
        """Classify a video."""
        found = await service.answer(request, lambda upload: service.predict(upload, top_k=top_k))
        return JSONResponse(found.to_dict())

    @routes.post("/embed", openapi_extra=VIDEO_BODY, response_model=EmbeddingAnswer,
                 responses=problems(*VIDEO_STATUSES, 409))  # fmt: skip
    async def embed(request: Request, level: Level = "cls") -> JSONResponse:
        """Embed a video: the features that the head of the model reads, of the video, its frames or its patches."""
        _refuse_level(service, level)
        found = await service.answer(request, lambda upload: service.embed(upload, level=level))
        return JSONResponse(_embedding(found, level, sha256=service.card["weights_sha256"]))


def _add_explain(routes: APIRouter, service: Service) -> None:
    @routes.post("/explain", openapi_extra=VIDEO_BODY, response_model=ExplanationAnswer,
                 responses={200: files(explaining.MEDIA_TYPES.values())} | problems(*VIDEO_STATUSES, 409))  # fmt: skip
    async def explain(
        request: Request, method: Method = "contribution", class_: Class = None, to: explaining.Form = "json"
    ) -> Response:
        """Show which parts of a video the answer rests on: its first clip and center crop."""
        wanted = explain_request(service.model, method=method, class_=class_, to=to)
        found = await service.answer(request, lambda upload: service.explain(upload, wanted))
        if isinstance(found, bytes):
            return Response(found, media_type=explaining.MEDIA_TYPES[to])
        return JSONResponse(found)


def _add_timeline(routes: APIRouter, service: Service) -> None:
    @routes.post("/timeline", openapi_extra=VIDEO_BODY, response_model=TimelineAnswer,
                 responses={200: files(timelining.MEDIA_TYPES.values()),
                            202: {"model": JobAccepted, "description": "The video is long: a job was begun."}}
                 | problems(*VIDEO_STATUSES, 429))  # fmt: skip
    async def timeline(
        request: Request, window: Seconds = None, stride: Seconds = None, to: timelining.Form = "json"
    ) -> Response:
        """Find what happens when in a video; a job if the video is long."""
        sha256 = service.card["weights_sha256"]
        task = timeline_request(service.model, service.predictor, window=window, stride=stride, sha256=sha256)
        found = await service.answer(request, lambda upload: service.timeline(upload, task, to=to))
        if isinstance(found, Job):
            content = {"id": found.id, "status": found.status, "location": found.location}
            return JSONResponse(content, status_code=202, headers={"Location": found.location})
        return JSONResponse(found) if to == "json" else Response(found, media_type=timelining.MEDIA_TYPES[to])


def _add_jobs(routes: APIRouter, service: Service) -> None:
    @routes.get("/jobs/{id}", responses=problems(401, 403, 404), response_model=JobAnswer)
    async def job(id: str) -> JSONResponse:
        """State of a job, and its result once it is done."""
        return JSONResponse(service.jobs.get(id).to_dict())

    @routes.delete("/jobs/{id}", responses=problems(401, 403, 404, 409), response_model=JobAnswer)
    async def cancel(id: str) -> JSONResponse:
        """Cancel a job."""
        return JSONResponse(service.jobs.cancel(id).to_dict())


def _refuse_level(service: Service, level: Level) -> None:
    """Refuse a model that has no features.

    Raises:
        ProblemError: Status 409.
    """
    try:
        refuse_level(service.predictor, level)
    except ConfigError as error:
        detail = "the model is an ONNX file, which gives the scores of classes, not features"
        raise ProblemError(409, detail, fix="ask for a server of the run that it was exported from") from error


def _embedding(found: Embedding, level: Level, *, sha256: str) -> dict[str, Any]:
    return {
        "embedding": found.features.tolist(),
        "dim": found.features.shape[-1],
        "level": level,
        "model_sha256": sha256,
    }
