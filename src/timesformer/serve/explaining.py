"""`/v1/explain`: which parts of a video an answer rests on."""

import io
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from timesformer.config.compute import ComputeOptions
from timesformer.data.clips.center_view import CenterView
from timesformer.errors import ConfigError, TimeSformerError
from timesformer.explanation.curve import svg
from timesformer.explanation.explain import Explainer, find_target
from timesformer.explanation.explanation import Explanation, Method
from timesformer.explanation.strip import draw_strip
from timesformer.inference.onnx_model import Classifier, OnnxModel
from timesformer.names import compose
from timesformer.serve.blocking import Stop
from timesformer.serve.decoding import Decoders
from timesformer.serve.problems import ProblemError
from timesformer.serve.uploads import Upload

Form = Literal["json", "png", "svg", "mp4"]
MEDIA_TYPES: dict[str, str] = {"png": "image/png", "svg": "image/svg+xml", "mp4": "video/mp4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainRequest:
    """What to explain, and how to show it."""

    method: Method
    target: int | str | None
    to: Form


def explain_request(model: Classifier, *, method: Method, class_: str | None, to: Form) -> ExplainRequest:
    """A checked request.

    Args:
        model: The model.
        method: How to explain.
        class_: Name or index of the class; None for the most probable one.
        to: Form of the answer.

    Raises:
        ProblemError: The model cannot be explained (409), or the class is unknown or has no effect (422).
    """
    if isinstance(model, OnnxModel):
        detail = "the model is an ONNX file, whose attention is not accessible"
        raise ProblemError(409, detail, fix="ask for a server of the run that it was exported from")
    is_index = class_ is not None and class_.isascii() and class_.isdecimal()
    target = int(class_[:20]) if class_ and is_index and class_ not in map(compose, model.info.labels) else class_
    try:
        find_target(target, model.info, num_classes=model.config.num_classes, method=method)
    except ConfigError as error:
        raise ProblemError(422, f"class: {error}", fix="GET /v1/model has the classes in `labels`") from error
    return ExplainRequest(method=method, target=target, to=to)


def explanation_of(
    model: Classifier, view: CenterView, request: ExplainRequest, *, name: str, options: ComputeOptions, stop: Stop
) -> Explanation:
    """Explain a view; blocks.

    Raises:
        ProblemError: Status 422: the model outputs nan or inf for it.
    """
    assert not isinstance(model, OnnxModel)
    if request.method != "occlusion":  # which alone has other options than a device
        options = ComputeOptions(device=options.device)
    explainer = Explainer(model, method=request.method, options=replace(options, allow_codecs=()))
    try:
        return explainer.explain_view(
            view, path=name, target=request.target, on_progress=lambda done, total: stop.check()
        )
    except TimeSformerError as error:
        raise ProblemError(422, str(error), fix="send another video; this one cannot be explained") from error


def to_json(explanation: Explanation) -> dict[str, Any]:
    """The explanation with its map `[t][h][w]`, without pixels."""
    return {**explanation.to_dict(), "map": explanation.map.tolist()}


def to_bytes(
    explanation: Explanation, to: Form, *, upload: Upload, decoders: Decoders, seconds: float, stop: Stop
) -> bytes:
    """The explanation as a picture or a video; blocks.

    Args:
        explanation: What to show.
        to: `png`, `svg` or `mp4`.
        upload: The video.
        decoders: Start the process that writes an MP4.
        seconds: Limit of the time for an MP4.
        stop: May stop the work.

    Raises:
        RefusedError: The process died.
    """
    if to == "svg":
        return svg(explanation).encode()
    if to == "png":
        buffer = io.BytesIO()
        draw_strip(explanation).save(buffer, format="PNG")
        return buffer.getvalue()
    output = upload.path.with_name(f"{secrets.token_hex(16)}.mp4")
    try:
        return _mp4(explanation, output, upload=upload, decoders=decoders, seconds=seconds, stop=stop)
    finally:
        for each in upload.path.parent.glob(f"{output.stem}*"):  # also what a killed process left
            each.unlink(missing_ok=True)


def _mp4(
    explanation: Explanation, output: Path, *, upload: Upload, decoders: Decoders, seconds: float, stop: Stop
) -> bytes:
    with (
        decoders.own_child(call_s=seconds, cpu_s=2 * seconds, may_write=True) as child,
        stop.stopping(child),
    ):
        child.call("overlay", str(upload.path), explanation, str(output))
    return output.read_bytes()
