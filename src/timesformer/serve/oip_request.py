"""The body of an inference request of the Open Inference Protocol, read in a decoding process.

Source: https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

import base64
import binascii
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

OUTPUTS = ("probabilities", "labels")


class InferRequest(NamedTuple):
    """Clips or a video, and what the answer holds."""

    id: str | None
    clips: Float32[np.ndarray, "b 3 t s1 s2"] | None
    video: bytes | None
    outputs: tuple[str, ...]


class BadRequestError(Exception):
    """The body is not such a request; the message says why."""


def read_infer_request(path: str | Path, *, clip_shape: tuple[int, ...], max_clips: int) -> InferRequest:
    """Read a request.

    Args:
        path: File with the body.
        clip_shape: Shape of a clip, `(3, t, h, w)`.
        max_clips: Largest number of clips.

    Raises:
        BadRequestError: It is not valid.
    """
    try:
        body = json.loads(Path(path).read_bytes(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BadRequestError("the body is not a JSON object")
    tensor = _one_input(body)
    shape = _shape(tensor)
    if tensor["name"] == "clips":
        clips = _clips(tensor, shape, clip_shape=clip_shape, max_clips=max_clips)
        return InferRequest(_id(body), clips, None, _outputs(body))
    return InferRequest(_id(body), None, _video(tensor, shape), _outputs(body))


def _id(body: dict[str, Any]) -> str | None:
    if not isinstance(body.get("id"), str | None):
        raise BadRequestError("id is not a string")
    return body.get("id")


def _one_input(body: dict[str, Any]) -> dict[str, Any]:
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise BadRequestError("inputs is not a list of one tensor: `video` or `clips`")
    if inputs[0].get("name") not in ("video", "clips"):
        raise BadRequestError(f"the input {str(inputs[0].get('name'))[:80]!r} is neither `video` nor `clips`")
    return inputs[0]


def _shape(tensor: dict[str, Any]) -> tuple[int, ...]:
    shape = tensor.get("shape")
    is_list = isinstance(shape, list) and all(type(size) is int and size > 0 for size in shape)
    if not is_list:
        raise BadRequestError("shape is not a list of whole numbers from 1")
    return tuple(shape)


def _outputs(body: dict[str, Any]) -> tuple[str, ...]:
    outputs = body.get("outputs")
    if outputs is None:
        return OUTPUTS
    if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
        raise BadRequestError("outputs is not a list of objects with `name`")
    names = tuple(str(each.get("name")) for each in outputs)
    if unknown := [name for name in names if name not in OUTPUTS]:
        raise BadRequestError(f"the output {unknown[0][:80]!r} is not one of {', '.join(OUTPUTS)}")
    return names or OUTPUTS


def _clips(
    tensor: dict[str, Any], shape: tuple[int, ...], *, clip_shape: tuple[int, ...], max_clips: int
) -> Float32[np.ndarray, "b 3 t s1 s2"]:
    if tensor.get("datatype") != "FP32":
        raise BadRequestError("the datatype of `clips` is not FP32")
    if len(shape) != 5 or shape[1:] != clip_shape:
        raise BadRequestError(f"clips of shape {list(shape)[:8]} do not fit: the model reads {['b', *clip_shape]}")
    if shape[0] > max_clips:
        raise BadRequestError(f"{shape[0]} clips are more than {max_clips}, the largest batch of this server")
    try:
        values = np.array(tensor.get("data"), dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequestError("data of `clips` is not a list of numbers") from error
    if values.size != math.prod(shape):
        raise BadRequestError(f"data of `clips` has {values.size} numbers, not {math.prod(shape)}")
    if not np.isfinite(values).all():
        raise BadRequestError("data of `clips` has numbers that do not fit float32")
    return values.reshape(shape)


def _video(tensor: dict[str, Any], shape: tuple[int, ...]) -> bytes:
    if tensor.get("datatype") != "BYTES" or shape != (1,):
        raise BadRequestError("the input `video` is not BYTES of shape [1]")
    data = tensor.get("data")
    if not isinstance(data, list) or len(data) != 1 or not isinstance(data[0], str):
        raise BadRequestError("data of `video` is not a list of one string, the file in base64")
    try:
        return base64.b64decode(data[0], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequestError(f"data of `video` is not base64: {error}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")
