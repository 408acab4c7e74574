"""The task of `embed`: the features of each video, with its class."""

import json
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from timesformer.config.checks import MOST_WORKERS, check_choice, check_count, check_positive
from timesformer.config.compute import ComputeOptions
from timesformer.errors import DataError, TimeSformerError
from timesformer.inference.embed import Embedding, embed_read, refuse_level
from timesformer.inference.onnx_model import model_with_features, open_model
from timesformer.inference.predictor import Predictor
from timesformer.inference.weights_hash import weights_sha256
from timesformer.jobs.decode import DecodeAhead, decoding
from timesformer.jobs.durable import write_durably
from timesformer.jobs.embedding_schema import (
    EMBEDDING,
    LEVEL,
    NORMALIZED,
    PATCHES,
    SHAPE,
    TOKEN_ORDER,
    TOKENS,
    StoredType,
)
from timesformer.jobs.engine import Limits
from timesformer.jobs.folder import JobFolder
from timesformer.jobs.ids import item_id, salt
from timesformer.jobs.item import Failure, Item, Row
from timesformer.jobs.job_model import model_settings, model_source, refuse_other_model
from timesformer.jobs.parquet import arrow
from timesformer.jobs.parts import ERROR
from timesformer.jobs.task import Compute
from timesformer.model.tokens import Level, features_shape
from timesformer.outputs import writing

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_SIZE = 32
_TYPES = {"f16": np.float16, "f32": np.float32}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedTask:
    """Embeddings of one model; see `embed_task`."""

    model: str
    """Anything that `timesformer.inference.onnx_model.open_model` accepts."""
    model_sha256: str
    overrides: Mapping[str, Any]
    options: ComputeOptions
    level: Level
    dtype: StoredType
    shape: tuple[int, ...]
    """Shape of the features of a video."""
    folder: str
    """Absolute path of the job, for the files of patches."""
    settings: Mapping[str, Any]
    num_decoders: int
    """Processes of each worker that decode videos."""
    seconds_per_video: float
    """Longest time that a decoder may take for a video."""
    chunk_size: int = CHUNK_SIZE

    @property
    def verb(self) -> str:
        """The verb."""
        return "embed"

    @property
    def schema(self) -> "pa.Schema":
        """Columns of a row: the vector, the class, what the manifest says, and the reason if there is no vector."""
        pa = arrow()
        number = pa.float16() if self.dtype == "f16" else pa.float32()
        width = self.shape[-1] if self.level == "patch" else int(np.prod(self.shape))
        fields = [
            ("sha256", pa.string()),
            (EMBEDDING, pa.list_(pa.field("element", number), width)),
            *([(PATCHES, pa.string())] if self.level == "patch" else []),
            ("label", pa.string()),
            ("score", pa.float64()),
            ("true_label", pa.string()),
            ("group", pa.string()),
            (ERROR, pa.string()),
        ]
        metadata = {LEVEL: self.level, SHAPE: json.dumps(list(self.shape)), TOKENS: TOKEN_ORDER, NORMALIZED: "false"}
        return pa.schema(fields, metadata=metadata)

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
            call_s=self.seconds_per_video, has_sha256=True,
        )  # fmt: skip
        with reading as read:
            yield _Compute(predictor, read, task=self)

    def error_row(self, item: Item, reason: str) -> Row:
        """The row of a video that has no embedding."""
        return {**_given(item), ERROR: reason}


