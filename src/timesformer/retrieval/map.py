"""The map of an index: its rows in two dimensions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from timesformer.config.checks import check_count
from timesformer.errors import DataError
from timesformer.retrieval.index import Index
from timesformer.retrieval.projection import principal_components, tsne

OnProgress = Callable[[int, int], None]

COLUMNS = ("id", "path", "start", "end", "label", "score", "true_label", "group")
COLORED_BY = {"true_label": "true class", "label": "predicted class", "group": "group"}
"""Columns by which points can be colored, and what they are called; the first that has values is the default."""
MOST_POINTS = 2000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddingMap:
    """Rows of an index in two dimensions, by two methods."""

    index: Index
    rows: Int64[np.ndarray, " n"]
    """Numbers of the rows that are shown, ascending."""
    tsne: Float64[np.ndarray, "n 2"]
    """Coordinates by t-SNE: neighbors are similar; distances and sizes of clusters mean nothing."""
    pca: Float64[np.ndarray, "n 2"]
    """Coordinates along the two directions of largest variance."""
    pca_fractions: Float64[np.ndarray, " 2"]
    """Fraction of the variance along each of them."""
    perplexity: float
    """About how many neighbors a point of t-SNE has."""

    def described(self) -> list[dict[str, Any]]:
        """What the index says about each row that is shown."""
        return self.index.catalog.describe(self.rows, columns=COLUMNS)


def make_map(
    index: Index,
    *,
    most_points: int = MOST_POINTS,
    perplexity: float = 30.0,
    on_progress: OnProgress = lambda done, total: None,
) -> EmbeddingMap:
    """Project the rows of an index, divided by their norms, to two dimensions by t-SNE and by principal components.

    Args:
        index: The rows, read with the columns `COLUMNS` as far as they exist.
        most_points: Number of rows to show; of more, as many of each class as its share.
        perplexity: See `timesformer.retrieval.projection.tsne`.
        on_progress: Called with the steps of t-SNE done and in total.

    Raises:
        ConfigError: An argument is out of its range.
        DataError: There are fewer than two rows.
    """
    check_count("most_points", most_points, least=2)
    if len(index) < 2:
        raise DataError(f"{index.catalog.source}: a map needs at least two rows")
    rows = _drawn(index, most_points)
    units = index.rows.unit_rows(rows)
    pca, fractions = principal_components(units)
    perplexity = min(perplexity, (len(rows) - 1) / 3)
    points = tsne(units, perplexity=perplexity, on_progress=on_progress)
    return EmbeddingMap(index=index, rows=rows, tsne=points, pca=pca, pca_fractions=fractions, perplexity=perplexity)


def _drawn(index: Index, count: int) -> Int64[np.ndarray, " n"]:
    """Rows evenly spaced among all rows in the order of their classes, ascending."""
    if len(index) <= count:
        return np.arange(len(index))
    classes = _first_known(index)
    by_class = np.array(sorted(range(len(index)), key=lambda row: (str(classes[row]), row)))
    return np.sort(by_class[np.linspace(0, len(index) - 1, count).round().astype(np.int64)])


def _first_known(index: Index) -> Sequence[Any]:
    for name in COLORED_BY:
        values = index.catalog.values(name)
        if any(value is not None for value in values):
            return values
    return [None] * len(index)
