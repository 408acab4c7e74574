"""Choose and thin out the curves that a picture shows."""

import numpy as np
from jaxtyping import Float32, Float64, Int64

from timesformer.timelines.timeline import Curves, Timeline

MAX_CURVES = 24
"""Most curves in a picture: those of the classes that are on top for the longest time."""


def drawn_classes(timeline: Timeline, curves: Curves | None) -> list[int]:
    """Indices of the classes whose curves are drawn, in index order.

    They are the classes that are most probable at some instant, or have a segment; at most `MAX_CURVES`, those that are
    most probable for the longest time.
    """
    if curves is None or not len(curves.times):
        return []
    wins = np.bincount(curves.probabilities.argmax(axis=1), minlength=len(timeline.classes))
    found = {segment.index for segment in timeline.segments} | set(np.flatnonzero(wins).tolist())
    return sorted(sorted(found, key=lambda index: (-wins[index], index))[:MAX_CURVES])


def thinned(
    times: Float64[np.ndarray, " n"], values: Float32[np.ndarray, " n"], *, max_points: int = 2000
) -> Int64[np.ndarray, " m"]:
    """Positions of the points to draw, ascending: all of them, or the lowest and the highest of equal spans of time.

    So peaks and dips keep their height, however short they are. The first and the last point are always kept.

    Args:
        times: Instants in seconds, ascending.
        values: Value at each instant.
        max_points: Most points to keep, 4 or more.
    """
    if len(times) <= max_points:
        return np.arange(len(times))
    num_spans = max_points // 2 - 1
    edges = np.linspace(times[0], times[-1], num_spans + 1)[1:-1]
    spans = np.split(np.arange(len(times)), np.searchsorted(times, edges))
    kept = [span[extreme(values[span])] for span in spans if len(span) for extreme in (np.argmin, np.argmax)]
    return np.unique([0, *kept, len(times) - 1])
