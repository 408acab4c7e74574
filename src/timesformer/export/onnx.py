"""`export_onnx`: a model as one ONNX file that is checked before it is there."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from timesformer.errors import TimeSformerError, WeightsError
from timesformer.export.graph import to_int8, trace
from timesformer.files import replacing
from timesformer.inference.onnx_model import onnx_metadata, open_session, run_session
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.bundle import check_labels

Precision = Literal["fp32", "int8"]

# Of the spread of the logits. fp32 differs by the order of sums alone; int8 that strays further is broken, not rounded.
_TOLERANCE = {"fp32": 1e-3, "int8": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A model that was written, and how far its answers are from those of torch on random clips.

    `difference` is the largest of any logit, over the standard deviation of the logits; `cosine` is the least of any
    clip. Random clips are a check of the graph; what int8 costs on videos is for `evaluate` to say.
    """

    path: str
    precision: Precision
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
    precision: Precision = "fp32",
    overwrite: bool = False,
    module: nn.Module | None = None,
) -> Exported:
    """Write a model as one ONNX file for clips of its config's sizes, any number at once; all of it or nothing.

    Config, clips, labels and licence go into the file's metadata, so that `Predictor` needs nothing else.

    Args:
        model: The model.
        path: A file that ends in `.onnx`; its parents are made.
        precision: `fp32`, or `int8` for the linear maps of the blocks.
        overwrite: Whether a file that is there is replaced.
        module: Computes what `model` does, and is written in its place: a faster form of it.

    Raises:
        WeightsError: The file is there, has another ending, cannot be written, or the labels are not one a class.
        DependencyError: The exporter is not installed.
        TimeSformerError: The model cannot be expressed, or ONNX Runtime gives other answers than torch.
    """
    path = Path(path).expanduser()
    _check_target(path, overwrite=overwrite)
    check_labels(model)
    config = model.config
    clips = torch.randn(
        3, config.in_channels, config.num_frames, *config.image_size, generator=torch.Generator().manual_seed(0)
    )
    was_training = model.training
    try:
        graph = trace((module or model).eval(), clips[:2])
        graph = to_int8(graph) if precision == "int8" else graph
        with torch.no_grad():
            wanted = model.eval()(clips)
    finally:
        model.train(was_training)
    _describe(graph, model)
    content = graph.SerializeToString()
    difference, cosine = compare(run_session(open_session(content), clips), wanted)
    if not difference <= _TOLERANCE[precision]:
        raise TimeSformerError(
            f"the exported model differs from torch by {difference:.2g} of the spread of the logits, more than "
            f"{_TOLERANCE[precision]:g}: nothing is written"
        )
    _write(content, path)
    return Exported(path=str(path), precision=precision, bytes=len(content), difference=difference, cosine=cosine)


def compare(found: Float[Tensor, "b k"], wanted: Float[Tensor, "b k"]) -> tuple[float, float]:
    """Largest difference over the standard deviation of the wanted logits, and the least cosine of any row."""
    spread = wanted.std(correction=0).clamp_min(torch.finfo(wanted.dtype).tiny)
    cosine = torch.nn.functional.cosine_similarity(found, wanted, dim=-1).min()
    return ((found - wanted).abs().max() / spread).item(), cosine.item()


def _check_target(path: Path, *, overwrite: bool) -> None:
    if path.suffix.lower() != ".onnx":
        raise WeightsError(f"{path}: name a file that ends in .onnx")
    if path.is_dir():
        raise WeightsError(f"{path}: is a folder; name a file")
    if path.exists() and not overwrite:
        raise WeightsError(f"{path}: is there already; choose another place, or allow overwriting")


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
