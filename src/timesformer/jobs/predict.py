"""The task of `predict`: the most probable classes of each video."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from timesformer.config.checks import check_count
from timesformer.config.compute import ComputeOptions
from timesformer.inference.predictor import Prediction, Predictor
from timesformer.jobs.engine import Limits
from timesformer.jobs.item import Failure, Item, Row
from timesformer.jobs.job_model import model_settings
from timesformer.jobs.parquet import arrow
from timesformer.jobs.task import Compute
from timesformer.jobs.video_model import VideoCompute, VideoModel, Videos, failure_of, video_model

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictTask:
    """Predictions of one model; see `predict_task`."""

    video_model: VideoModel
    top_k: int
    settings: Mapping[str, Any]
    chunk_size: int = CHUNK_SIZE

    @property
    def verb(self) -> str:
        """The verb."""
        return "predict"

    @property
    def model(self) -> str:
        """Where workers find the model."""
        return self.video_model.source

    @property
    def model_sha256(self) -> str:
        """Hash of the model's weights."""
        return self.video_model.sha256

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
        with self.video_model.open() as (predictor, read):

            def rows(items: Sequence[Item], videos: Videos) -> Iterator[Row | Failure]:
                for found in predictor.classify(videos, top_k=self.top_k):
                    yield _row(found) if isinstance(found, Prediction) else failure_of(found)

            yield VideoCompute(read, rows)


def _row(found: Prediction) -> Row:
    row = found.to_dict()
    del row["path"]
    return row


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
    described, opened = video_model(
        model, options=options, overrides=overrides, num_decoders=num_decoders, seconds_per_video=seconds_per_video
    )
    Predictor(opened, options=replace(described.options, compile=False))  # or refuse
    return PredictTask(
        video_model=described, top_k=top_k, settings={"top_k": top_k} | model_settings(opened, described.options)
    )
