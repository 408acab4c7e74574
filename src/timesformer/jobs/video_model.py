"""The model of a job that reads whole videos: opened once to know it, and once in each worker with its decoders."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from timesformer.config.checks import MOST_WORKERS, check_count, check_positive
from timesformer.config.compute import ComputeOptions
from timesformer.errors import TimeSformerError
from timesformer.inference.onnx_model import Classifier, open_model
from timesformer.inference.options import precision_of
from timesformer.inference.predictor import Predictor
from timesformer.inference.view_batches import ReadVideo
from timesformer.inference.weights_hash import weights_sha256
from timesformer.jobs.decode import DecodeAhead, decoding
from timesformer.jobs.item import Failure, Item, Row
from timesformer.jobs.job_model import model_source, refuse_other_model

Videos = Iterable[ReadVideo | Failure]
"""Videos as they were read, or the reasons why they cannot be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoModel:
    """A model, how it computes, and how its videos are decoded; see `video_model`."""

    source: str
    """Anything that `timesformer.inference.onnx_model.open_model` accepts."""
    sha256: str
    overrides: Mapping[str, Any]
    options: ComputeOptions
    """With a precision that is not `auto`: all workers compute in the same one."""
    num_decoders: int
    """Processes of each worker that decode videos."""
    seconds_per_video: float
    """Longest time that a decoder may take for a video."""

    @contextmanager
    def open(self, *, has_sha256: bool = False) -> Generator[tuple[Predictor, DecodeAhead]]:
        """Load the model, and start its decoders.

        Args:
            has_sha256: Whether the hash of each file is read, too.

        Raises:
            ConfigError: The model is not that of the job.
        """
        model = open_model(self.source, **self.overrides)
        refuse_other_model(self.source, sha256=weights_sha256(model), expected=self.sha256)
        predictor = Predictor(model, options=self.options)
        reading = decoding(
            model.config, model.info.clip, allow_codecs=self.options.allow_codecs, num_children=self.num_decoders,
            call_s=self.seconds_per_video, has_sha256=has_sha256,
        )  # fmt: skip
        with reading as read:
            yield predictor, read


def video_model(
    source: str,
    *,
    options: ComputeOptions | None,
    overrides: Mapping[str, Any] | None,
    num_decoders: int,
    seconds_per_video: float,
) -> tuple[VideoModel, Classifier]:
    """The model of a job, and the same loaded.

    Args:
        source: Anything that `timesformer.inference.onnx_model.open_model` accepts.
        options: How to compute.
        overrides: Fields of `ModelConfig` to change.
        num_decoders: Processes of each worker that decode videos.
        seconds_per_video: Longest time that a decoder may take for a video.

    Raises:
        WeightsError: The weights cannot be loaded.
        ConfigError: An option or override is invalid.
    """
    check_count("num_decoders", num_decoders, most=MOST_WORKERS)
    check_positive("seconds_per_video", seconds_per_video)
    opened, options = open_model(source, **(overrides or {})), options or ComputeOptions()
    model = VideoModel(
        source=model_source(source),
        sha256=weights_sha256(opened),
        overrides=dict(overrides or {}),
        options=replace(options.for_predictor(), precision=precision_of(options, opened)),
        num_decoders=num_decoders,
        seconds_per_video=seconds_per_video,
    )
    return model, opened


class VideoCompute:
    """`timesformer.jobs.task.Compute` that reads the videos of a chunk and, meanwhile, the first of the next.

    Args:
        read: Reads videos.
        rows: Gives the results of the items of a chunk, in order, from their videos.
    """

    def __init__(self, read: DecodeAhead, rows: Callable[[Sequence[Item], Videos], Iterator[Row | Failure]]) -> None:
        self._read = read
        self._rows = rows

    @property
    def waited_s(self) -> float:
        """Time that was waited for videos, in seconds."""
        return self._read.waited_s

    def __call__(self, items: Sequence[Item]) -> Iterator[Row | Failure]:
        """The results of a chunk, of which only videos of this chunk are in a batch."""
        return self.ahead(items, ())

    def ahead(self, items: Sequence[Item], upcoming: Sequence[Item]) -> Iterator[Row | Failure]:
        """The same, while the first videos of the next chunk are decoded."""
        return self._rows(items, self._read(items, upcoming))


def failure_of(found: Failure | TimeSformerError) -> Failure:
    """A result that is no row, as a failure."""
    return found if isinstance(found, Failure) else Failure(reason=str(found))
