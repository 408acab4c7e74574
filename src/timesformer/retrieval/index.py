"""`Index`: exact search among embeddings."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from timesformer.config.checks import check_count
from timesformer.errors import ConfigError, DataError, did_you_mean
from timesformer.jobs.parquet import arrow
from timesformer.retrieval.embeddings import Embeddings, embedding_files, read_embeddings
from timesformer.retrieval.result import Neighbor, SearchResult
from timesformer.retrieval.rows import Rows, nearest, unit
from timesformer.retrieval.where import Where, matching, refuse_unknown

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("id", "path", "start", "end", "sha256", "label", "true_label")
"""Columns that a result shows, or that tell which rows are the query."""
_LEAST_PREFIX = 6
_SUGGESTED = 1000
"""Ids that are compared with one that does not exist."""


class Index:
    """Embeddings to search in, exactly: every row is compared with the query.

    Args:
        embeddings: The embeddings; of level `patch` these are those of whole videos.
        source: What to call them in messages.
    """

    def __init__(self, embeddings: Embeddings, *, source: str = "the index") -> None:
        self.embeddings = embeddings
        self.source = source
        self.rows = Rows(embeddings.vectors)
        self._ids: pa.ChunkedArray | None = None

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
            known = _names(path)
            for column in columns:
                refuse_unknown(column, known)
        wanted = None if columns is None else (*COLUMNS, *columns)
        return cls(read_embeddings(path, columns=wanted), source=str(path))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> "pa.ChunkedArray":
        """Id of each row, as text; its number in files without a column `id`."""
        if self._ids is None:
            pa, table = arrow(), self.embeddings.table
            numbers = pa.chunked_array([pa.array(np.arange(len(self))).cast(pa.string())])
            given = table["id"].cast(pa.string()) if "id" in table.column_names else None
            self._ids = numbers if given is None else pa.compute.coalesce(given, numbers) if given.null_count else given
        return self._ids

    def values(self, name: str, rows: Int64[np.ndarray, " k"] | None = None) -> list[Any]:
        """Values of all or some rows in a column; None for each if there is no such column."""
        table = self.embeddings.table
        if name not in table.column_names:
            return [None] * len(self if rows is None else rows)
        return (table[name] if rows is None else table[name].take(rows)).to_pylist()

    def describe(
        self, rows: Sequence[int] | Int64[np.ndarray, " k"], *, columns: Sequence[str]
    ) -> list[dict[str, Any]]:
        """What the index says about some rows: number `row`, `id` as text, and other columns."""
        rows = np.asarray(rows, dtype=np.int64)
        shown = {name: self.ids.take(rows).to_pylist() if name == "id" else self.values(name, rows) for name in columns}
        return [
            {"row": row} | {name: column[place] for name, column in shown.items()}
            for place, row in enumerate(rows.tolist())
        ]

    def find(self, query: str) -> int:
        """The row of an id, or of its first digits, at least 6.

        Raises:
            ConfigError: No row has this id, or several have.
        """
        compute = arrow().compute
        found = np.flatnonzero(compute.equal(self.ids, query))
        if not len(found) and len(query) >= _LEAST_PREFIX:
            found = np.flatnonzero(compute.starts_with(self.ids, query))
        if len(found) == 1:
            return int(found[0])
        known = self.ids.slice(0, _SUGGESTED).to_pylist()
        if len(found):
            raise ConfigError(f"{query}: {len(found)} rows of {self.source} have this id, such as row {found[0]}")
        raise ConfigError(
            f"{query}: is neither a video nor the id of a row of {self.source}{did_you_mean(query, known)}; "
            f"ids are like {known[0]}"
        )

    def rows_of_file(self, sha256: str) -> Bool[np.ndarray, " n"]:
        """The rows of a video file, by the hash of its bytes."""
        if not sha256:
            return np.zeros(len(self), dtype=bool)
        return self._equal("sha256", sha256)

    def whole_video(self, sha256: str) -> int | None:
        """The row of a whole video file, by the hash of its bytes; None if there is none."""
        rows = self.rows_of_file(sha256)
        if "start" in self.embeddings.table.column_names:
            rows &= self.embeddings.table["start"].is_null().to_numpy()
        return int(np.argmax(rows)) if rows.any() else None

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
        row = self.find(query) if isinstance(query, str) else None
        vector = unit(self.rows.vectors[row] if row is not None else self._checked(np.asarray(query)))
        is_left_out = self._left_out(row, sha256, other_videos=other_videos)
        allowed = _both(matching(self.embeddings.table, where or {}), ~is_left_out)
        found = nearest(self.rows, vector, top_k=top_k, allowed=allowed)
        return self.result(
            *found, query=name if row is None else self.ids[row].as_py(), num_searched=int(allowed.sum()),
            num_left_out=int(is_left_out.sum()),
        )  # fmt: skip

    def result(
        self,
        rows: Int64[np.ndarray, " k"],
        similarities: Float64[np.ndarray, " k"],
        num_ties: int,
        *,
        query: str,
        num_searched: int,
        num_left_out: int,
        is_exact: bool = True,
    ) -> SearchResult:
        """Found rows with what the index says about them."""
        return SearchResult(
            query=query,
            neighbors=tuple(self._neighbors(rows, similarities)),
            num_rows=len(self),
            num_searched=num_searched,
            num_left_out=num_left_out,
            num_ties=num_ties,
            is_exact=is_exact,
            model_sha256=self.embeddings.model_sha256,
            level=self.embeddings.level,
        )

    def _neighbors(self, rows: Int64[np.ndarray, " k"], similarities: Float64[np.ndarray, " k"]) -> Iterator[Neighbor]:
        described = self.describe(rows, columns=("id", "path", "start", "end", "label", "true_label"))
        for rank, (values, similarity) in enumerate(zip(described, similarities, strict=True), start=1):
            path = values.pop("path") or ""
            yield Neighbor(rank=rank, similarity=float(np.clip(similarity, -1, 1)), path=path, **values)

    def _left_out(self, row: int | None, sha256: str, *, other_videos: bool) -> Bool[np.ndarray, " n"]:
        """The query itself: its row, and rows of the same bytes and segment; or all rows of its file."""
        start = end = None
        if row is not None:
            sha256, start, end = (self.values(name, np.array([row]))[0] for name in ("sha256", "start", "end"))
        rows = self.rows_of_file(sha256 or "")
        if not other_videos:
            rows &= self._equal("start", start) & self._equal("end", end)
        if row is not None:
            rows[row] = True
        return rows

    def _equal(self, name: str, value: Any) -> Bool[np.ndarray, " n"]:
        """Rows with a value in a column; None is equal to null, and to a column that does not exist."""
        table: pa.Table = self.embeddings.table
        if name not in table.column_names:
            return np.full(len(self), value is None)
        if value is None:
            return table[name].is_null().to_numpy()
        return arrow().compute.equal(table[name], value).fill_null(False).to_numpy()

    def _checked(self, vector: np.ndarray) -> np.ndarray:
        if vector.shape != (self.rows.width,):
            raise DataError(
                f"the query has shape {tuple(vector.shape)}; vectors of {self.source} have {self.rows.width} numbers"
            )
        return vector


def _both(matches: Bool[np.ndarray, " n"] | None, allowed: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    return allowed if matches is None else allowed & matches


def _names(path: str | Path) -> list[str]:
    """Names of the columns of the first file, without the vectors."""
    pa = arrow()
    file = embedding_files(path)[0]
    try:
        schema = pa.parquet.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file}: cannot be read: {error}") from error
    return [field.name for field in schema if not pa.types.is_nested(field.type)]
