"""Rotation, shear and translation of clips: composed into one matrix, and resampled once.

A matrix maps points of a picture, in pixels from its center, x to the right and y down.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from timesformer.data.clips.sampling import Box

Matrix = Float[np.ndarray, "3 3"]

_ROTATION = 30.0
_SHEAR = 0.3
_TRANSLATION = 0.3


def rotate(angle: float) -> Matrix:
    """Rotate by an angle in degrees, counterclockwise as seen on the screen."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])


def shear(x: float, y: float) -> Matrix:
    """Move points by `x` times their y to the right, and by `y` times their x down."""
    return np.array([[1, x, 0], [y, 1, 0], [0, 0, 1]], dtype=np.float64)


def translate(x: float, y: float) -> Matrix:
    """Move by `x` pixels to the right and `y` pixels down."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], dtype=np.float64)


OPERATIONS: Mapping[str, Callable[[float, tuple[int, int]], Matrix]] = MappingProxyType(
    {
        "rotate": lambda strength, size: rotate(_ROTATION * strength),
        "shear_x": lambda strength, size: shear(_SHEAR * strength, 0),
        "shear_y": lambda strength, size: shear(0, _SHEAR * strength),
        "translate_x": lambda strength, size: translate(_TRANSLATION * strength * size[1], 0),
        "translate_y": lambda strength, size: translate(0, _TRANSLATION * strength * size[0]),
    }
)
"""RandAugment's geometric operations, by a signed strength from -1 to 1 and the height and width of the picture:
at most 30 degrees, a shear of 0.3, and 0.3 of the side."""


def cut(frames: UInt8[Tensor, "t h w 3"], box: Box) -> UInt8[Tensor, "t h2 w2 3"]:
    """Crop frames to a box, as a view of their memory."""
    return frames[:, box.top : box.top + box.height, box.left : box.left + box.width]


def warp(frames: UInt8[Tensor, "t h w 3"], box: Box, matrix: Matrix) -> UInt8[Tensor, "t h2 w2 3"]:
    """Warp frames around the center of a box, and crop them to the box.

    Pixels from outside the box may move into it; anything outside the frames is black. Bilinear, rounded to the nearest
    value; the identity is a plain crop.

    Args:
        frames: RGB frames, 0 to 255.
        box: The crop.
        matrix: The map of points, relative to the center of the box.
    """
    if np.array_equal(matrix, np.eye(3)):
        return cut(frames, box)
    # one picture with the channels of all frames, so that the grid is computed once
    channels = rearrange(frames, "t h w c -> 1 (t c) h w").float()
    grid = _grid(frames.shape[1], frames.shape[2], box, np.linalg.inv(matrix))
    warped = F.grid_sample(channels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return rearrange(warped.add_(0.5).to(torch.uint8), "1 (t c) h w -> t h w c", c=3)


def _grid(height: int, width: int, box: Box, inverse: Matrix) -> Float[Tensor, "1 h2 w2 2"]:
    """Source of each pixel of the box: x and y from -1 to 1, edge to edge of the frame."""
    y = rearrange(np.arange(box.height) - (box.height - 1) / 2, "h -> h 1")
    x = np.arange(box.width) - (box.width - 1) / 2
    columns = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2] + box.left + box.width / 2
    rows = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2] + box.top + box.height / 2
    grid = np.stack([columns * (2 / width) - 1, rows * (2 / height) - 1], axis=-1)
    return torch.from_numpy(grid[None]).float()
