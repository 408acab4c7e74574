"""`Catalog`: what an index says about its rows, besides their vectors."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from timesformer.errors import ConfigError, DataError, did_you_mean
from timesformer.jobs.embedding_schema import LEVEL, MODEL_SHA256
from timesformer.jobs.parquet import arrow
from timesformer.retrieval.result import Neighbor, SearchResult

if TYPE_CHECKING:
    import pyarrow as pa

_LEAST_PREFIX = 6
_SUGGESTED = 1000
"""Ids that are compared with one that does not exist."""


class Catalog:
    """Columns of the rows of an index, and what its files say about all of them.

    Args:
        table: The columns.
        metadata: Metadata of the schema by key, such as `timesformer.level`.
        source: What to call the index in messages.
        num_rows: Number of rows.
    """

    def __init__(self, table: "pa.Table", metadata: Mapping[str, str], *, source: str, num_rows: int) -> None:
        self.table = table
        self.metadata = metadata
        self.source = source
        self._num_rows = num_rows
        self._ids: pa.ChunkedArray | None = None

    def __len__(self) -> int:
        return self._num_rows

    @property
    def model_sha256(self) -> str:
        """Hash of the weights that made the vectors; empty if the files do not say."""
        return self.metadata.get(MODEL_SHA256, "")

    @property
    def level(self) -> str:
        """`cls`, `frame` or `patch`; empty if the files do not say."""
        return self.metadata.get(LEVEL, "")

    def checked(self, query: Any, *, width: int) -> np.ndarray:
        """A vector to search for, as an array.

        Args:
            query: The vector.
            width: Numbers of a vector of the index.

        Raises:
            DataError: It has another length.
        """
        vector = np.asarray(query)
        if vector.shape != (width,):
            raise DataError(f"the query has shape {tuple(vector.shape)}; vectors of {self.source} have {width} numbers")
        return vector

    @property
    def ids(self) -> "pa.ChunkedArray":
        """Id of each row, as text; its number in files without a column `id`."""
        if self._ids is None:
            pa, table = arrow(), self.table
            numbers = pa.chunked_array([pa.array(np.arange(len(self))).cast(pa.string())])
            given = table["id"].cast(pa.string()) if "id" in table.column_names else None
            self._ids = numbers if given is None else pa.compute.coalesce(given, numbers) if given.null_count else given
        return self._ids

    def values(self, name: str, rows: Int64[np.ndarray, " k"] | None = None) -> list[Any]:
        """Values of all or some rows in a column; None for each if there is no such column."""
        table = self.table
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
        if "start" in self.table.column_names:
            rows &= self.table["start"].is_null().to_numpy()
        return int(np.argmax(rows)) if rows.any() else None

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
            model_sha256=self.model_sha256,
            level=self.level,
        )

    def _neighbors(self, rows: Int64[np.ndarray, " k"], similarities: Float64[np.ndarray, " k"]) -> Iterator[Neighbor]:
        described = self.describe(rows, columns=("id", "path", "start", "end", "label", "true_label"))
        for rank, (values, similarity) in enumerate(zip(described, similarities, strict=True), start=1):
            path = values.pop("path") or ""
            yield Neighbor(rank=rank, similarity=float(np.clip(similarity, -1, 1)), path=path, **values)

    def left_out(self, row: int | None, sha256: str, *, other_videos: bool) -> Bool[np.ndarray, " n"]:
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
        table: pa.Table = self.table
        if name not in table.column_names:
            return np.full(len(self), value is None)
        if value is None:
            return table[name].is_null().to_numpy()
        return arrow().compute.equal(table[name], value).fill_null(False).to_numpy()
