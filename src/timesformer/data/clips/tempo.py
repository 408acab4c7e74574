"""Random tempo: the speed of an action changes within a training clip."""

import math
from collections.abc import Sequence

import numpy as np

_PARTS = 4


def change_tempo(frames: Sequence[int], *, factor: float, generator: np.random.Generator) -> list[int]:
    """Move the frames of a clip in time, so that each quarter of it has a speed of its own.

    Speeds are drawn log-uniformly from 1 / factor to factor, and scaled so that first and last frame stay.

    Args:
        frames: Frame numbers, never decreasing.
        factor: Largest change of a speed, before scaling; 1 changes and draws nothing.
        generator: Source of the speeds.

    Returns:
        As many frame numbers, never decreasing, from the first to the last of `frames`.
    """
    if factor == 1:
        return list(frames)
    limit = math.log(factor)
    speeds = np.exp(generator.uniform(-limit, limit, _PARTS))
    first, last = frames[0], frames[-1]
    if first == last:
        return list(frames)
    ends = (last - first) * np.concatenate([[0.0], np.cumsum(speeds) / speeds.sum()])
    places = np.interp(np.array(frames) - first, np.linspace(0, last - first, _PARTS + 1), ends)
    return [first + int(place) for place in np.floor(places + 0.5)]
