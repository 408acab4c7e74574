"""From curves to segments: one label at a time, or each class by itself. Pure functions.

Between two instants a curve is a straight line: for the exclusive decision in log space, as scores are averaged there,
for the overlapping one in probability. Where a decision changes between two instants, the boundary is where the lines
say so, not at an instant: half of the boundaries would come late otherwise. Before the first instant of a piece and
after its last one, curves are constant.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from timesformer.config.thresholds import ClassThresholds, Thresholds
from timesformer.data.manifest.background import BACKGROUND
from timesformer.timelines.timeline import Curves

_LEAST = 1e-30
"""Smallest probability whose logarithm is taken."""


class Piece(NamedTuple):
    """A part of a video without gaps, in seconds."""

    start: float
    end: float


class Run(NamedTuple):
    """Time with one class, in seconds."""

    index: int
    start: float
    end: float

    @property
    def length(self) -> float:
        """Length in seconds."""
        return self.end - self.start


def exclusive(curves: Curves, *, classes: Sequence[str], thresholds: Thresholds, pieces: Sequence[Piece]) -> list[Run]:
    """One class at a time, the most probable one.

    Runs shorter than `min_on` (`min_off` for the background) are given to their neighbors, the shortest first: each
    neighbor gets the part in which it is the more probable of the two. If all of a piece is shorter, it stays one run.

    Args:
        curves: Class probabilities.
        classes: Class names; the class `background` gives no segments.
        thresholds: `min_on` and `min_off`.
        pieces: The parts of the video without gaps.

    Returns:
        Runs that do not overlap, in order of time, without background.
    """
    shortest = shortest_runs(classes, thresholds)
    found: list[Run] = []
    for piece, times, probabilities in in_pieces(curves, pieces):
        scores = log_scores(probabilities)
        runs = most_probable(times, scores, piece)
        found += without_short(runs, times, scores, shortest=shortest)
    return [run for run in found if classes[run.index] != BACKGROUND]


def shortest_runs(classes: Sequence[str], thresholds: Thresholds) -> list[float]:
    """Length of the shortest run of each class in exclusive mode, in seconds."""
    limits = [thresholds.of(label) for label in classes]
    return [own.min_off if label == BACKGROUND else own.min_on for label, own in zip(classes, limits, strict=True)]


def log_scores(probabilities: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    """Log-probabilities, by which classes are compared in exclusive mode."""
    return np.log(np.maximum(probabilities, _LEAST))


def is_short(run: Run, shortest: Sequence[float]) -> bool:
    """Whether a run of exclusive mode is given to its neighbors."""
    return run.length < shortest[run.index] - 1e-9


def overlapping(
    curves: Curves, *, classes: Sequence[str], thresholds: Thresholds, pieces: Sequence[Piece]
) -> list[Run]:
    """Each class by itself, by hysteresis.

    A class is on from where its probability reaches `onset` to where it falls below `offset`. Then pauses shorter than
    `min_off` are filled, and after that runs shorter than `min_on` are removed.

    Args:
        curves: Class probabilities.
        classes: Class names; the class `background` gives no segments.
        thresholds: All four values of each class.
        pieces: The parts of the video without gaps.

    Returns:
        Runs in order of their start, then of the class.
    """
    runs = [
        run
        for piece, times, probabilities in in_pieces(curves, pieces)
        for index, label in enumerate(classes)
        if label != BACKGROUND
        for run in _hysteresis(times, probabilities[:, index], piece, index=index, thresholds=thresholds.of(label))
    ]
    return sorted(runs, key=lambda run: (run.start, run.index))


def mean_and_peak(times: Float64[np.ndarray, " n"], values: Float64[np.ndarray, " n"], run: Run) -> tuple[float, float]:
    """Mean and highest probability of a class over a run.

    Args:
        times: Instants of the piece that the run lies in.
        values: Probabilities of its class.
        run: The run.
    """
    inside = (times > run.start) & (times < run.end)
    points = np.concatenate([[run.start], times[inside], [run.end]])
    known = np.interp(points, times, values)
    mean = ((known[1:] + known[:-1]) / 2 * np.diff(points)).sum() / run.length
    return min(float(mean), 1.0), float(known.max())


def in_pieces(
    curves: Curves, pieces: Sequence[Piece]
) -> Iterator[tuple[Piece, Float64[np.ndarray, " n"], Float64[np.ndarray, "n k"]]]:
    """The instants of each piece; pieces without any are left out."""
    for piece in pieces:
        first, end = np.searchsorted(curves.times, [piece.start - 1e-9, piece.end]).tolist()
        if first < end:
            yield piece, curves.times[first:end], curves.probabilities[first:end].astype(np.float64)


def most_probable(times: Float64[np.ndarray, " n"], scores: Float64[np.ndarray, "n k"], piece: Piece) -> list[Run]:
    """Runs of the most probable class of each instant, from log-probabilities."""
    best = scores.argmax(axis=1)
    changes = np.flatnonzero(best[1:] != best[:-1])
    bounds = [piece.start]
    for i in changes.tolist():
        differences = scores[i : i + 2, best[i]] - scores[i : i + 2, best[i + 1]]
        bounds.append(crossing(times[i : i + 2], differences))
    bounds.append(piece.end)
    labels = best[np.concatenate([[0], changes + 1])].tolist()
    return [Run(*values) for values in zip(labels, bounds[:-1], bounds[1:], strict=True)]


def crossing(times: Float64[np.ndarray, " two"], values: Float64[np.ndarray, " two"]) -> float:
    """Where a line through two values reaches zero; the first is not negative, the second not positive."""
    fall = values[0] - values[1]
    share = values[0] / fall if fall > 0 else 0.5
    return float(times[0] + share * (times[1] - times[0]))


def without_short(
    runs: list[Run],
    times: Float64[np.ndarray, " n"],
    scores: Float64[np.ndarray, "n k"],
    *,
    shortest: Sequence[float],
) -> list[Run]:
    """Give runs that are too short to their neighbors, the shortest first."""
    while len(runs) > 1:
        short = [i for i, run in enumerate(runs) if is_short(run, shortest)]
        if not short:
            break
        i = min(short, key=lambda i: (runs[i].length, i))
        runs = [*runs[: max(i - 1, 0)], *_absorbed(runs, i, times, scores), *runs[i + 2 :]]
    return runs


def _absorbed(
    runs: list[Run], i: int, times: Float64[np.ndarray, " n"], scores: Float64[np.ndarray, "n k"]
) -> list[Run]:
    """The neighbors of a run after they have taken its time."""
    _, start, end = runs[i]
    if i == 0:
        return [runs[1]._replace(start=start)]
    before = runs[i - 1]
    if i == len(runs) - 1:
        return [before._replace(end=end)]
    after = runs[i + 1]
    if before.index == after.index:
        return [before._replace(end=after.end)]
    edge = _best_edge(times, scores[:, before.index] - scores[:, after.index], start, end)
    return [before._replace(end=edge), after._replace(start=edge)]


def _best_edge(times: Float64[np.ndarray, " n"], lead: Float64[np.ndarray, " n"], start: float, end: float) -> float:
    """Where one class should hand over to another: up to there its lead over the other sums to the most."""
    inside = times[(times > start) & (times < end)]
    points = np.concatenate([[start], inside, [end]])
    values = np.interp(points, times, lead)
    crossings = [
        crossing(points[i : i + 2], values[i : i + 2])
        for i in np.flatnonzero((values[:-1] > 0) & (values[1:] < 0)).tolist()
    ]
    grid = np.sort(np.concatenate([points, crossings]))
    heights = np.interp(grid, times, lead)
    gained = np.concatenate([[0.0], np.cumsum((heights[1:] + heights[:-1]) / 2 * np.diff(grid))])
    return float(grid[gained.argmax()])


def _hysteresis(
    times: Float64[np.ndarray, " n"],
    values: Float64[np.ndarray, " n"],
    piece: Piece,
    *,
    index: int,
    thresholds: ClassThresholds,
) -> list[Run]:
    onset, offset, min_on, min_off = thresholds
    is_on = _is_on(values, onset=onset, offset=offset)
    runs: list[Run] = []
    start = piece.start if is_on[0] else None
    for i in np.flatnonzero(is_on[1:] != is_on[:-1]).tolist():
        limit = onset if is_on[i + 1] else offset
        rise = values[i + 1] - values[i]
        at = float(times[i] + (limit - values[i]) / rise * (times[i + 1] - times[i]))
        if is_on[i + 1]:
            start = at
        elif start is not None:
            runs.append(Run(index, start, at))
            start = None
    if start is not None:
        runs.append(Run(index, start, piece.end))
    return [run for run in _joined(runs, min_off) if run.length >= max(min_on - 1e-9, 1e-12)]


def _is_on(values: Float64[np.ndarray, " n"], *, onset: float, offset: float) -> Bool[np.ndarray, " n"]:
    """State at each instant: on from `onset` up, off below `offset`, in between as before; off at first."""
    decided = np.where(values >= onset, 1, np.where(values < offset, 0, -1))
    decided[0] = max(decided[0], 0)
    last = np.maximum.accumulate(np.where(decided >= 0, np.arange(len(decided)), 0))
    return decided[last] == 1


def _joined(runs: Sequence[Run], min_off: float) -> list[Run]:
    """Runs of one class with pauses shorter than `min_off` filled."""
    joined: list[Run] = []
    for run in runs:
        if joined and run.start - joined[-1].end < min_off - 1e-9:
            joined[-1] = joined[-1]._replace(end=run.end)
        else:
            joined.append(run)
    return joined
