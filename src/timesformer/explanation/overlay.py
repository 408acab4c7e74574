"""Heat maps over frames: relevance in color, its strength as opacity, and hatching outside the crop.

Colors come from one perceptually uniform map that the color-blind can read: anchors of `plasma`, interpolated. Source:
Smith and van der Walt 2015, "A Better Default Colormap for Matplotlib" (CC0).
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8

Picture = UInt8[np.ndarray, "height width 3"]
Box = tuple[float, float, float, float]
"""Top, left, height and width, in pixels of a frame."""

MAX_OPACITY = 0.8
"""Opacity of the largest relevance, from 0 to 1, so that the frame stays visible beneath it."""

_ANCHORS = np.array(
    [
        (13, 8, 135),
        (76, 2, 161),
        (126, 3, 168),
        (170, 35, 149),
        (204, 71, 120),
        (230, 108, 92),
        (248, 149, 64),
        (253, 197, 39),
        (240, 249, 33),
    ],
    dtype=np.float32,
)
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_SATURATION = 0.35
"""Color that frames keep beneath a heat map, from 0 to 1, so that they do not compete with its colors."""
_STRIPES = np.array([84, 148], dtype=np.float32)
"""Gray levels of the dark and the light stripes outside the crop."""
_STRIPE_OPACITY = 0.7


def colors_of(strength: Float[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape 3"]:
    """RGB colors, 0 to 255, of values from 0 to 1."""
    positions = np.linspace(0, 1, len(_ANCHORS))
    channels = [np.interp(strength, positions, channel) for channel in _ANCHORS.T]
    return np.stack(channels, axis=-1).astype(np.float32)


def cells_of_pixels(*, size: int, start: float, length: float, count: int) -> Int64[np.ndarray, " size"]:
    """Cell that contains the center of each pixel, along one side of a frame; -1 outside the crop.

    Args:
        size: Pixels of the frame's side.
        start: Start of the crop, in pixels.
        length: Length of the crop, in pixels.
        count: Number of cells, all equally long.
    """
    offset = np.arange(size) + 0.5 - start
    cells = np.clip(offset * count // length, 0, count - 1).astype(np.int64)
    return np.where((offset >= 0) & (offset < length), cells, -1)


def overlay(frame: Picture, relevance: Float[np.ndarray, "h w"], *, scale: float, box: Box) -> Picture:
    """A frame with its heat map.

    Zero relevance shows the frame in muted color; the pixels outside the crop are gray and hatched, and a white outline
    lies on those next to the crop.

    Args:
        frame: The whole upright frame.
        relevance: Relevance of each patch, 0 or more.
        scale: Relevance with the strongest color, equal for all frames of a clip; 0 if all relevance is 0.
        box: The crop, in pixels of `frame`.
    """
    (height, width), (top, left, crop_height, crop_width) = frame.shape[:2], box
    rows = cells_of_pixels(size=height, start=top, length=crop_height, count=relevance.shape[0])
    columns = cells_of_pixels(size=width, start=left, length=crop_width, count=relevance.shape[1])
    strength = np.clip(relevance / scale, 0, 1) if scale > 0 else np.zeros_like(relevance)
    opacity = (MAX_OPACITY * strength).astype(np.float32)[..., None]
    tint = opacity * colors_of(strength)
    cells = np.ix_(rows, columns)
    picture = (1 - opacity)[cells] * muted(frame) + tint[cells]
    inside = (rows >= 0)[:, None] & (columns >= 0)
    picture[~inside] = hatched(frame)[~inside]
    thickness = outline_thickness(height, width)
    near = _widened(rows >= 0, thickness)[:, None] & _widened(columns >= 0, thickness)
    picture[near & ~inside] = 255
    return np.rint(picture).astype(np.uint8)


def muted(frame: Picture) -> Float32[np.ndarray, "height width 3"]:
    """A frame in muted color: how zero relevance looks."""
    return _SATURATION * frame.astype(np.float32) + (1 - _SATURATION) * (frame @ _LUMA)[..., None]


def hatched(frame: Picture) -> Float32[np.ndarray, "height width 3"]:
    """A frame in gray under diagonal stripes: what the model did not see."""
    height, width = frame.shape[:2]
    stripe = max(2, round(min(height, width) / 36))
    diagonal = np.add.outer(np.arange(height), np.arange(width)) // stripe % 2
    gray = (1 - _STRIPE_OPACITY) * (frame @ _LUMA) + _STRIPE_OPACITY * _STRIPES[diagonal]
    return np.repeat(gray[..., None].astype(np.float32), 3, axis=-1)


def outline_thickness(height: int, width: int) -> int:
    """Thickness in pixels of the crop's outline on a frame."""
    return max(1, round(min(height, width) / 240))


def interpolated(
    maps: Float[np.ndarray, "t h w"],
    *,
    seconds: Float64[np.ndarray, " t"],
    at: Float64[np.ndarray, " n"],
) -> Float64[np.ndarray, "n h w"]:
    """Maps at other times, linear between those of a view.

    A time that occurs more than once has the mean of its maps. Before the first time and after the last, the first and
    the last map hold.

    Args:
        maps: Maps of a view.
        seconds: Time of each map, in any order.
        at: Times of the result, in seconds.
    """
    times, positions = np.unique(seconds, return_inverse=True)
    means = np.zeros((len(times), *maps.shape[1:]))
    np.add.at(means, positions, maps)
    means /= np.bincount(positions)[:, None, None]
    place = np.interp(at, times, np.arange(len(times)))
    before = np.floor(place).astype(np.int64)
    after = np.minimum(before + 1, len(times) - 1)
    weight = (place - before)[:, None, None]
    return (1 - weight) * means[before] + weight * means[after]


def _widened(run: Bool[np.ndarray, " n"], by: int) -> Bool[np.ndarray, " n"]:
    """A run of True values, longer by `by` at both ends; nothing stays nothing."""
    places = np.flatnonzero(run)
    wide = run.copy()
    if len(places):
        wide[max(0, places[0] - by) : places[-1] + 1 + by] = True
    return wide
