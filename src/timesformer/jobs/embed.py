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

from timesformer.config.checks import check_choice
from timesformer.config.compute import ComputeOptions
from timesformer.errors import DataError
from timesformer.inference.embed import Embedding, embed_read, refuse_level
from timesformer.inference.onnx_model import model_with_features
from timesformer.inference.predictor import Predictor
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
from timesformer.jobs.job_model import model_settings
from timesformer.jobs.parquet import arrow
from timesformer.jobs.parts import ERROR
from timesformer.jobs.task import Compute
from timesformer.jobs.video_model import VideoCompute, VideoModel, Videos, failure_of, video_model
from timesformer.model.tokens import Level, features_shape
from timesformer.outputs import writing

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_SIZE = 32
_TYPES = {"f16": np.float16, "f32": np.float32}


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedTask:
    """Embeddings of one model; see `embed_task`."""

    video_model: VideoModel
    level: Level
    dtype: StoredType
    shape: tuple[int, ...]
    """Shape of the features of a video."""
    folder: str
    """Absolute path of the job, for the files of patches."""
    settings: Mapping[str, Any]
    chunk_size: int = CHUNK_SIZE

    @property
    def verb(self) -> str:
        """The verb."""
        return "embed"

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
        numbers = salt(self)
        with self.video_model.open(has_sha256=True) as (predictor, read):

            def rows(items: Sequence[Item], videos: Videos) -> Iterator[Row | Failure]:
                for item, found in zip(items, embed_read(predictor, videos, level=self.level), strict=True):
                    is_found = isinstance(found, Embedding)
                    yield self._row(item, found, name=item_id(item, numbers)) if is_found else failure_of(found)

            yield VideoCompute(read, rows)

    def error_row(self, item: Item, reason: str) -> Row:
        """The row of a video that has no embedding."""
        return {**_given(item), ERROR: reason}

    def _row(self, item: Item, found: Embedding, *, name: str) -> Row | Failure:
        try:
            stored = {kind: _stored(values, dtype=self.dtype, path=item.path)
                      for kind, values in (("features", found.features), ("token", found.token))}  # fmt: skip
        except DataError as error:
            return Failure(reason=str(error))
        row = {
            **_given(item),
            "sha256": found.sha256 or None,
            EMBEDDING: stored["token" if self.level == "patch" else "features"].reshape(-1),
            "label": found.label,
            "score": found.score,
            ERROR: None,
        }
        if self.level == "patch":
            row[PATCHES] = _write_patches(stored["features"], Path(self.folder), name=name)
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
    described, opened = video_model(
        model, options=options, overrides=overrides, num_decoders=num_decoders, seconds_per_video=seconds_per_video
    )
    encoder = model_with_features(opened)
    refuse_level(Predictor(encoder, options=replace(described.options, compile=False)), level)  # before a worker does
    return EmbedTask(
        video_model=described,
        level=level,
        dtype=dtype,
        shape=features_shape(encoder, level),
        folder=os.path.abspath(folder),
        settings={"level": level, "dtype": dtype} | model_settings(opened, described.options),
    )
