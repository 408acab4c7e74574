"""Bodies of answers and requests, for `/openapi.json`."""

from typing import Any

from pydantic import BaseModel

from timesformer.serve.problems import MEDIA_TYPE
from timesformer.serve.uploads import FIELD


class ProblemDetails(BaseModel):
    """Why a request failed (RFC 9457), and what helps."""

    type: str
    title: str
    status: int
    detail: str
    fix: str


class PredictionAnswer(BaseModel):
    """The most probable classes of a video, in descending order."""

    path: str
    labels: list[str]
    indices: list[int]
    probabilities: list[float]
    num_classes: int
    num_views: int
    num_frames: int
    fps: float
    duration_s: float
    timing: str


class ModelCard(BaseModel):
    """What is known of the model, and the limits of the server."""

    name: str
    scheme: str
    labels: list[str]
    num_classes: int
    num_frames: int
    frame_stride: int
    image_size: list[int]
    sampling: str
    clip: dict[str, Any]
    license: str
    source: str
    weights_sha256: str
    parameters: int
    metrics: dict[str, Any]
    limits: dict[str, float]


class Health(BaseModel):
    """State of the server."""

    status: str


_DESCRIPTIONS = {
    400: "The request is malformed.",
    401: "The token is missing or wrong.",
    403: "The Host header is not a name of this server, or another web site sent the request.",
    404: "There is nothing under this path.",
    405: "The path does not have this method.",
    409: "The state of the resource does not allow this.",
    413: "The file is larger than the limit.",
    415: "The body is not of a type of videos.",
    422: "A parameter is invalid, or the video cannot be decoded or is beyond a limit.",
    429: "Too many jobs.",
    503: "The server is busy; Retry-After says when to try again.",
}

VIDEO_STATUSES = (400, 401, 403, 413, 415, 422, 503)
"""Errors of requests with a video."""

_BINARY = {"schema": {"type": "string", "format": "binary"}}

VIDEO_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "video/mp4": _BINARY,
            "application/octet-stream": _BINARY,
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                    "additionalProperties": False,
                }
            },
        },
    }
}
"""A video in the body of a request, for `openapi_extra`."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Descriptions of errors, for `responses` of a route."""
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {
        status: {"description": _DESCRIPTIONS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }
