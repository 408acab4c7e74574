"""A video as a query: its stored vector, or that of the model that made the index."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from jaxtyping import Float

from timesformer.config.compute import ComputeOptions
from timesformer.config.io import to_dict
from timesformer.data.video.file_stat import video_sha256
from timesformer.errors import ConfigError, DecodeError
from timesformer.jobs.embedding_schema import SETTINGS
from timesformer.jobs.folder import JobFolder
from timesformer.retrieval.index import Index

if TYPE_CHECKING:
    from timesformer.model.tokens import Level
    from timesformer.retrieval.approximate import ApproximateIndex

AnyIndex: TypeAlias = "Index | ApproximateIndex"


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A video as a vector."""

    vector: Float[np.ndarray, " d"]
    sha256: str
    """Hash of the video file; empty for a folder of frames."""


def read_query(
    index: AnyIndex,
    path: str | Path,
    *,
    model: str | Path | None = None,
    options: ComputeOptions | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Query:
    """Embed a video as the rows of an index were.

    A file whose bytes are in the index as a whole video has its stored vector, without loading the model, unless one is
    given.

    Args:
        index: The index.
        path: A video file, a folder of frames, or a video in a tar file.
        model: The model of the index; None finds it where it was when the index was made.
        options: How to compute.
        overrides: Fields of `ModelConfig` to change, as when the index was made.

    Raises:
        DecodeError: The video cannot be decoded.
        ConfigError: The model is not that of the index, or it is not known.
        WeightsError: The model cannot be loaded.
    """
    try:
        sha256 = video_sha256(Path(path))
    except OSError as error:
        raise DecodeError(f"{path}: {error.strerror or error}") from error
    row = index.catalog.whole_video(sha256) if model is None else None
    if row is not None:
        return Query(index.vector(row), sha256)
    if not index.catalog.model_sha256:
        raise ConfigError(
            f"{index.catalog.source}: does not say which model made it, so that a video cannot be compared with its "
            "rows; search by the id of a row"
        )
    source = model if model is not None else model_of(index)
    return Query(_embedded(index, path, source=source, options=options, overrides=overrides or {}), sha256)


def model_of(index: AnyIndex) -> str:
    """Where the model was when the index was made.

    Raises:
        ConfigError: The index does not say.
    """
    source = next(reversed([run for run in _runs(index.catalog.source) if run]), "")
    if not source:
        raise ConfigError(f"{index.catalog.source}: does not say where its model is: pass model=... (--model)")
    return source


def _runs(folder: str) -> list[str]:
    """The model of each start of the job in a folder."""
    try:
        lines = JobFolder(Path(folder)).runs.read_text("utf-8").splitlines()
        return [str(json.loads(line).get("model", "")) for line in lines]
    except (OSError, ValueError, AttributeError):  # not a job, or one that was cut off
        return []


def _embedded(
    index: AnyIndex,
    path: str | Path,
    *,
    source: str | Path,
    options: ComputeOptions | None,
    overrides: Mapping[str, Any],
) -> np.ndarray:
    from timesformer.inference.embed import embed  # imports torch, which ids and known files do not need
    from timesformer.inference.onnx_model import opened
    from timesformer.inference.predictor import Predictor
    from timesformer.inference.weights_hash import weights_sha256

    model = opened(source, overrides)
    refuse_other_model(index, source, sha256=weights_sha256(model), model=model)
    found = embed(Predictor(model, options=options), path, level=cast("Level", index.catalog.level or "cls"))
    return found.token if index.catalog.level == "patch" else found.features.reshape(-1)


def refuse_other_model(index: AnyIndex, source: str | Path, *, sha256: str, model: Any) -> None:
    """Refuse a model whose embeddings cannot be compared with those of an index.

    Raises:
        ConfigError: Its weights, config or sampling of clips are others; the message names what differs.
    """
    expected = index.catalog.model_sha256
    if sha256 != expected:
        raise ConfigError(
            f"{index.catalog.source}: was made by the model with hash {expected[:12]}, and {source} has {sha256[:12]}: "
            "embeddings of different models cannot be compared"
        )
    stored = json.loads(index.catalog.metadata.get(SETTINGS, "{}"))
    for name, given in (("model", to_dict(model.config)), ("clip", to_dict(model.info.clip))):
        # through JSON, as the stored ones: tuples are lists there
        given, was = json.loads(json.dumps(given)), stored.get(name, given)
        changes = [key for key in {**given, **was} if given.get(key) != was.get(key)]
        if changes:
            key = changes[0]
            raise ConfigError(
                f"{index.catalog.source}: was made with {name}.{key}={was.get(key)!r}, and {source} has "
                f"{given.get(key)!r}: embeddings of different settings cannot be compared"
            )
