"""`export_onnx`: write a model as one ONNX file, after comparing its logits with torch's."""

from pathlib import Path
from typing import Any, Literal

from timesformer.errors import ConfigError
from timesformer.export.flatten import flatten
from timesformer.export.graph import to_int8, trace
from timesformer.export.parity import Size, check_parity, checked_sizes, random_clips
from timesformer.export.sidecar import sidecar
from timesformer.export.traced import TracedForm, least_frames
from timesformer.export.written import Exported, check_target, exported
from timesformer.inference.onnx_model import onnx_metadata, open_session, run_session
from timesformer.inference.weights_hash import weights_sha256
from timesformer.model.fast import FastTimeSformer
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.model_folder import check_readable

OnnxPrecision = Literal["fp32", "int8"]

TOLERANCE = {"fp32": 1e-3, "int8": 1.0}
"""In standard deviations of the logits. fp32 differs in summation order alone; int8 beyond this is broken."""

_RUNNER = "timesformer.export.runner"


def export_onnx(
    model: TimeSformer,
    path: str | Path,
    *,
    precision: OnnxPrecision = "fp32",
    runner: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Write a model as one ONNX file for any batch size and number of frames, and its sidecar, all or nothing.

    The file holds the folded model (`timesformer.model.fast`), with attention as an operator of ONNX Runtime that other
    runtimes lack. Config, clips, labels and license are stored in its metadata, so `Predictor` needs nothing else. The
    sidecar, of the same name with the suffix `.json`, holds the same for other programs.

    The time embedding is resized to the frames of each input, as torch does. With the step `sparse`, the file accepts
    four frames or more, or only those of the config if they are fewer.

    Args:
        model: The model.
        path: Target file, which ends in `.onnx`; its parents are created.
        precision: `fp32`, or `int8` for the linear layers of the blocks.
        runner: Also write `run_NAME.py` next to the file: a script that classifies videos with it like `Predictor`,
            and needs numpy, av and onnxruntime only.
        overwrite: Replace existing files.

    Raises:
        WeightsError: The file has another suffix or cannot be written, or there is not one label per class.
        DependencyError: The exporter is not installed.
        ConfigError: A file exists and `overwrite` is False; or the model has hooks, or weights beyond the limit of
            one ONNX file, or other than three channels with `runner`.
        TimeSformerError: The model cannot be expressed in ONNX, or ONNX Runtime's logits differ from torch's at one of
            several sizes.
    """
    path = Path(path).expanduser()
    check_target(path, suffix=".onnx", overwrite=overwrite, with_runner=runner)
    if runner:
        _check_channels(model)
    check_readable(model)
    least = least_frames(model.config)
    graph = trace(TracedForm(FastTimeSformer(model)), example_clips(model, least), least_frames=least)
    if precision == "int8":
        graph = to_int8(graph)
    _add_metadata(graph, onnx_metadata(model.config, model.info, least_frames=least))
    content = graph.SerializeToString()
    session, sizes = open_session(content), checked_sizes(model.config, least)
    deviation = check_parity(lambda clips: run_session(session, clips), model, sizes, tolerance=TOLERANCE[precision])
    properties = {"kind": "onnx", "precision": precision, "dynamic_frames": least is not None, "least_frames": least}
    described = sidecar(
        model.config,
        model.info,
        file=path.name,
        content=content,
        export=properties,
        weights_sha256=weights_sha256(model),
    )
    script = flatten(_RUNNER, constants={"MODEL": path.name}) if runner else ""
    return exported(path, content, described, deviation, sizes=sizes, least_frames=least, runner=script)


def _check_channels(model: TimeSformer) -> None:
    if model.config.in_channels != 3:
        raise ConfigError(
            f"in_channels={model.config.in_channels}: runner=True (--runner) needs 3, the number of channels of a video"
        )


def example_clips(model: TimeSformer, least: int | None) -> Any:
    """Clips to trace a model with: sizes of 1, and equal ones, would be taken for constants."""
    frames = model.config.num_frames
    return random_clips(model.config, Size(2, frames if least is None else max(frames, 5) | 1))


def _add_metadata(graph: Any, entries: dict[str, str]) -> None:
    """Store the metadata that a prediction needs."""
    for key, value in entries.items():
        graph.metadata_props.add(key=key, value=value)
