"""The note of a run in fp32 on hardware that computes bf16 faster: what `--precision auto` would gain."""

import logging
from pathlib import Path

from timesformer.cli.console import logger, note
from timesformer.config.io import from_dict
from timesformer.config.schema import ModelConfig
from timesformer.device import computes_bf16_faster, resolve_device
from timesformer.inference.onnx_model import Classifier, OnnxModel, is_onnx
from timesformer.inference.product_rates import measure_product_rates
from timesformer.jobs.embed import EmbedTask
from timesformer.jobs.folder import JobFolder
from timesformer.jobs.predict import PredictTask
from timesformer.model.cost import cost
from timesformer.model.fast import FastTimeSformer

_LEAST_GAIN = 1.3
_LEAST_S = 10.0
"""Time of the forward passes of a run in fp32 from which on it is long enough for a note."""
_LEAST_MACS = 1e11
"""Multiply-accumulates of a run that are not worth a measurement: a second or two of one core."""
_MANY = 1000
"""Clips of a run whose number is not known before its work: a batch job, or a training."""


def hint_precision(config: ModelConfig, *, device: str, clips: int = _MANY) -> None:
    """Note how many times as fast bf16 is, if that is 1.3 times or more, for a run whose precision nobody has chosen.

    It is measured, in about 30 ms. Nothing is measured with `--quiet` or for little work, and nothing is noted for a
    run of less than ten seconds.

    Args:
        config: The model.
        device: Name of the device.
        clips: Clips that go through the model in the run, or more.

    Raises:
        ConfigError: The device does not exist.
    """
    found, macs = resolve_device(device), clips * cost(config).macs
    if not logger.isEnabledFor(logging.INFO) or macs < _LEAST_MACS or not computes_bf16_faster(found):
        return
    rates = measure_product_rates(config, found)
    if rates.gain < _LEAST_GAIN or macs / rates.fp32 < _LEAST_S:
        return
    name = "processor" if found.type == "cpu" else "GPU"
    note(
        f"note: this {name} multiplies matrices in bf16 {rates.gain:.1f} times as fast as in fp32; --precision auto "
        "uses that"
    )


def hint_for_videos(model: Classifier | FastTimeSformer, *, device: str, videos: int) -> None:
    """The same for a model and the number of its videos; an ONNX file computes as it was exported."""
    if not isinstance(model, OnnxModel):
        clip = model.info.clip
        hint_precision(model.config, device=device, clips=videos * clip.num_clips * clip.num_crops)


def hint_for_job(task: PredictTask | EmbedTask, folder: str | Path, *, overwrite: bool) -> None:
    """The same for a job that begins; one that goes on keeps its precision."""
    if is_onnx(task.model) or (JobFolder(Path(folder)).job.exists() and not overwrite):
        return
    config = from_dict(task.settings["model"], kind=ModelConfig, source=task.model)
    hint_precision(config, device=task.video_model.options.device)
