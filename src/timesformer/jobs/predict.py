"""The task of `predict`: the most probable classes of each video."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from timesformer.config.checks import check_count
from timesformer.config.compute import ComputeOptions
from timesformer.errors import ConfigError, TimeSformerError
from timesformer.inference.onnx_model import open_model
from timesformer.inference.predictor import Prediction, Predictor
from timesformer.inference.weights_hash import weights_sha256
from timesformer.jobs.item import Failure, Item, Row
from timesformer.jobs.job_model import model_settings, model_source
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
        if weights_sha256(model) != self.model_sha256:
            raise ConfigError(f"{self.model}: the model has changed since the job was started")
        predictor = Predictor(model, options=self.options)

        def compute(items: Sequence[Item]) -> list[Row | Failure]:
            found = predictor.each([item.path for item in items], top_k=self.top_k, on_error="yield")
            return [_result(each) for each in found]

        yield compute


def _result(found: Prediction | TimeSformerError) -> Row | Failure:
    if isinstance(found, TimeSformerError):
        return Failure(reason=str(found))
    row = found.to_dict()
    del row["path"]
    return row


def predict_task(
    model: str,
    *,
    top_k: int = 5,
    options: ComputeOptions | None = None,
    overrides: Mapping[str, Any] | None = None,
    chunk_size: int = CHUNK_SIZE,
) -> PredictTask:
    """The task of predictions of a model, which is loaded here once to know its weights and settings.

    Args:
        model: Anything that `timesformer.inference.onnx_model.open_model` accepts.
        top_k: Number of classes of each row.
        options: How to compute.
        overrides: Fields of `ModelConfig` to change.
        chunk_size: Videos that are computed together, at most.

    Raises:
        WeightsError: The weights cannot be loaded.
        ConfigError: An option or override is invalid.
    """
    check_count("top_k", top_k)
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
        chunk_size=chunk_size,
    )
