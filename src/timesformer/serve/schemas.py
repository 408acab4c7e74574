"""Bodies of answers and requests, for `/openapi.json`."""

from collections.abc import Iterable
from typing import Any, Literal

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
    clip_seconds: float | None
    explain_methods: list[str]
    license: str
    source: str
    weights_sha256: str
    parameters: int
    metrics: dict[str, Any]
    limits: dict[str, float]


class ExplanationAnswer(BaseModel):
    """Relevance of each patch `map[t][row][column]` and frame of one view of a video; the map sums to 1."""

    path: str
    method: str
    target: int | None
    label: str
    probability: float
    cls_fraction: float | None
    """Share of the relevance that stays in the class token."""
    grid: list[int]
    curve: list[float]
    frames: list[int]
    seconds: list[float]
    box: list[float]
    """Top, left, height and width of the crop in the frames of the video, in pixels."""
    peak_frames: list[int]
    peak_seconds: list[float]
    map: list[list[list[float]]]


class EmbeddingAnswer(BaseModel):
    """Features of a video: `[d]`, of its frames `[t][d]`, or of its patches `[t][row][column][d]`."""

    embedding: list[Any]
    dim: int
    level: str
    model_sha256: str


class SegmentAnswer(BaseModel):
    """A segment with one label, in seconds from the first frame; half-open."""

    label: str
    index: int
    start: float
    end: float
    start_frame: int
    end_frame: int
    score: float
    peak: float


class TimelineAnswer(BaseModel):
    """What happens when in a video."""

    format: str
    source: dict[str, Any]
    model: dict[str, str]
    window: float
    stride: float
    settings: dict[str, Any]
    classes: list[str]
    segments: list[SegmentAnswer]
    gaps: list[dict[str, Any]]


class JobAccepted(BaseModel):
    """A job that was begun; GET its location until it is done."""

    id: str
    status: str
    location: str


class JobAnswer(BaseModel):
    """State of a job. `result` is a timeline, or text for other formats than `json`."""

    id: str
    status: Literal["queued", "running", "done", "failed", "canceled"]
    progress: float
    result: dict[str, Any] | str | None
    problem: ProblemDetails | None


class ServerMetadata(BaseModel):
    """Metadata of the server."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """Whether the server runs."""

    live: bool


class Ready(BaseModel):
    """Whether the server answers requests."""

    ready: bool


class ModelReady(BaseModel):
    """Whether the model answers requests."""

    name: str
    ready: bool


class TensorMetadata(BaseModel):
    """Name, type and shape of a tensor; -1 is any size."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """Inputs and outputs of the model; a request has one of the inputs."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class Tensor(BaseModel):
    """A tensor with its data, in row-major order."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float] | list[str]


class InferAnswer(BaseModel):
    """Results of an inference request."""

    model_name: str
    id: str | None = None
    outputs: list[Tensor]


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


_INPUT = {
    "type": "object",
    "required": ["name", "shape", "datatype", "data"],
    "properties": {
        "name": {"enum": ["video", "clips"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "datatype": {"enum": ["BYTES", "FP32"]},
        "data": {"type": "array", "description": "One file in base64 for `video`, numbers for `clips`."},
    },
}

INFER_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {
                        "id": {"type": "string"},
                        "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": _INPUT},
                        "outputs": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {"name": {"enum": ["probabilities", "labels"]}},
                            },
                        },
                    },
                }
            }
        },
    }
}
"""The body of an inference request, for `openapi_extra`."""


def files(media_types: Iterable[str]) -> dict[str, Any]:
    """Contents of an answer that may also be a file, for `responses` of a route."""
    return {"content": {media_type: {"schema": {"type": "string"}} for media_type in media_types}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Descriptions of errors, for `responses` of a route."""
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {
        status: {"description": _DESCRIPTIONS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }
