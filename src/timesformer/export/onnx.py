"""`export_onnx`: a model as one ONNX file that is checked before it is there."""

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

# Of the spread of the logits. fp32 differs by the order of sums alone; int8 that strays further is broken, not rounded.
_TOLERANCE = {"fp32": 1e-3, "int8": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A model that was written, and how far its answers are from those of torch on random clips.

    `difference` is the largest of any logit, over the standard deviation of the logits; `cosine` is the least of any
    clip. Random clips are a check of the graph; what int8 costs on videos is for `evaluate` to say.
    """

    path: str
    precision: OnnxPrecision
    bytes: int
    difference: float
    cosine: float

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers and strings, ready for JSON."""
        return asdict(self)


def export_onnx(
    model: TimeSformer,
    path: str | Path,
    *,
    precision: OnnxPrecision = "fp32",
    overwrite: bool = False,
) -> Exported:
    """Write a model as one ONNX file for clips of its config's sizes, any number at once; all of it or nothing.

    What is written is the folded model (`timesformer.model.fast`), with attention as ONNX Runtime's own operator: other
    runtimes do not have it. Config, clips, labels and license go into the file's metadata, so that `Predictor` needs
    nothing else.

    Args:
        model: The model.
        path: A file that ends in `.onnx`; its parents are made.
        precision: `fp32`, or `int8` for the linear maps of the blocks.
        overwrite: Whether a file that is there is replaced.

    Raises:
        WeightsError: The file has another ending, cannot be written, or the labels are not one a class.
        DependencyError: The exporter is not installed.
        ConfigError: The file already exists and must not be replaced; or the model has hooks, or more weights than one
            ONNX file can hold.
        TimeSformerError: The model cannot be expressed, or ONNX Runtime gives other answers than torch.
    """
    path = Path(path).expanduser()
    check_onnx_target(path, overwrite=overwrite)
    check_readable(model)
    clips = _random_clips(model.config)
    graph = trace(OrtForm(FastTimeSformer(model)), clips[:2])
    if precision == "int8":
        graph = to_int8(graph)
    _describe(graph, model)
    content = graph.SerializeToString()
    difference, cosine = compare(run_session(open_session(content), clips), _logits(model, clips))
    if not difference <= _TOLERANCE[precision]:
        raise TimeSformerError(
            f"the exported model differs from torch by {difference:.2g} of the spread of the logits, more than "
            f"{_TOLERANCE[precision]:g}: nothing is written"
        )
    _write(content, path)
    return Exported(path=str(path), precision=precision, bytes=len(content), difference=difference, cosine=cosine)


def _random_clips(config: ModelConfig) -> Float[Tensor, "3 c t h w"]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, config.in_channels, config.num_frames, *config.image_size, generator=generator)


@torch.no_grad()
def _logits(model: TimeSformer, clips: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b k"]:
    """Logits in eval mode; the model keeps the mode in which it came."""
    was_training = model.training
    try:
        return model.eval()(clips)
    finally:
        model.train(was_training)


def compare(found: Float[Tensor, "b k"], wanted: Float[Tensor, "b k"]) -> tuple[float, float]:
    """Largest difference over the standard deviation of the wanted logits, and the least cosine of any row."""
    spread = wanted.std(correction=0).clamp_min(torch.finfo(wanted.dtype).tiny)
    cosine = torch.nn.functional.cosine_similarity(found, wanted, dim=-1).min()
    return ((found - wanted).abs().max() / spread).item(), cosine.item()


def check_onnx_target(path: Path, *, overwrite: bool) -> None:
    """Refuse a place to which `export_onnx` could not write.

    Raises:
        ConfigError, WeightsError: As `export_onnx`.
    """
    if path.suffix.lower() != ".onnx":
        raise WeightsError(f"{path}: name a file that ends in .onnx")
    if path.is_dir():
        raise WeightsError(f"{path}: is a folder; name a file")
    refuse_existing(path, overwrite=overwrite)


def _describe(graph: Any, model: TimeSformer) -> None:
    """Put what a prediction needs beside the graph."""
    for key, value in onnx_metadata(model.config, model.info).items():
        graph.metadata_props.add(key=key, value=value)


def _write(content: bytes, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_bytes(content)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {error}") from error
