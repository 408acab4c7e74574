"""`Predictor`: classifies videos with one model."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, Unpack, overload

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from timesformer.config.checks import check_choice, check_count
from timesformer.config.compute import ComputeOptions
from timesformer.config.schema import Precision
from timesformer.data.clips.dataset import warn_of_timing
from timesformer.data.clips.pieces import Piece, read_piece
from timesformer.data.clips.transforms import model_input
from timesformer.data.video.frame_array import FrameArrayReader
from timesformer.data.video.reader import open_reader
from timesformer.device import DTYPES, resolve_device, warn_if_slow
from timesformer.errors import DecodeError, TimeSformerError
from timesformer.inference.fitting_batch import compute_in_batches
from timesformer.inference.fusion import check_finite, fuse
from timesformer.inference.onnx_model import Classifier, OnnxModel, model_with_features, opened
from timesformer.inference.options import (
    PredictorKeywords,
    precision_of,
    predictor_options,
    refuse_for_onnx,
    split_keywords,
)
from timesformer.inference.read_ahead import num_readers, read_ahead
from timesformer.inference.threads import MOST_WORK, PartThreads
from timesformer.inference.throughput import Meter
from timesformer.inference.videos import Video, as_list, source_of, videos_per_batch
from timesformer.inference.view_batches import Computed, ReadVideo, compute_views
from timesformer.isolation.progress import report_progress
from timesformer.model.fast import FastTimeSformer
from timesformer.model.kernels import has_hooks
from timesformer.model.timesformer import TimeSformer
from timesformer.model.tokens import Encoded, Level, encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The most probable classes of a video, in descending order.

    `probabilities` belong to `labels`, of `num_classes` in all, and are fused over `num_views` views of the video.
    `timing` describes implausible timestamps and how they were handled; it is empty for plausible ones.
    """

    path: str
    """Path of the video; empty for frames in memory."""
    labels: tuple[str, ...]
    indices: tuple[int, ...]
    probabilities: tuple[float, ...]
    num_classes: int
    num_views: int
    num_frames: int
    fps: float
    duration_s: float
    timing: str = ""

    @property
    def label(self) -> str:
        """The most probable class."""
        return self.labels[0]

    @property
    def probability(self) -> float:
        """The probability of `label`."""
        return self.probabilities[0]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers, strings and lists, ready for JSON."""
        return asdict(self)


Other = TypeVar("Other")


class Predictor:
    """Classifies videos with one model.

    Args:
        model: A model, which stays unchanged; anything that `load` accepts; or an ONNX file that `timesformer export`
            wrote, which runs on the CPU and accepts no option but `batch_size` and `allow_codecs`.
        options: How to compute; see `ComputeOptions`.
        **keywords: Fields of `ComputeOptions` instead of `options`, such as `device="cuda"`, and fields of
            `ModelConfig` for `load`, such as `num_frames=16`.

    Raises:
        WeightsError: The weights cannot be loaded.
        ConfigError: The device does not exist, a codec is unknown, an option is given both ways or has no effect on a
            predictor, or an override cannot work.
    """

    model: TimeSformer | FastTimeSformer | OnnxModel
    """The model that computes, on `device`."""
    precision: Precision
    """Its floating-point type; of an ONNX file, that of the clips it takes."""

    def __init__(
        self,
        model: Classifier | str | Path,
        *,
        options: ComputeOptions | None = None,
        **keywords: Unpack[PredictorKeywords],
    ) -> None:
        compute, overrides = split_keywords(keywords)
        options = predictor_options(options, compute)
        self.device = resolve_device(options.device)
        model = opened(model, overrides)
        self.precision = precision_of(options, model)
        self.dtype = DTYPES[self.precision]
        warn_if_slow(self.precision, self.device)
        if isinstance(model, OnnxModel):
            refuse_for_onnx(options)
            self.device = torch.device("cpu")
            self.model = model
        elif options.fast and not has_hooks(model):
            fast = FastTimeSformer(model).to(self.device, self.dtype)
            self.model = fast if options.compile else fast.pack()
        else:
            self.model = deepcopy(model).eval().to(self.device, self.dtype)
        self.batch_size = options.batch_size
        self._allow_codecs = options.allow_codecs
        mode = "reduce-overhead" if self.device.type == "cuda" else "default"
        self._compute = torch.compile(self.model, mode=mode) if options.compile else self.model
        self._encoder = torch.compile(encode, mode=mode) if options.compile else encode
        is_shared = self.device.type == "cpu" and not options.compile and not isinstance(model, OnnxModel)
        self._num_weights = sum(weight.numel() for weight in self.model.parameters())
        self._parts = PartThreads() if is_shared and not has_hooks(model) else None

    @overload
    def __call__(self, video: Video, *, top_k: int = 5, fps: float | None = None) -> Prediction: ...

    @overload
    def __call__(self, video: Sequence[Video], *, top_k: int = 5, fps: float | None = None) -> list[Prediction]: ...

    def __call__(
        self, video: Video | Sequence[Video], *, top_k: int = 5, fps: float | None = None
    ) -> Prediction | list[Prediction]:
        """Classify one or several videos, with the views of the model's `info.clip`.

        Args:
            video: A file, a folder of frames, a video in a tar file, or frames in memory: upright RGB, uint8
                `[t, h, w, 3]`, an array or a tensor. In a list, the next videos are read while the model computes.
            top_k: Number of classes to return; all of them if the model has fewer.
            fps: Frame rate of frames in memory; 30 by default. Above 240 or below 1, dense clips count frames instead,
                with a warning.

        Returns:
            One prediction for one video, a list in the same order for a list.

        Raises:
            DecodeError: A file cannot be decoded as a video.
            DataError: Frames in memory have the wrong shape or type.
            ConfigError: `top_k` is less than 1, or `fps` is given for a file.
            TimeSformerError: The model outputs nan or inf.
        """
        videos, is_one = as_list(video)
        results = list(self.each(videos, top_k=top_k, fps=fps, on_error="raise"))
        return results[0] if is_one else results

    @overload
    def each(
        self,
        videos: Iterable[Video],
        *,
        top_k: int = ...,
        fps: float | None = ...,
        on_error: Literal["raise"] = ...,
        meter: Meter | None = ...,
    ) -> Iterator[Prediction]: ...

    @overload
    def each(
        self,
        videos: Iterable[Video],
        *,
        top_k: int = ...,
        fps: float | None = ...,
        on_error: Literal["yield"],
        meter: Meter | None = ...,
    ) -> Iterator[Prediction | DecodeError]: ...

    def each(
        self,
        videos: Iterable[Video],
        *,
        top_k: int = 5,
        fps: float | None = None,
        on_error: Literal["raise", "yield"] = "raise",
        meter: Meter | None = None,
    ) -> Iterator[Prediction | DecodeError]:
        """Classify videos one by one, from any iterable; see `__call__`.

        Views of several videos go through the model together, up to `batch_size`. Results are in the order of the
        videos.

        Args:
            videos: Any number of videos, also endless.
            top_k: See `__call__`.
            fps: See `__call__`.
            on_error: `yield` returns the error of an unreadable file instead of its prediction.
            meter: Counts the videos, and the time in which the model waits for them.
        """
        check_count("top_k", top_k)
        check_choice("on_error", on_error, Literal["raise", "yield"])
        read = (meter or Meter()).watch(self.reading(videos, fps=fps))
        for found in self.classify(read, top_k=top_k):
            if isinstance(found, TimeSformerError) and (on_error == "raise" or not isinstance(found, DecodeError)):
                raise found
            yield found

    def classify(
        self, videos: "Iterable[ReadVideo | Other]", *, top_k: int
    ) -> "Iterator[Prediction | TimeSformerError | Other]":
        """Classify videos that were read.

        Args:
            videos: Videos; anything else, such as an error, is passed on in its place.
            top_k: See `__call__`.

        Yields:
            A prediction, or the error of a video for which the model outputs nan or inf, in the order of the videos.
        """
        for found in self.view_logits(videos):
            if isinstance(found, Computed):
                try:
                    yield self._prediction(found, top_k=top_k)
                except TimeSformerError as error:
                    yield error
            else:
                yield found

    def view_logits(self, videos: "Iterable[ReadVideo | Other]") -> "Iterator[Computed | Other]":
        """The logits of all views of videos that were read; anything else is passed on in its place."""
        return compute_views(videos, lambda views: (self.logits(views),), batch_size=self.batch_size)

    def reading(self, videos: Iterable[Video], *, fps: float | None = None) -> "Iterator[ReadVideo | DecodeError]":
        """What `read` gives for each video, read ahead on threads; a single video is read in the caller's thread.

        Raises:
            DataError, ConfigError: As `read`.
        """
        read = partial(self.read, fps=fps)
        if isinstance(videos, Sequence) and len(videos) == 1:
            return map(read, videos)
        num_threads = num_readers()
        num_ahead = num_threads + videos_per_batch(self.model.info.clip, batch_size=self.batch_size)
        return read_ahead(read, videos, num_threads=num_threads, num_ahead=num_ahead)

    def read(self, video: Video, *, fps: float | None = None) -> "ReadVideo | DecodeError":
        """Read a video as `classify` needs it, or give the error of one that cannot be decoded.

        Raises:
            DataError: Frames in memory have the wrong shape or type.
            ConfigError: `fps` is given for a file.
        """
        source = source_of(video, fps=fps)
        try:
            piece = self._read_piece(0, source=source)
        except DecodeError as error:
            return error
        rest = self._later_pieces(source, count=piece.count) if piece.count > 1 else ()
        return ReadVideo(str(video) if isinstance(video, str | Path) else "", piece.views, piece.info, rest=rest)

    def _read_piece(self, number: int, *, source: str | Path | FrameArrayReader) -> Piece:
        is_path = isinstance(source, str | Path)
        reader = open_reader(source, allow_codecs=self._allow_codecs) if is_path else source
        name = str(source) if is_path else "frames in memory"
        return read_piece(reader, self.model.config, self.model.info.clip, name=name, number=number)

    def _later_pieces(
        self, source: str | Path | FrameArrayReader, *, count: int
    ) -> "Iterator[UInt8[Tensor, 'views 3 t s1 s2'] | DecodeError]":
        """The views of all pieces but the first, read ahead on threads, and the error of one that cannot be read."""
        read, num_threads = partial(self._read_piece, source=source), min(num_readers(), count - 1)
        try:
            for piece in read_ahead(read, range(1, count), num_threads=num_threads, num_ahead=num_threads):
                yield piece.views
        except DecodeError as error:
            yield error

    def _prediction(self, computed: Computed, *, top_k: int) -> Prediction:
        video, (logits,) = computed.video, computed.joined()
        check_finite(logits, video.path or "frames in memory")
        info, probabilities = self.model.info, fuse(logits, self.model.info.clip.fusion)
        warn_of_timing(video.path or "frames in memory", video.info, info.clip)
        top = probabilities.topk(min(top_k, len(probabilities)))
        indices = tuple(top.indices.tolist())
        return Prediction(
            path=video.path,
            labels=tuple(info.label(index) for index in indices),
            indices=indices,
            probabilities=tuple(top.values.tolist()),
            num_classes=len(probabilities),
            num_views=len(logits),
            num_frames=video.info.num_frames,
            fps=video.info.fps,
            duration_s=video.info.duration_s,
            timing=video.info.timing,
        )

    @torch.inference_mode()
    def logits(self, clips: Float[Tensor, "b 3 t h w"] | UInt8[Tensor, "b 3 t h w"]) -> Float[Tensor, "b k"]:
        """Logits, on the CPU, of normalized clips, or of 8-bit clips, which are normalized on the device.

        `batch_size` clips go through the model at a time.

        Raises:
            DependencyError: The model cannot be compiled, because no compiler works.
            TimeSformerError: Out of memory; the message names the largest batch that fits, which is measured.
        """
        return self._in_batches(lambda batch: (self._logits(batch),), clips)[0]

    @torch.inference_mode()
    def encode(
        self, clips: Float[Tensor, "b 3 t h w"] | UInt8[Tensor, "b 3 t h w"], *, level: Level = "cls"
    ) -> Encoded:
        """Features and logits of clips, on the CPU, in float32, from one pass; see `timesformer.model.tokens.encode`.

        Args:
            clips: As for `logits`.
            level: `cls` for features `[b, d]`, `frame` for `[b, t, d]`, `patch` for `[b, t, h, w, d]`.

        Raises:
            ConfigError: The model is an ONNX file, which gives logits alone.
            DependencyError: As for `logits`.
            TimeSformerError: As for `logits`.
        """
        encode_batch = partial(self._encode, model_with_features(self.model), level=level)
        return Encoded(*self._in_batches(encode_batch, clips))

    def _in_batches(
        self,
        compute: Callable[[Tensor], tuple[Tensor, ...]],
        clips: Float[Tensor, "b 3 t h w"] | UInt8[Tensor, "b 3 t h w"],
    ) -> tuple[Tensor, ...]:
        """Tensors that a model gives for clips, computed in batches, and these in parts if that is faster."""

        def compute_batch(batch: Tensor) -> tuple[Tensor, ...]:
            if self._parts is None or self._work(batch) > MOST_WORK:
                found = compute(batch)
            else:
                found = joined(self._parts.compute(compute, batch))
            report_progress()
            return found

        return joined(compute_in_batches(compute_batch, clips, batch_size=self.batch_size, device=self.device))

    def _work(self, clips: Tensor) -> int:
        """About the number of multiplications for a clip: those of a token by all weights."""
        *_, num_frames, height, width = clips.shape
        return self._num_weights * num_frames * height * width // self.model.config.patch_size**2

    def _logits(self, batch: Float[Tensor, "b 3 t h w"] | UInt8[Tensor, "b 3 t h w"]) -> Float[Tensor, "b k"]:
        return self._compute(self._input(batch)).float().cpu()

    def _encode(
        self,
        model: TimeSformer | FastTimeSformer,
        batch: Float[Tensor, "b 3 t h w"] | UInt8[Tensor, "b 3 t h w"],
        *,
        level: Level,
    ) -> Encoded:
        return Encoded(*(tensor.float().cpu() for tensor in self._encoder(model, self._input(batch), level)))

    def _input(self, batch: Float[Tensor, "b 3 t h w"] | UInt8[Tensor, "b 3 t h w"]) -> Float[Tensor, "b 3 t h w"]:
        return model_input(batch.to(self.device), self.model.info.clip).to(self.dtype)


def joined(parts: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Tuples of tensors as one tuple, each tensor joined along its first dimension."""
    return parts[0] if len(parts) == 1 else tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))
