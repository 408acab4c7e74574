"""`Index`: exact search among embeddings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from timesformer.config.checks import check_count
from timesformer.errors import DataError
from timesformer.jobs.parquet import arrow
from timesformer.retrieval.catalog import Catalog
from timesformer.retrieval.embeddings import Embeddings, embedding_files, read_embeddings
from timesformer.retrieval.result import SearchResult
from timesformer.retrieval.rows import Rows, nearest, unit
from timesformer.retrieval.where import Where, matching, refuse_unknown

COLUMNS = ("id", "path", "start", "end", "sha256", "label", "true_label")
"""Columns that a result shows, or that tell which rows are the query."""


class Index:
    """Embeddings to search in, exactly: every row is compared with the query.

    Args:
        embeddings: The embeddings; of level `patch` these are those of whole videos.
        source: What to call them in messages.
    """

    def __init__(self, embeddings: Embeddings, *, source: str = "the index") -> None:
        self.catalog = Catalog(embeddings.table, embeddings.metadata, source=source, num_rows=len(embeddings))
        self.rows = Rows(embeddings.vectors)

    @classmethod
    def open(cls, path: str | Path, *, columns: Sequence[str] | None = ()) -> "Index":
        """Read an index.

        Args:
            path: Folder of a finished `timesformer embed`, or a Parquet file or folder of Parquet files with a column
                `embedding`.
            columns: Columns that `where` will name; None for all.

        Raises:
            ConfigError: There is no such column.
            DataError: It cannot be read; see `read_embeddings`.
            DependencyError: pyarrow is not installed.
        """
        if columns:
            refuse_unknown_columns(path, columns)
        wanted = None if columns is None else (*COLUMNS, *columns)
        return cls(read_embeddings(path, columns=wanted), source=str(path))

    def __len__(self) -> int:
        return len(self.rows)

    def vector(self, row: int) -> Float[np.ndarray, " d"]:
        """The vector of a row, as stored."""
        return self.rows.vectors[row]

    def search(
        self,
        query: str | Float[np.ndarray, " d"],
        *,
        top_k: int = 10,
        where: Where | None = None,
        sha256: str = "",
        other_videos: bool = False,
        name: str = "",
    ) -> SearchResult:
        """The rows most similar to a row or to a vector, by cosine similarity.

        The query itself is left out: its row, and rows of the same bytes and the same segment. Rows of equal similarity
        come in the order of the index.

        Args:
            query: Id of a row, or its first digits, at least 6; or a vector as the model gives it.
            top_k: Number of rows to find.
            where: Conditions on columns: allowed values by column.
            sha256: Hash of the video file of a vector, whose rows of a whole video are then left out as the query.
            other_videos: Leave out all rows of the query's video file: its other segments, too.
            name: What to call a vector in the result.

        Raises:
            ConfigError: No row has the id, `top_k` is not a whole number from 1, or a condition names a column or value
                that does not exist.
            DataError: The vector has another length, or no direction.
        """
        check_count("top_k", top_k)
        catalog = self.catalog
        row = catalog.find(query) if isinstance(query, str) else None
        vector = unit(catalog.checked(query, width=self.rows.width) if row is None else self.vector(row))
        is_left_out = catalog.left_out(row, sha256, other_videos=other_videos)
        allowed = _both(matching(catalog.table, where or {}), ~is_left_out)
        found = nearest(self.rows, vector, top_k=top_k, allowed=allowed)
        return catalog.result(
            *found, query=name if row is None else catalog.ids[row].as_py(), num_searched=int(allowed.sum()),
            num_left_out=int(is_left_out.sum()),
        )  # fmt: skip


def _both(matches: Bool[np.ndarray, " n"] | None, allowed: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    return allowed if matches is None else allowed & matches


def refuse_unknown_columns(path: str | Path, columns: Sequence[str]) -> None:
    """Refuse columns that the first file of an index does not have, or that hold lists.

    Raises:
        ConfigError: There is no such column.
        DataError: The file cannot be read.
    """
    pa = arrow()
    file = embedding_files(path)[0]
    try:
        schema = pa.parquet.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    known = [field.name for field in schema if not pa.types.is_nested(field.type)]
    for column in columns:
        refuse_unknown(column, known)
