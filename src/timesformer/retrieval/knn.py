"""Accuracy of the nearest neighbors: how well embeddings tell classes apart, without training anything."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64

from timesformer.config.checks import check_count
from timesformer.errors import DataError
from timesformer.evaluation.intervals import Interval, accuracy_interval
from timesformer.retrieval.index import Index
from timesformer.retrieval.rows import Rows

_BLOCK = 256
"""Rows that are compared with all others at a time."""
SOURCES = ("group", "path", "sha256")
"""Columns whose equal values make two rows the same source, which must not vote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnnAccuracy:
    """Fraction of the rows whose class is that of most of their nearest neighbors from other sources."""

    k: int
    accuracy: float
    """Fraction of the counted rows, 0 to 1."""
    interval: Interval
    """95 % confidence interval of `accuracy`."""
    chance: float
    """Accuracy of always naming the most frequent class."""
    num_rows: int
    """Rows that were counted."""
    num_unlabeled: int
    """Rows without a class, which neither count nor vote."""
    num_alone: int
    """Rows without any neighbor from another source, which do not count."""
    left_out: tuple[str, ...]
    """Columns of which rows with the same value did not vote."""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers, strings and lists, ready for JSON."""
        return asdict(self)


def knn_accuracy(index: Index, *, k: int = 5) -> KnnAccuracy:
    """Classify each row by its `k` nearest neighbors of the same group, video and file never being among them.

    The class with most votes wins; of equal ones, that with the larger sum of similarities. The class of a row is its
    `true_label`; in files without this column, its `label`.

    Args:
        index: The rows, read with the columns `group`, `path` and `sha256` as far as they exist.
        k: Number of neighbors.

    Raises:
        ConfigError: `k` is not a whole number from 1.
        DataError: No row has a class, or no row has a neighbor from another source.
    """
    check_count("k", k)
    labels = _labels(index)
    is_labeled = np.array([label is not None for label in labels])
    chosen = np.flatnonzero(is_labeled)
    if not len(chosen):
        raise DataError(
            f"{index.catalog.source}: no row has a true class: embed a manifest with classes, such as a folder for "
            "each class"
        )
    classes, codes = np.unique(np.array([labels[row] for row in chosen]), return_inverse=True)
    sources = [_codes(index.catalog.values(name), chosen) for name in SOURCES]
    predicted = nearest_classes(Rows(index.rows.vectors[chosen]), codes, sources=sources, k=k, num_classes=len(classes))
    is_counted = predicted >= 0
    if not is_counted.any():
        raise DataError(f"{index.catalog.source}: no row has a neighbor of another {', '.join(SOURCES[:2])}")
    correct = predicted[is_counted] == codes[is_counted]
    groups = _groups(index, chosen[is_counted])
    return KnnAccuracy(
        k=k,
        accuracy=float(correct.mean()),
        interval=accuracy_interval(correct[None].astype(np.float64) > 0, groups=groups),
        chance=float(np.bincount(codes[is_counted]).max() / is_counted.sum()),
        num_rows=int(is_counted.sum()),
        num_unlabeled=len(labels) - len(chosen),
        num_alone=int((~is_counted).sum()),
        left_out=tuple(name for name, values in zip(SOURCES, sources, strict=True) if (values >= 0).any()),
    )


def nearest_classes(
    rows: Rows,
    labels: Int64[np.ndarray, " n"],
    *,
    sources: Sequence[Int64[np.ndarray, " n"]],
    k: int,
    num_classes: int,
) -> Int64[np.ndarray, " n"]:
    """The class of the `k` nearest neighbors of each row; -1 for a row without any.

    Args:
        rows: The rows.
        labels: Class of each row.
        sources: Codes of each row; rows with an equal code, not negative, do not vote for each other.
        k: Number of neighbors.
        num_classes: Number of classes.
    """
    predicted = np.empty(len(rows), dtype=np.int64)
    for start in range(0, len(rows), _BLOCK):
        queries = np.arange(start, min(start + _BLOCK, len(rows)))
        blocks = [block for _, block in rows.similarities_of_many(rows.unit_rows(queries))]
        similarities = np.concatenate(blocks, axis=1)
        similarities[np.arange(len(queries)), queries] = -np.inf
        for codes in sources:
            similarities[(codes[queries][:, None] == codes) & (codes[queries] >= 0)[:, None]] = -np.inf
        predicted[queries] = _votes(similarities, labels, k=k, num_classes=num_classes)
    return predicted


def _votes(
    similarities: Float[np.ndarray, "m n"], labels: Int64[np.ndarray, " n"], *, k: int, num_classes: int
) -> Int64[np.ndarray, " m"]:
    count = min(k, similarities.shape[1])
    neighbors = np.argpartition(-similarities, count - 1, axis=1)[:, :count]
    near = np.take_along_axis(similarities, neighbors, axis=1)
    is_one: Bool[np.ndarray, "m k"] = np.isfinite(near)
    classes = labels[neighbors]
    votes = np.zeros((len(near), num_classes))
    rows = np.broadcast_to(np.arange(len(near))[:, None], near.shape)
    # a similarity counts less than a vote: from 0 to 1 in all, for at most k of them
    weights = 1 + (near[is_one] + 1) / 2 / (k + 1)
    np.add.at(votes, (rows[is_one], classes[is_one]), weights)
    return np.where(is_one.any(axis=1), votes.argmax(axis=1), -1)


def _labels(index: Index) -> list[Any]:
    has_true = "true_label" in index.catalog.table.column_names
    return index.catalog.values("true_label" if has_true else "label")


def _codes(values: Sequence[Any], rows: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """A number for each distinct value, -1 for None and empty text."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(values[row], len(numbers)) if values[row] else -1 for row in rows])


def _groups(index: Index, rows: Int64[np.ndarray, " n"]) -> list[str]:
    """What may be correct or wrong together: the group, or else the video of several segments; empty for none."""
    groups, paths = index.catalog.values("group"), index.catalog.values("path")
    chosen = [paths[row] or "" for row in rows]
    has_segments = len(set(chosen)) < len(chosen)
    return [
        str(groups[row]) if groups[row] else path if has_segments else ""
        for row, path in zip(rows, chosen, strict=True)
    ]
