"""Smooth random curves: the course of a coordinate over the phases of a motion."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

PHASES = 64
"""Points of a curve, from the start of a motion to its end."""

Path = Float[np.ndarray, "points k"]
Curve = Float[np.ndarray, "phases k"]


def through(times: ArrayLike, values: ArrayLike, *, smooth: int) -> Curve:
    """A curve through values at given times: piecewise linear, then smoothed.

    Args:
        times: Times from 0 to 1, ascending.
        values: The value at each time, a row each or a number each.
        smooth: Width of the smoothing window, in phases; 1 does not smooth.
    """
    times = np.asarray(times, dtype=np.float64)
    columns = np.asarray(values, dtype=np.float64).reshape(len(times), -1).T
    grid = np.linspace(0, 1, PHASES)
    curve = np.stack([np.interp(grid, times, column) for column in columns], axis=1)
    if smooth <= 1:
        return curve
    window = np.hanning(smooth + 2)[1:-1]
    padded = np.pad(curve, ((smooth // 2, smooth - 1 - smooth // 2), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, window / window.sum(), "valid") for column in padded.T], axis=1)


def between_rests(rng: np.random.Generator, path: ArrayLike, rest: ArrayLike, *, abrupt: float = 0.12) -> Curve:
    """A curve that leaves a rest, follows a path and returns to the rest.

    Args:
        rng: Source of the durations of leaving and returning, from 8 to 25 % of the motion each, and of the smoothing.
        path: Points, in order and evenly spaced in time.
        rest: The point before and after the path.
        abrupt: Probability that the motion starts on the path, and the same for its end.
    """
    points = np.asarray(path, dtype=np.float64)
    points = points.reshape(len(points), -1)
    leave, back = (0.01 if rng.random() < abrupt else rng.uniform(0.08, 0.25) for _ in range(2))
    times = [0.0, *np.linspace(leave, 1 - back, len(points)), 1.0]
    ends = np.asarray(rest, dtype=np.float64).reshape(1, -1)
    return through(times, np.concatenate([ends, points, ends]), smooth=int(rng.integers(3, 9)))


def raised(rng: np.random.Generator, levels: Sequence[float], *, abrupt: float = 0.12) -> Float[np.ndarray, " phases"]:
    """A single coordinate that leaves 0, takes the levels in turn and returns to 0."""
    return between_rests(rng, levels, [0.0], abrupt=abrupt)[:, 0]
