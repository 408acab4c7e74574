"""Test protocol: description of the views of a video, and changes to them."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from timesformer.config.schema import ClipConfig, ModelConfig, Precision

_DEFAULTS = {field.name: field.default for field in fields(ClipConfig)}
_KNOWN_TESTS = {
    ("center", 1, 3, "softmax"): "the paper",
    ("dense", 1, 3, "logits"): "the released code",
    ("segment", 1, 3, "logits"): "the released code on Something-Something",
}
"""Sampling, clips, crops and fusion of published results (differences: docs/concepts)."""


def describe_protocol(model: ModelConfig, clip: ClipConfig, *, precision: Precision = "fp32") -> str:
    """Describe a protocol in a line: `dense 8x32 at 30 fps, 1 clip x 3 crops of 224x224, softmax fusion`.

    A protocol that matches the paper or the released code says so. Another precision than fp32 is named.
    """
    frames = f"{clip.sampling} {model.num_frames}"
    if clip.sampling in ("dense", "center", "coverage"):
        frames += f"x{clip.frame_stride} at {clip.target_fps:g} fps"
    if clip.frames_per_channel_group > 1:
        frames += f", {clip.frames_per_channel_group} moments a frame"
    if clip.background != "keep":
        frames += ", background removed" if clip.background == "remove" else ", differences from the background"
    if clip.region == "motion":
        frames += f", cropped to what moves (at least {clip.min_region:g} of the frame)"
    clips = "all clips" if clip.sampling == "coverage" else f"{clip.num_clips} clip{'s' * (clip.num_clips > 1)}"
    crops = f"{clip.num_crops} crop{'s' * (clip.num_crops > 1)}"
    height, width = model.image_size
    known = _KNOWN_TESTS.get((clip.sampling, clip.num_clips, clip.num_crops, clip.fusion))
    note = f" (views and fusion as in {known})" if known else ""
    computed = "" if precision == "fp32" else f", computed in {precision}"
    return f"{frames}, {clips} x {crops} of {height}x{width}, {clip.fusion} fusion{note}{computed}"


def change_views(clip: ClipConfig, changes: Mapping[str, Any]) -> ClipConfig:
    """Change the views of a video at test time.

    Unchanged fields that have no effect with the changes return to their defaults: three crops have no `test_scale`,
    a whole frame has no `min_region`, `center` and `coverage` have no number of clips, and `segment` and `uniform`
    have no stride.

    Args:
        clip: The clip config of a model.
        changes: Fields of `ClipConfig` and their new values.

    Raises:
        ConfigError: A value is out of range, or a change has no effect.
    """
    sampling = changes.get("sampling", clip.sampling)
    idle = {"test_scale"} if changes.get("num_crops", clip.num_crops) != 1 else set()
    idle |= {"min_region"} if changes.get("region", clip.region) == "frame" else set()
    idle |= {"num_clips"} if sampling in ("center", "coverage") else set()
    idle |= {"frame_stride", "target_fps"} if sampling in ("segment", "uniform") else set()
    return replace(clip, **{name: _DEFAULTS[name] for name in idle} | dict(changes))
