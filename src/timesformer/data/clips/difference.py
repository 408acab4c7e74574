"""How much each pixel of a clip differs from what it shows most of the time. NumPy alone."""

import numpy as np
from jaxtyping import UInt8

_GAIN = 3.0
"""Factor on the distance of two colors: 85 of at most 442 gray levels are white."""


def background_of(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Median of each pixel and channel over frames, the lower of two."""
    middle = (len(frames) - 1) // 2
    return np.partition(frames, middle, axis=0)[middle]


def color_difference(frames: UInt8[np.ndarray, "t h w 3"]) -> UInt8[np.ndarray, "t h w"]:
    """Three times the distance of each pixel's color to its median over the frames, at most 255.

    What stands still is black, and what moves is bright, whatever its color and that of the background.

    Args:
        frames: The frames of a clip, RGB, 0 to 255.
    """
    median = background_of(frames).astype(np.int16)
    squares = np.zeros(frames.shape[:3], dtype=np.int32)
    for channel in range(3):
        squares += np.square(frames[..., channel] - median[..., channel], dtype=np.int32)
    distance = np.sqrt(squares.astype(np.float32)) * np.float32(_GAIN)
    return np.minimum(np.rint(distance), 255).astype(np.uint8)
