"""`export_onnx`: write a model as one ONNX file, after comparing its logits with torch's."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from timesformer.config.schema import ModelConfig
from timesformer.errors import TimeSformerError, WeightsError
from timesformer.export.graph import to_int8, trace
from timesformer.export.onnxruntime import OrtForm
from timesformer.files import replacing
from timesformer.inference.onnx_model import onnx_metadata, open_session, run_session
from timesformer.model.fast import FastTimeSformer
from timesformer.model.timesformer import TimeSformer
from timesformer.outputs import refuse_existing
from timesformer.weights.model_folder import check_readable

OnnxPrecision = Literal["fp32", "int8"]

# In standard deviations of the logits. fp32 differs in summation order only; int8 beyond this is broken, not rounded.
_TOLERANCE = {"fp32": 1e-3, "int8": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An exported file and the deviation of its logits from torch's on random clips.

    `difference` is the largest of any logit, in standard deviations of the logits; `cosine` is the lowest similarity
    of any clip. Random clips verify the graph; `evaluate` measures the accuracy of int8 on videos.
    """

    path: str
    precision: OnnxPrecision
    bytes: int
    difference: float
    cosine: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings for JSON."""
        return asdict(self)


def export_onnx(
    model: TimeSformer,
    path: str | Path,
    *,
    precision: OnnxPrecision = "fp32",
    overwrite: bool = False,
) -> Exported:
    """Write a model as one ONNX file for clips of its config's sizes and any batch size, all or nothing.

    The file holds the folded model (`timesformer.model.fast`), with attention as an operator of ONNX Runtime that other
    runtimes lack. Config, clips, labels and license are stored in its metadata, so `Predictor` needs nothing else.

    Args:
        model: The model.
        path: Target file, which ends in `.onnx`; its parents are created.
        precision: `fp32`, or `int8` for the linear layers of the blocks.
        overwrite: Replace an existing file.

    Raises:
        WeightsError: The file has another suffix or cannot be written, or there is not one label per class.
        DependencyError: The exporter is not installed.
        ConfigError: The file exists and `overwrite` is False; or the model has hooks, or weights beyond the limit of
            one ONNX file.
        TimeSformerError: The model cannot be expressed in ONNX, or ONNX Runtime's logits differ from torch's.
    """
    path = Path(path).expanduser()
    check_onnx_target(path, overwrite=overwrite)
    check_readable(model)
    clips = _random_clips(model.config)
    graph = trace(OrtForm(FastTimeSformer(model)), clips[:2])
    if precision == "int8":
        graph = to_int8(graph)
    _add_metadata(graph, model)
    content = graph.SerializeToString()
    difference, cosine = compare(run_session(open_session(content), clips), _logits(model, clips))
    if not difference <= _TOLERANCE[precision]:
        raise TimeSformerError(
            f"the exported model differs from torch by {difference:.2g} standard deviations of the logits, more than "
            f"{_TOLERANCE[precision]:g}: nothing is written"
        )
    _write(content, path)
    return Exported(path=str(path), precision=precision, bytes=len(content), difference=difference, cosine=cosine)


def _random_clips(config: ModelConfig) -> Float[Tensor, "3 c t h w"]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, config.in_channels, config.num_frames, *config.image_size, generator=generator)


@torch.no_grad()
def _logits(model: TimeSformer, clips: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b k"]:
    """Logits in eval mode; the model's mode is restored."""
    was_training = model.training
    try:
        return model.eval()(clips)
    finally:
        model.train(was_training)


def compare(found: Float[Tensor, "b k"], wanted: Float[Tensor, "b k"]) -> tuple[float, float]:
    """Largest difference in standard deviations of the wanted logits, and the lowest cosine similarity of any row."""
    deviation = wanted.std(correction=0).clamp_min(torch.finfo(wanted.dtype).tiny)
    cosine = torch.nn.functional.cosine_similarity(found, wanted, dim=-1).min()
    return ((found - wanted).abs().max() / deviation).item(), cosine.item()


def check_onnx_target(path: Path, *, overwrite: bool) -> None:
    """Refuse a path that `export_onnx` could not write.

    Raises:
        ConfigError, WeightsError: As `export_onnx`.
    """
    if path.suffix.lower() != ".onnx":
        raise WeightsError(f"{path}: the file name must end in .onnx")
    if path.is_dir():
        raise WeightsError(f"{path}: is a folder; name a file")
    refuse_existing(path, overwrite=overwrite)


def _add_metadata(graph: Any, model: TimeSformer) -> None:
    """Store the metadata that a prediction needs."""
    for key, value in onnx_metadata(model.config, model.info).items():
        graph.metadata_props.add(key=key, value=value)


def _write(content: bytes, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {error.strerror or error}") from error
