"""The predictor: a model, ready for files."""

from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from timesformer.config.checks import check_choice
from timesformer.config.run import Precision
from timesformer.data.dataset import read_test_views
from timesformer.data.transforms import model_input
from timesformer.errors import ConfigError, DependencyError
from timesformer.inference.onnx_model import Classifier, OnnxModel, open_model
from timesformer.inference.views import check_finite, fuse, resolve_device
from timesformer.model.fast import FastTimeSformer
from timesformer.model.kernels import has_hooks
from timesformer.model.timesformer import TimeSformer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Numbers to compute in, by the name of their precision."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The classes that a model gives to a video, most probable first.

    `probabilities` are those of the `labels`, of `num_classes` in all, fused over `views` views of the video.
    """

    path: str
    labels: tuple[str, ...]
    indices: tuple[int, ...]
    probabilities: tuple[float, ...]
    num_classes: int
    views: int
    num_frames: int
    fps: float
    duration_s: float

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers, strings and lists, ready for JSON."""
        return asdict(self)


class Predictor:
    """Classifies video files with one model.

    Args:
        model: A model, anything that `load` takes, or an ONNX file that `timesformer export` wrote; the latter runs on
            the CPU as it was exported, and takes none of the options below but `batch_size`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        batch_size: Views that go through the model at once.
        fast: Compute by `FastTimeSformer`: the same answers to rounding, in less time and memory. A model with hooks
            is computed as it is, so that they run.
        compile: Compile the model by `torch.compile` when it first meets a size of batch: a minute or more on a CPU,
            kept by torch in its cache on the disk. On a GPU its kernels are then started as one graph. On a CPU it
            gains nothing beside `fast`.
        precision: Numbers in which the model computes: `bf16` or `fp16` on a GPU that has them; slower on a CPU.
        **overrides: Passed to `load`, such as `num_frames=16`.

    Raises:
        WeightsError: The weights cannot be loaded.
        ConfigError: The device is not there, or an override cannot work.
    """

    model: TimeSformer | FastTimeSformer | OnnxModel
    """What computes, on `device`."""

    def __init__(
        self,
        model: Classifier | str | Path,
        *,
        device: str = "auto",
        batch_size: int = 8,
        fast: bool = True,
        compile: bool = False,
        precision: Precision = "fp32",
        **overrides: Any,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size} must be at least 1")
        check_choice("precision", precision, Precision)
        if isinstance(model, Classifier) and overrides:
            raise ConfigError(f"{', '.join(overrides)}: overrides apply to weights that are loaded, not to a model")
        self.device = resolve_device(device)
        model = model if isinstance(model, Classifier) else open_model(model, **overrides)
        self.dtype = DTYPES[precision]
        if isinstance(model, OnnxModel):
            _refuse_for_onnx(device=device, fast=fast, compile=compile, precision=precision)
            self.device = torch.device("cpu")
        model = model.eval().to(self.device)
        if isinstance(model, OnnxModel):
            self.model = model
        elif fast and not has_hooks(model):
            self.model = FastTimeSformer(model).to(self.dtype)
        else:
            self.model = model if precision == "fp32" else deepcopy(model).to(self.dtype)
        self.batch_size = batch_size
        mode = "reduce-overhead" if self.device.type == "cuda" else "default"
        self._compute = torch.compile(self.model, mode=mode) if compile else self.model

    def __call__(self, path: str | Path, *, top_k: int = 5) -> Prediction:
        """Classify a video by the views that the model's `info.clip` asks for.

        Args:
            path: The video: a file, a folder of frames, or a video in a tar file.
            top_k: Classes to name; all of them where the model has fewer.

        Raises:
            DecodeError: The file holds no video that can be read.
            ConfigError: `top_k` is less than 1.
            TimeSformerError: The model answers nan or inf.
        """
        if top_k < 1:
            raise ConfigError(f"top_k={top_k} must be at least 1")
        views, video = read_test_views(path, self.model.config, self.model.info.clip)
        logits = self.logits(views)
        check_finite(logits, path)
        probabilities = fuse(logits, self.model.info.clip.fusion)
        top = probabilities.topk(min(top_k, len(probabilities)))
        indices = tuple(top.indices.tolist())
        return Prediction(
            path=str(path),
            labels=tuple(self.model.info.label(index) for index in indices),
            indices=indices,
            probabilities=tuple(top.values.tolist()),
            num_classes=len(probabilities),
            views=len(views),
            num_frames=video.num_frames,
            fps=video.fps,
            duration_s=video.duration_s,
        )

    @torch.inference_mode()
    def logits(self, clips: Float[Tensor, "b 3 t h w"] | UInt8[Tensor, "b 3 t h w"]) -> Float[Tensor, "b k"]:
        """Logits, on the CPU, of clips that are normalised, or 8-bit and then normalised on the device.

        `batch_size` of them go through the model at a time.

        Raises:
            DependencyError: The model is to be compiled, and there is no compiler that works.
        """
        clip = self.model.info.clip
        parts = (model_input(part.to(self.device), clip) for part in clips.split(self.batch_size))
        try:
            return torch.cat([self._compute(part.to(self.dtype)).float().cpu() for part in parts])
        except RuntimeError as error:
            if type(error).__name__ != "InductorError":  # of a module that only compilation imports
                raise
            reason = next(iter(str(error).splitlines()), "")
            raise DependencyError(f"the model cannot be compiled here; do without, or see to this: {reason}") from error


def _refuse_for_onnx(*, device: str, fast: bool, compile: bool, precision: Precision) -> None:
    """Refuse what an ONNX file cannot follow.

    Raises:
        ConfigError: Something other than the default was asked for.
    """
    given = {"fast=False": not fast, "compile=True": compile, f"precision={precision!r}": precision != "fp32"}
    given[f"device={device!r}"] = device not in ("auto", "cpu")
    for name, is_given in given.items():
        if is_given:
            raise ConfigError(f"{name} has no effect on an ONNX file, which runs on the CPU as it was exported")
