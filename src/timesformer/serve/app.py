"""The application: routes, the page, and errors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.staticfiles import StaticFiles

from timesformer._version import __version__
from timesformer.serve.oip import check_ready, oip_routes
from timesformer.serve.problems import ProblemError
from timesformer.serve.routes import model_routes
from timesformer.serve.schemas import Health, problems
from timesformer.serve.service import Service

STATIC = Path(__file__).with_name("static")
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def make_app(service: Service) -> FastAPI:
    """The application of a service.

    Args:
        service: A running service.
    """
    app = FastAPI(
        title="timesformer",
        version=__version__,
        summary="Video classification with TimeSformer.",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    _add_problems(app)
    _add_page(app)
    _add_state(app, service)
    app.include_router(model_routes(service))
    app.include_router(oip_routes(service))
    return app


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", media_type="text/html")

    app.mount("/static", StaticFiles(directory=STATIC), name="static")


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", tags=["state"], responses=problems(403))
    async def healthz() -> Health:
        """Whether the server runs."""
        return Health(status="ok")

    @app.get("/readyz", tags=["state"], responses=problems(403, 503))
    async def readyz() -> Health:
        """Whether the server answers requests: the model is loaded, and the decoders run."""
        check_ready(service)
        return Health(status="ready")

    @app.get("/metrics", tags=["state"], responses={200: {"content": {"text/plain": {}}}} | problems(401, 403),
             response_class=Response)  # fmt: skip
    async def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(service.metrics.text(), media_type=_PROMETHEUS)


def _add_problems(app: FastAPI) -> None:
    """Answer every error as `application/problem+json`."""

    def handle(kind: type[Exception], answer: Callable[[Any], Response]) -> None:
        async def handler(request: Request, error: Exception) -> Response:
            return answer(error)

        app.add_exception_handler(kind, handler)

    handle(ProblemError, ProblemError.response)
    handle(RequestValidationError, _invalid)
    handle(HTTPException, _http)
    handle(ClientDisconnect, lambda error: Response(status_code=499))
    handle(Exception, lambda error: ProblemError(500, "the server failed", fix="see the log of the server").response())


def _invalid(error: RequestValidationError) -> Response:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return ProblemError(422, f"{place}: {first['msg']}", fix="see /openapi.json for the parameters").response()


def _http(error: HTTPException) -> Response:
    fix = {404: "see /openapi.json for the paths", 405: "use a method of the Allow header"}.get(error.status_code, "")
    return ProblemError(
        error.status_code, error.detail, fix=fix or "see /openapi.json", headers=error.headers or {}
    ).response()
