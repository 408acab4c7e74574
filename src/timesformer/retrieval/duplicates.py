"""Near-duplicates among embeddings: pairs of almost the same direction, and the groups that they form."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from timesformer.config.checks import check_range
from timesformer.errors import ConfigError
from timesformer.retrieval.index import Index
from timesformer.retrieval.rows import Rows

_BLOCK = 1024
"""Rows that are compared with all others at a time."""
_ROUNDING = 1e-12
"""A row compared with a copy of itself gives 1 up to rounding in float64."""
_MOST_PAIRS = 5_000_000
COLUMNS = ("id", "path", "start", "end", "label", "true_label")


@dataclass(frozen=True, slots=True, eq=False)
class Duplicates:
    """Pairs of rows whose cosine similarity is at least 1 - `eps`, and their groups."""

    index: Index
    eps: float
    pairs: Int64[np.ndarray, "p 2"]
    """Rows of each pair, the smaller first, sorted."""
    similarities: Float64[np.ndarray, " p"]
    """Cosine similarity of each pair."""

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Rows that are connected by pairs, ascending; the groups are in the order of their first rows."""
        return connected(self.pairs, len(self.index))

    def to_dict(self) -> dict[str, Any]:
        """The groups and their pairs as plain numbers, strings and lists, ready for JSON."""
        groups = self.groups
        group_of = {row: number for number, group in enumerate(groups) for row in group}
        pairs: list[list[dict[str, Any]]] = [[] for _ in groups]
        for (first, second), similarity in zip(self.pairs.tolist(), self.similarities.tolist(), strict=True):
            pairs[group_of[first]].append({"rows": [first, second], "similarity": similarity})
        described = [{"rows": self._described(group), "pairs": each} for group, each in zip(groups, pairs, strict=True)]
        return {"eps": self.eps, "num_rows": len(self.index), "num_pairs": len(self.pairs), "groups": described}

    def to_csv(self) -> str:
        """One line a row that has a duplicate: group from 1, similarity to the most similar row of the group, row."""
        most = np.full(len(self.index), -1.0)
        for side in (0, 1):
            np.maximum.at(most, self.pairs[:, side], self.similarities)
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(("group", "similarity", *COLUMNS))
        for number, group in enumerate(self.groups, start=1):
            for row in self._described(group):
                lines.writerow((number, f"{most[row['row']]:.6f}", *(row[name] for name in COLUMNS)))
        return text.getvalue()

    def _described(self, group: tuple[int, ...]) -> list[dict[str, Any]]:
        return self.index.catalog.describe(np.array(group), columns=COLUMNS)


def find_duplicates(index: Index, *, eps: float) -> Duplicates:
    """All pairs of rows whose cosine similarity is at least 1 - `eps`.

    Time grows quadratically with the number of rows. Segments of one video that overlap are duplicates as well.

    Args:
        index: The rows.
        eps: From 0, equal up to their norm, to 1.

    Raises:
        ConfigError: `eps` is out of its range, or there are more than 5 million pairs.
    """
    check_range("eps", eps, 0, 1)
    pairs, similarities = [np.empty((0, 2), dtype=np.int64)], [np.empty(0)]
    count = 0
    for first, second, found in _pairs(index.rows, least=1 - eps):
        pairs.append(np.stack([first, second], axis=1))
        similarities.append(found)
        count += len(first)
        if count > _MOST_PAIRS:
            raise ConfigError(
                f"eps={eps}: more than {_MOST_PAIRS:,} pairs are as similar as that; choose a smaller eps"
            )
    joined = np.concatenate(pairs)
    order = np.lexsort((joined[:, 1], joined[:, 0]))
    return Duplicates(index, eps, joined[order], np.concatenate(similarities)[order].clip(-1, 1))


def _pairs(rows: Rows, *, least: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows of the pairs, and their similarity in float64, chunk by chunk."""
    candidate = np.float32(least - 2 * rows.error)
    for start in range(0, len(rows), _BLOCK):
        queries = np.arange(start, min(start + _BLOCK, len(rows)))
        for part, block in rows.similarities_of_many(rows.unit_rows(queries), start=start):
            one, other = np.nonzero(block >= candidate)
            first, second = queries[one], other + part.start
            is_once = first < second
            first, second = first[is_once], second[is_once]
            found = rows.exact_pairs(first, second)
            is_kept = found >= least - _ROUNDING
            yield first[is_kept], second[is_kept], found[is_kept]


def connected(pairs: Int64[np.ndarray, "p 2"], count: int) -> tuple[tuple[int, ...], ...]:
    """Sets of two or more rows that pairs connect."""
    roots = list(range(count))

    def root(row: int) -> int:
        while roots[row] != row:
            roots[row] = roots[roots[row]]
            row = roots[row]
        return row

    for one, other in pairs.tolist():
        first, second = sorted((root(one), root(other)))
        roots[second] = first
    groups: dict[int, list[int]] = {}
    for row in np.unique(pairs).tolist():
        groups.setdefault(root(row), []).append(row)
    return tuple(map(tuple, groups.values()))
