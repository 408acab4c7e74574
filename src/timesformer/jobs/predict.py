"""The task of `predict`: the most probable classes of each video."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from timesformer.config.checks import MOST_WORKERS, check_count, check_positive
from timesformer.config.compute import ComputeOptions
from timesformer.errors import TimeSformerError
from timesformer.inference.onnx_model import open_model
from timesformer.inference.predictor import Prediction, Predictor
from timesformer.inference.weights_hash import weights_sha256
from timesformer.jobs.decode import DecodeAhead, decoding
from timesformer.jobs.engine import Limits
from timesformer.jobs.item import Failure, Item, Row
from timesformer.jobs.job_model import model_settings, model_source, refuse_other_model
from timesformer.jobs.parquet import arrow
from timesformer.jobs.task import Compute

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictTask:
    """Predictions of one model; see `predict_task`."""

    model: str
    """Anything that `timesformer.inference.onnx_model.open_model` accepts."""
    model_sha256: str
    overrides: Mapping[str, Any]
    options: ComputeOptions
    top_k: int
    settings: Mapping[str, Any]
    num_decoders: int
    """Processes of each worker that decode videos."""
    seconds_per_video: float
    """Longest time that a decoder may take for a video."""
    chunk_size: int = CHUNK_SIZE

    @property
    def verb(self) -> str:
        """The verb."""
        return "predict"

    @property
    def schema(self) -> "pa.Schema":
        """Columns of a row: those of `Prediction` without the path."""
        pa = arrow()
        return pa.schema(
            [
                ("labels", pa.list_(pa.string())),
                ("indices", pa.list_(pa.int32())),
                ("probabilities", pa.list_(pa.float64())),
                ("num_classes", pa.int32()),
                ("num_views", pa.int32()),
                ("num_frames", pa.int64()),
                ("fps", pa.float64()),
                ("duration_s", pa.float64()),
                ("timing", pa.string()),
            ]
        )

    @contextmanager
    def open(self) -> Generator[Compute]:
        """Load the model.

        Raises:
            ConfigError: The model is not that of the job.
        """
        model = open_model(self.model, **self.overrides)
        refuse_other_model(self.model, sha256=weights_sha256(model), expected=self.model_sha256)
        predictor = Predictor(model, options=self.options)
        reading = decoding(
            model.config, model.info.clip, allow_codecs=self.options.allow_codecs, num_children=self.num_decoders,
            call_s=self.seconds_per_video,
        )  # fmt: skip
        with reading as read:
            yield _Compute(predictor, read, top_k=self.top_k)


class _Compute:
    """`AheadCompute` of predictions.

    Args:
        predictor: The model.
        read: Reads videos.
        top_k: Number of classes of each row.
    """

    def __init__(self, predictor: Predictor, read: DecodeAhead, *, top_k: int) -> None:
        self._predictor = predictor
        self._read = read
        self._top_k = top_k

    @property
    def waited_s(self) -> float:
        """Time that was waited for videos, in seconds."""
        return self._read.waited_s

    def __call__(self, items: Sequence[Item]) -> Iterator[Row | Failure]:
        """The results of a chunk, of which only videos of this chunk are in a batch."""
        return self.ahead(items, ())

    def ahead(self, items: Sequence[Item], upcoming: Sequence[Item]) -> Iterator[Row | Failure]:
        """The same, while the first videos of the next chunk are decoded."""
        for found in self._predictor.classify(self._read(items, upcoming), top_k=self._top_k):
            yield _row(found) if isinstance(found, Prediction) else _failure(found)


def _row(found: Prediction) -> Row:
    row = found.to_dict()
    del row["path"]
    return row


def _failure(found: Failure | TimeSformerError) -> Failure:
    return found if isinstance(found, Failure) else Failure(reason=str(found))


def predict_task(
    model: str,
    *,
    top_k: int = 5,
    options: ComputeOptions | None = None,
    overrides: Mapping[str, Any] | None = None,
    num_decoders: int = 2,
    seconds_per_video: float = Limits().seconds_per_item,
) -> PredictTask:
    """The task of predictions of a model, which is loaded here once to know its weights and settings.

    Args:
        model: Anything that `timesformer.inference.onnx_model.open_model` accepts.
        top_k: Number of classes of each row.
        options: How to compute.
        overrides: Fields of `ModelConfig` to change.
        num_decoders: Processes of each worker that decode videos.
        seconds_per_video: Longest time that a decoder may take for a video.

    Raises:
        WeightsError: The weights cannot be loaded.
        ConfigError: An option or override is invalid.
    """
    check_count("top_k", top_k)
    check_count("num_decoders", num_decoders, most=MOST_WORKERS)
    check_positive("seconds_per_video", seconds_per_video)
    options = (options or ComputeOptions()).for_predictor()
    opened = open_model(model, **(overrides or {}))
    Predictor(opened, options=replace(options, compile=False))  # refuses what cannot work before a worker does
    return PredictTask(
        model=model_source(model),
        model_sha256=weights_sha256(opened),
        overrides=dict(overrides or {}),
        options=options,
        top_k=top_k,
        settings={"top_k": top_k} | model_settings(opened, options),
        num_decoders=num_decoders,
        seconds_per_video=seconds_per_video,
    )
