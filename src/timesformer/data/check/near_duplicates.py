"""Near-duplicates: videos with the same content in different files, re-encoded, resized or at another rate.

Two videos are compared by thumbnails at the same relative times (`timesformer.data.check.fingerprint`). Their gray
values are split into the still picture, which is the mean over time, and the change, which is the rest. Videos with one
background share the still picture, so the change decides. It may differ only by

* motion within a fraction of a frame, since two frame rates show different moments;
* a small fraction of itself, for brightness and contrast;
* the noise of codecs.

The colors must agree as well: a disc that moves like another one in another color is a different video.

So two takes of an action, and a video played backwards, are different videos. If hardly anything changes, as in a black
video, the comparison is undecidable and no pair is reported. Copies that are cut, cropped or mirrored are not found.

The limits were set on 3 266 pairs of videos in which people repeat an action in front of one background: none counts as
a copy; the closest misses the limit by a factor of 1.3. Of x264 copies of such videos and of drawn ones, at least 94 %
are found at `crf` 28 and at 0.75 times or twice the size, 90 % at half the size, 80 % at `crf` 33, and 70 % at 1/2 or
5/6 of the frame rate. Those that are missed hardly move. The limit of the colors loses no copy: 30 videos of people in
front of photographs and 36 drawn ones, each at `crf` 30 and 34 and at 3/4 and half the size, use at most 0.61 of it.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from einops import reduce
from jaxtyping import Bool, Float, Int64, UInt8

_MAX_OF_MOTION = 0.22
_MAX_OF_CHANGE = 0.004
_MAX_NOISE = 0.57
"""Largest squared difference of two changes: fraction of the motion per frame, fraction of the change, gray levels."""
_MAX_OF_WEAK_CHANGE = 0.25
"""Upper bound of that difference, as a fraction of the change."""
_MIN_CHANGE = 1.5
"""Mean square of the change, in gray levels, below which videos are not compared."""
_MAX_OF_STILL = 0.05
_MAX_STILL_NOISE = 1.0
"""Largest squared difference of two still pictures: fraction of their variance, and gray levels."""
_MAX_BRIGHTNESS = 24.0
"""Largest difference of mean brightness, in gray levels."""
_MAX_OF_COLOR = 0.25
_MAX_COLOR_NOISE = 4.0
"""Largest squared difference of colors: fraction of the stronger ones, and levels. Codecs store colors at half the
resolution, and may confuse color standards."""
_COARSE = 4
"""Side of the cells, in pixels, over which thumbnails are averaged for a first comparison."""
_BLOCK = 1024
"""Side of the blocks of the comparison matrix, in videos."""


def near_pairs(
    thumbnails: UInt8[np.ndarray, "n t 3 h w"], *, num_frames: Int64[np.ndarray, " n"]
) -> list[tuple[int, int]]:
    """All pairs of near-duplicate videos.

    Time grows quadratically with the number of videos: a matrix product over 272 numbers per video selects candidates.
    It loses no pair, since cell averages never differ more than their pixels.

    Args:
        thumbnails: Frames of each video at equal relative times, as Y, Cb and Cr, 0 to 255; sides are multiples
            of 4.
        num_frames: Number of frames of each video, which gives the motion per frame.

    Returns:
        Pairs of indices, the smaller first, sorted.
    """
    pairs = []
    for first, second in _candidates(thumbnails, num_frames):
        ones, others = thumbnails[first], thumbnails[second]
        one = _views(_gray(ones), num_frames[first], cell=1)
        other = _views(_gray(others), num_frames[second], cell=1)
        is_same = _is_same(
            one,
            other,
            still=np.square(one.still - other.still).sum(axis=1),
            change=np.square(one.change - other.change).sum(axis=1),
        )
        is_same &= _has_same_colors(ones, others)
        pairs += zip(first[is_same].tolist(), second[is_same].tolist(), strict=True)
    return sorted(pairs)


def _gray(thumbnails: UInt8[np.ndarray, "n t 3 h w"]) -> Float[np.ndarray, "n t h w"]:
    return thumbnails[:, :, 0].astype(np.float32)


def _has_same_colors(
    ones: UInt8[np.ndarray, "n t 3 h w"], others: UInt8[np.ndarray, "n t 3 h w"]
) -> Bool[np.ndarray, " n"]:
    """Whether videos have the same still and moving colors, pair by pair."""
    stays, moves = (_is_close(one, other) for one, other in zip(_colors(ones), _colors(others), strict=True))
    return stays & moves


def _colors(
    thumbnails: UInt8[np.ndarray, "n t 3 h w"],
) -> tuple[Float[np.ndarray, "n 1 2 h w"], Float[np.ndarray, "n t 2 h w"]]:
    """Mean colors over time, and the difference from them."""
    colors = thumbnails[:, :, 1:].astype(np.float32) - np.float32(128)
    mean = colors.mean(axis=1, keepdims=True)
    return mean, colors - mean


def _is_close(first: Float[np.ndarray, "n t 2 h w"], second: Float[np.ndarray, "n t 2 h w"]) -> Bool[np.ndarray, " n"]:
    one, other, between = (np.square(x).mean(axis=(1, 2, 3, 4)) for x in (first, second, first - second))
    return between <= _MAX_OF_COLOR * np.maximum(one, other) + _MAX_COLOR_NOISE


class _Views(NamedTuple):
    """Still pictures and changes of videos, as vectors whose squared norms are mean squares in gray levels."""

    still: Float[np.ndarray, "n s"]
    change: Float[np.ndarray, "n c"]
    brightness: Float[np.ndarray, "..."]
    still_strength: Float[np.ndarray, "..."]
    change_strength: Float[np.ndarray, "..."]
    motion: Float[np.ndarray, "..."]
    """Mean square of the change from one frame to the next."""

    def against(self, axis: int) -> "_Views":
        """The views with an additional axis, along which they broadcast to a matrix of all pairs."""
        return _Views(self.still, self.change, *(np.expand_dims(values, axis) for values in self[2:]))


def _views(pictures: Float[np.ndarray, "n t h w"], num_frames: Int64[np.ndarray, " n"], *, cell: int) -> _Views:
    """Still pictures and changes averaged over cells; the strengths are of single pixels."""
    brightness = pictures.mean(axis=(1, 2, 3))
    mean = pictures.mean(axis=1, keepdims=True)
    still, change = mean - brightness[:, None, None, None], pictures - mean
    steps = np.square(np.diff(pictures, axis=1)).mean(axis=(1, 2, 3))
    frames_a_step = np.maximum(num_frames / pictures.shape[1], 1).astype(np.float32)
    return _Views(
        still=_vectors(still, cell=cell),
        change=_vectors(change, cell=cell),
        brightness=brightness,
        still_strength=np.square(still).mean(axis=(1, 2, 3)),
        change_strength=np.square(change).mean(axis=(1, 2, 3)),
        motion=steps / frames_a_step,
    )


def _vectors(pictures: Float[np.ndarray, "n t h w"], *, cell: int) -> Float[np.ndarray, "n d"]:
    rows = reduce(pictures, "n t (h a) w -> n t h w", "mean", a=cell)  # rows first is several times as fast
    cells = reduce(rows, "n t h (w b) -> n (t h w)", "mean", b=cell)
    return cells / np.float32(np.sqrt(cells.shape[1]))


def _is_same(
    one: _Views, other: _Views, *, still: Float[np.ndarray, "..."], change: Float[np.ndarray, "..."]
) -> Bool[np.ndarray, "..."]:
    """Whether videos are the same, given the squared distances of their still pictures and changes."""
    still_strength = np.maximum(one.still_strength, other.still_strength)
    change_strength = np.maximum(one.change_strength, other.change_strength)
    allowed = _MAX_OF_MOTION * np.maximum(one.motion, other.motion) + _MAX_OF_CHANGE * change_strength + _MAX_NOISE
    return (
        (change_strength >= _MIN_CHANGE)
        & (np.abs(one.brightness - other.brightness) <= _MAX_BRIGHTNESS)
        & (still <= _MAX_OF_STILL * still_strength + _MAX_STILL_NOISE)
        & (change <= np.minimum(allowed, _MAX_OF_WEAK_CHANGE * change_strength))
    )


def _candidates(
    thumbnails: UInt8[np.ndarray, "n t 3 h w"], num_frames: Int64[np.ndarray, " n"]
) -> Iterator[tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " m"]]]:
    """Chunks of pairs that are the same in coarse cells."""
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(thumbnails), _BLOCK)]
    coarse = [_views(_gray(thumbnails[block]), num_frames[block], cell=_COARSE) for block in blocks]
    for top, rows in enumerate(coarse):
        for left, columns in enumerate(coarse[top:], start=top):
            is_same = _is_same(
                rows.against(1),
                columns.against(0),
                still=_squared_distances(rows.still, columns.still),
                change=_squared_distances(rows.change, columns.change),
            )
            first, second = np.nonzero(is_same)
            first, second = first + top * _BLOCK, second + left * _BLOCK
            is_once = first < second
            yield from _in_chunks(first[is_once], second[is_once])


def _in_chunks(
    first: Int64[np.ndarray, " m"], second: Int64[np.ndarray, " m"]
) -> Iterator[tuple[Int64[np.ndarray, " p"], Int64[np.ndarray, " p"]]]:
    for start in range(0, len(first), _BLOCK):
        yield first[start : start + _BLOCK], second[start : start + _BLOCK]


def _squared_distances(first: Float[np.ndarray, "n d"], second: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "n m"]:
    squares = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1)[None]
    return squares * np.float32(1 - 1e-5) - 2 * first @ second.T  # rounded down: no pair may be lost to rounding
