"""Routes of the Open Inference Protocol, which KServe and Triton speak: health, metadata and infer.

Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

import secrets
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from fastapi import APIRouter, Request
from fastapi import Path as InPath
from fastapi.responses import JSONResponse
from jaxtyping import Float32

from timesformer._version import __version__
from timesformer.serve.computing import Infer
from timesformer.serve.oip_request import OUTPUTS, InferRequest
from timesformer.serve.problems import ProblemError, busy
from timesformer.serve.schemas import (
    INFER_BODY,
    InferAnswer,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
    problems,
)
from timesformer.serve.service import Service
from timesformer.serve.uploads import JSON, Upload

ModelId = Annotated[str, InPath(description="Name of the model, as `GET /v1/model` has it.")]


def oip_routes(service: Service) -> APIRouter:
    """The routes under `/v2`."""
    routes = APIRouter(prefix="/v2", tags=["open inference protocol"])
    _add_health(routes, service)
    _add_model(routes, service)
    return routes


def _add_health(routes: APIRouter, service: Service) -> None:
    @routes.get("", responses=problems(401, 403))
    async def server() -> ServerMetadata:
        """Name and version of the server."""
        return ServerMetadata(name="timesformer", version=__version__, extensions=[])

    @routes.get("/health/live", responses=problems(403))
    async def live() -> Live:
        """Whether the server runs."""
        return Live(live=True)

    @routes.get("/health/ready", responses=problems(403, 503))
    async def ready() -> Ready:
        """Whether the server answers requests."""
        check_ready(service)
        return Ready(ready=True)


def _add_model(routes: APIRouter, service: Service) -> None:
    card = service.card

    @routes.get("/models/{name:path}/ready", responses=problems(401, 403, 404, 503))
    async def model_ready(name: ModelId) -> ModelReady:
        """Whether the model answers requests."""
        _check_name(name, card)
        check_ready(service)
        return ModelReady(name=card["name"], ready=True)

    @routes.post("/models/{name:path}/infer", openapi_extra=INFER_BODY, response_model=InferAnswer,
                 responses=problems(400, 401, 403, 404, 413, 415, 422, 503))  # fmt: skip
    async def infer(name: ModelId, request: Request) -> JSONResponse:
        """Classify a video, or normalized clips."""
        _check_name(name, card)
        return JSONResponse(await service.answer(request, lambda upload: _infer(service, upload), accepted=JSON))

    @routes.get("/models/{name:path}", responses=problems(401, 403, 404), response_model=ModelMetadata)
    async def metadata(name: ModelId) -> JSONResponse:
        """Inputs and outputs of the model."""
        _check_name(name, card)
        return JSONResponse(_metadata(service))


def check_ready(service: Service) -> None:
    """Refuse while requests cannot be answered.

    Raises:
        ProblemError: Status 503.
    """
    if not service.decoders.is_alive:
        raise busy("the decoders do not run", retry_after_s=5)
    if service.admission.is_closed:
        raise busy("the server is stopping", retry_after_s=5)


def _check_name(name: str, card: dict[str, Any]) -> None:
    if name != card["name"]:
        raise ProblemError(404, "this server has no model of that name", fix=f"the model is {card['name']!r}")


def _metadata(service: Service) -> dict[str, Any]:
    config = service.predictor.model.config
    clips = [-1, 3, config.num_frames, *config.image_size]
    return {
        "name": service.card["name"],
        "versions": [],
        "platform": "timesformer",
        "inputs": [
            {"name": "video", "datatype": "BYTES", "shape": [1]},
            {"name": "clips", "datatype": "FP32", "shape": clips},
        ],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, config.num_classes]},
            {"name": "labels", "datatype": "BYTES", "shape": [-1]},
        ],
    }


async def _infer(service: Service, upload: Upload) -> dict[str, Any]:
    given: InferRequest = await service.decoders.infer_request(upload.path, max_clips=service.limits.max_batch)
    if given.clips is not None:
        probabilities = await service.compute(Infer(torch.from_numpy(given.clips)))
    else:
        probabilities = await _of_video(service, given.video or b"", upload.path.parent)
    return _answer(service, given, probabilities)


async def _of_video(service: Service, content: bytes, folder: Path) -> Float32[np.ndarray, "1 k"]:
    path = folder / secrets.token_hex(16)
    try:
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(content)
        num_classes = service.predictor.model.config.num_classes
        found = await service.predict(Upload(path, "", len(content)), top_k=num_classes)
    finally:
        path.unlink(missing_ok=True)
    probabilities = np.empty((1, num_classes), dtype=np.float32)
    probabilities[0, list(found.indices)] = found.probabilities
    return probabilities


def _answer(service: Service, given: InferRequest, probabilities: Float32[np.ndarray, "b k"]) -> dict[str, Any]:
    labels = [service.card["labels"][index] for index in probabilities.argmax(axis=1)]
    tensors = {
        "probabilities": ("FP32", list(probabilities.shape), probabilities.ravel().tolist()),
        "labels": ("BYTES", [len(labels)], labels),
    }
    outputs = [
        dict(zip(("name", "datatype", "shape", "data"), (name, *tensors[name]), strict=True))
        for name in OUTPUTS
        if name in given.outputs
    ]
    named = {} if given.id is None else {"id": given.id}
    return {"model_name": service.card["name"], **named, "outputs": outputs}
