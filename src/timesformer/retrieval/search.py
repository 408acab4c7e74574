"""`search`: the clips of an index that are most similar to a clip, in one call."""

import os
from functools import partial
from pathlib import Path
from typing import Unpack

import numpy as np

from timesformer.config.compute import ComputeOptions
from timesformer.config.overrides import ModelOverrides
from timesformer.data.video.tar_member import is_there
from timesformer.retrieval.index import Index
from timesformer.retrieval.query import read_query
from timesformer.retrieval.result import SearchResult
from timesformer.retrieval.where import Where


def search(
    query: str | Path | np.ndarray,
    index: Index | str | Path,
    *,
    top_k: int = 10,
    where: Where | None = None,
    other_videos: bool = False,
    model: str | Path | None = None,
    options: ComputeOptions | None = None,
    **overrides: Unpack[ModelOverrides],
) -> SearchResult:
    """Find the rows of an index that are most similar to a video, a row or a vector, by cosine similarity, exactly.

    Args:
        query: A video file, a folder of frames or a video in a tar file; the id of a row or its first digits, at least
            6; or a vector `[d]` as the model gives it. A text that is an existing path is a video.
        index: An `Index`, which answers the next queries without reading the rows again, or what `Index.open` accepts.
        top_k: Number of rows to find.
        where: Allowed values by column, such as `{"label": ["clap", "wave"]}`.
        other_videos: Leave out all rows of the query's video file, not only the query itself.
        model: The model of the index, if it is no longer where it was.
        options: How to embed a video.
        **overrides: Fields of `ModelConfig` to change, as when the index was made.

    Raises:
        ConfigError: The query is unknown, an argument is invalid, or the model is not that of the index.
        DataError: The index cannot be read.
        DecodeError: The video cannot be decoded.
    """
    opened = index if isinstance(index, Index) else Index.open(index, columns=tuple(where or ()))
    find = partial(opened.search, top_k=top_k, where=where, other_videos=other_videos)
    if isinstance(query, np.ndarray):
        return find(query)
    if not is_there(query):
        return find(os.fspath(query))
    found = read_query(opened, query, model=model, options=options, overrides=overrides)
    return find(found.vector, sha256=found.sha256, name=os.fspath(query))
