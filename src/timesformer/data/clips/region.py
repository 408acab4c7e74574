"""The part of a frame in which something moves, from which crops are taken: one rectangle for all frames of a clip.

The standard deviation over the clip shows what moves. It is computed on pictures of some 40 cells, whose means noise
hardly changes. What most cells have in common is not counted: noise, and changes in proportion to the contrast, as a
shaking camera causes. The rectangle holds the middle 90 % of the rest along either side, with a margin, and has the
aspect ratio of the crop. Needs numpy alone: the scripts of `timesformer export --runner` have this code too.
"""

import numpy as np
from jaxtyping import Float, UInt8

from timesformer.data.clips.sampling import Box

_CELLS = 40
"""Cells along the longer side of a frame."""
_SAMPLES = 4
"""Pixels of a cell that are read along each side."""
_LUMA = (0.299, 0.587, 0.114)
_STILL = 2.0
"""Standard deviation of a cell, of 255 gray levels, that counts as still."""
_QUIET = 2.0
"""Multiple of the usual change that counts as noise or shake."""
_TAIL = 0.05
_MARGIN = 1.25


def moving_region(frames: UInt8[np.ndarray, "t h w 3"], *, crop: tuple[int, int], least: float) -> Box:
    """Find the rectangle of a clip's frames in which something moves.

    Args:
        frames: RGB frames, 0 to 255.
        crop: Height and width of the crop, whose aspect ratio the rectangle gets.
        least: Smallest size of the rectangle, relative to the largest one in the frame, above 0 and at most 1.

    Returns:
        The rectangle; the largest one in the middle of the frame if nothing moves.
    """
    _, height, width, _ = frames.shape
    full = min(height / crop[0], width / crop[1])
    energy, cell = motion_energy(frames)
    if not energy.any():
        return _box((height / 2, width / 2), (full * crop[0], full * crop[1]), frame=(height, width))
    rows, columns = (_spread(energy.sum(axis=axis), cell=cell) for axis in (1, 0))
    needed = _MARGIN * max((rows[2] - rows[0]) / crop[0], (columns[2] - columns[0]) / crop[1])
    scale = min(max(needed, least * full), full)
    sides = scale * crop[0], scale * crop[1]
    center = (_center(rows, side=sides[0]), _center(columns, side=sides[1]))
    return _box(center, sides, frame=(height, width))


def motion_energy(frames: UInt8[np.ndarray, "t h w 3"]) -> tuple[Float[np.ndarray, "rows columns"], int]:
    """How much each cell of the frames changes over the clip, above what noise and shake explain.

    Returns:
        Gray levels, 0 where nothing moves, and the side of a cell in pixels. Pixels beyond the last whole cell are left
        out.
    """
    num_frames, height, width, _ = frames.shape
    side = max(1, round(max(height, width) / _CELLS))
    step = max(1, side // _SAMPLES)
    count = max(1, min(side // step, height, width))
    luma = frames[:, ::step, ::step].astype(np.float32) @ np.array(_LUMA, dtype=np.float32)
    rows, columns = luma.shape[1] // count, luma.shape[2] // count
    luma = luma[:, : rows * count, : columns * count].reshape(num_frames, rows, count, columns, count)
    cells = luma.mean(axis=(2, 4))
    cells -= np.median(cells, axis=(1, 2), keepdims=True)  # the exposure
    changes = _smooth(cells.std(axis=0))
    edges = _smooth(_contrast(cells.mean(axis=0))) + 1
    shake = _usual(changes / edges) * edges
    expected = np.maximum(np.maximum(shake, _usual(changes)) * _QUIET, _STILL)
    return np.maximum(changes - expected, 0), step * count


def _usual(changes: Float[np.ndarray, "rows columns"]) -> float:
    """What at least two thirds of the cells change by; in close-ups, half of them may move."""
    return float(np.quantile(changes, 1 / 3))


def _smooth(picture: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """A picture blurred over its neighbors, weighted 1, 2, 1 along each side."""
    for axis in (0, 1):
        padded = np.pad(picture, [(1, 1) if each == axis else (0, 0) for each in (0, 1)], mode="edge")
        before, after = (np.take(padded, range(first, first + picture.shape[axis]), axis) for first in (0, 2))
        picture = (before + 2 * picture + after) / 4
    return picture


def _contrast(picture: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
    """Sum of the differences of each cell to the one before along each side."""
    rows = np.abs(np.diff(picture, axis=0, prepend=picture[:1]))
    columns = np.abs(np.diff(picture, axis=1, prepend=picture[:, :1]))
    return rows + columns


def _spread(energy: Float[np.ndarray, " n"], *, cell: int) -> tuple[float, float, float]:
    """Pixel positions below which 5 %, half and 95 % of the energy along one side lie."""
    shares = np.concatenate([[0.0], np.cumsum(energy, dtype=np.float64)])
    low, middle, high = np.interp(np.array([_TAIL, 0.5, 1 - _TAIL]) * shares[-1], shares, np.arange(len(shares)) * cell)
    return float(low), float(middle), float(high)


def _center(spread: tuple[float, float, float], *, side: float) -> float:
    """The middle of what moves, or its median if the rectangle does not hold all of it."""
    low, middle, high = spread
    return middle if high - low > side else (low + high) / 2


def _box(center: tuple[float, float], sides: tuple[float, float], *, frame: tuple[int, int]) -> Box:
    """The rectangle around a center, in whole pixels, moved into the frame."""
    height, width = (min(max(round(side), 1), room) for side, room in zip(sides, frame, strict=True))
    top = min(max(round(center[0] - height / 2), 0), frame[0] - height)
    left = min(max(round(center[1] - width / 2), 0), frame[1] - width)
    return Box(top, left, height, width)