class _Compute:
    """`AheadCompute` of embeddings.

    Args:
        predictor: The model.
        read: Reads videos.
        task: The task.
    """

    def __init__(self, predictor: Predictor, read: DecodeAhead, *, task: EmbedTask) -> None:
        self._predictor = predictor
        self._read = read
        self._task = task
        self._salt = salt(task)

    @property
    def waited_s(self) -> float:
        """Time that was waited for videos, in seconds."""
        return self._read.waited_s

    def __call__(self, items: Sequence[Item]) -> Iterator[Row | Failure]:
        """The results of a chunk, of which only videos of this chunk are in a batch."""
        return self.ahead(items, ())

    def ahead(self, items: Sequence[Item], upcoming: Sequence[Item]) -> Iterator[Row | Failure]:
        """The same, while the first videos of the next chunk are decoded."""
        found = embed_read(self._predictor, self._read(items, upcoming), level=self._task.level)
        for item, result in zip(items, found, strict=True):
            yield self._row(item, result) if isinstance(result, Embedding) else _failure(result)

    def _row(self, item: Item, found: Embedding) -> Row | Failure:
        task = self._task
        try:
            stored = {name: _stored(values, dtype=task.dtype, path=item.path)
                      for name, values in (("features", found.features), ("token", found.token))}  # fmt: skip
        except DataError as error:
            return Failure(reason=str(error))
        row = {
            **_given(item),
            "sha256": found.sha256 or None,
            EMBEDDING: stored["token" if task.level == "patch" else "features"].reshape(-1),
            "label": found.label,
            "score": found.score,
            ERROR: None,
        }
        if task.level == "patch":
            row[PATCHES] = _write_patches(stored["features"], Path(task.folder), name=item_id(item, self._salt))
        return row


def _given(item: Item) -> Row:
    return {"true_label": item.label, "group": item.group}


def _stored(values: np.ndarray, *, dtype: StoredType, path: str) -> np.ndarray:
    """Numbers as they are stored.

    Raises:
        DataError: One is too large for float16.
    """
    with np.errstate(over="ignore"):  # refused below
        stored = values.astype(_TYPES[dtype])
    if not np.isfinite(stored).all():
        raise DataError(f"{path}: its features reach {np.abs(values).max():.4g}, and float16 ends at 65504: pass "
                        "dtype='f32' (--dtype f32)")  # fmt: skip
    return stored


def _write_patches(patches: np.ndarray, folder: Path, *, name: str) -> str:
    """Write the patches of a video as a file, and give its path from the folder of the job."""
    path = JobFolder(folder).patches / name[:2] / f"{name}.safetensors"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, save({PATCHES: patches}, metadata={TOKENS: TOKEN_ORDER}))
    return path.relative_to(folder).as_posix()


def _failure(found: Failure | TimeSformerError) -> Failure:
    return found if isinstance(found, Failure) else Failure(reason=str(found))


def embed_task(
    model: str,
    *,
    folder: str | os.PathLike[str],
    level: Level = "cls",
    dtype: StoredType = "f16",
    options: ComputeOptions | None = None,
    overrides: Mapping[str, Any] | None = None,
    num_decoders: int = 2,
    seconds_per_video: float = Limits().seconds_per_item,
) -> EmbedTask:
    """The task of embeddings of a model, which is loaded here once to know its weights and settings.

    Args:
        model: Anything that `timesformer.inference.onnx_model.open_model` accepts, but an ONNX file.
        folder: Folder of the job.
        level: What is embedded; see `timesformer.inference.embed.embed`.
        dtype: Floating-point type of the vectors: `f16` or `f32`.
        options: How to compute.
        overrides: Fields of `ModelConfig` to change.
        num_decoders: Processes of each worker that decode videos.
        seconds_per_video: Longest time that a decoder may take for a video.

    Raises:
        WeightsError: The weights cannot be loaded.
        ConfigError: An option or override is invalid, or the model is an ONNX file.
    """
    check_choice("dtype", dtype, StoredType)
    check_count("num_decoders", num_decoders, most=MOST_WORKERS)
    check_positive("seconds_per_video", seconds_per_video)
    options = (options or ComputeOptions()).for_predictor()
    opened = model_with_features(open_model(model, **(overrides or {})))
    refuse_level(Predictor(opened, options=replace(options, compile=False)), level)  # before a worker does
    return EmbedTask(
        model=model_source(model),
        model_sha256=weights_sha256(opened),
        overrides=dict(overrides or {}),
        options=options,
        level=level,
        dtype=dtype,
        shape=features_shape(opened, level),
        folder=os.path.abspath(folder),
        settings={"level": level, "dtype": dtype} | model_settings(opened, options),
        num_decoders=num_decoders,
        seconds_per_video=seconds_per_video,
    )
