"""Augmentation of training clips, on 8-bit pixels: one draw holds for all frames of a clip.

Rotation and RandAugment's geometric operations come first, as one warp; then its color operations in the order drawn,
color jitter, and random erasing. An augmentation that is off draws no random numbers.

Source: Cubuk et al. 2020, "RandAugment" (here with inversion in place of the identity); Zhong et al. 2020, "Random
Erasing Data Augmentation".
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from timesformer.config.run import AugmentConfig
from timesformer.data.clips import affine, color
from timesformer.data.clips.sampling import Box

OPERATIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "all": (*affine.OPERATIONS, *color.OPERATIONS),
        "geometric": tuple(affine.OPERATIONS),
        "photometric": tuple(color.OPERATIONS),
    }
)
"""RandAugment's operations, for each value of `AugmentConfig.rand_operations`."""

_ERASED_AREA = (0.02, 0.33)
_ERASED_ASPECT = (0.3, 3.3)


class Operation(NamedTuple):
    """One of RandAugment's operations and its signed strength, from -1 to 1."""

    name: str
    strength: float


def augment_clip(
    frames: UInt8[Tensor, "t h w 3"],
    augment: AugmentConfig,
    generator: np.random.Generator,
    *,
    box: Box | None = None,
    has_colors: bool = True,
) -> UInt8[Tensor, "t h2 w2 3"]:
    """Crop frames to a box and augment it: rotation, RandAugment, color jitter and erasing.

    The aspect ratio is changed when frames are resized: see `draw_aspect`.

    Args:
        frames: RGB frames, 0 to 255; not modified.
        augment: Augmentations and their strengths.
        generator: Source of all draws.
        box: The crop; by default the whole frames.
        has_colors: True if the channels are colors; otherwise operations that need colors are not drawn.

    Returns:
        The augmented crop; a view of the frames' memory if nothing has changed it.
    """
    box = box or Box(0, 0, *frames.shape[1:3])
    operations = draw_operations(augment, generator, has_colors=has_colors)
    view = affine.warp(frames, box, draw_matrix(augment, operations, size=(box.height, box.width), generator=generator))
    for name, strength in operations:
        if name in color.OPERATIONS:
            view = color.OPERATIONS[name](view, strength)
    view = jitter_colors(view, augment, generator, has_colors=has_colors)
    return erase(view, augment, generator, has_colors=has_colors)


def draw_aspect(augment: AugmentConfig, generator: np.random.Generator) -> float:
    """Draw a factor on the aspect ratio, log-uniformly from 1 / aspect to aspect."""
    if augment.aspect == 1:
        return 1.0
    limit = math.log(augment.aspect)
    return math.exp(generator.uniform(-limit, limit))


def draw_operations(
    augment: AugmentConfig, generator: np.random.Generator, *, has_colors: bool = True
) -> list[Operation]:
    """Draw RandAugment's operations and their signs, each from all operations that the channels allow."""
    names = [name for name in OPERATIONS[augment.rand_operations] if has_colors or name not in color.NEED_COLORS]
    strength = augment.rand_magnitude / 10
    return [
        Operation(names[generator.integers(len(names))], strength * generator.choice((-1.0, 1.0)))
        for _ in range(augment.rand_augment)
    ]


def draw_matrix(
    augment: AugmentConfig, operations: list[Operation], *, size: tuple[int, int], generator: np.random.Generator
) -> affine.Matrix:
    """Draw the rotation, and compose it with RandAugment's geometric operations.

    Args:
        augment: Maximum rotation.
        operations: Operations drawn by RandAugment; color operations are ignored.
        size: Height and width of the picture in pixels.
        generator: Source of the angle.
    """
    matrix = np.eye(3)
    if augment.rotation:
        matrix = affine.rotate(generator.uniform(-augment.rotation, augment.rotation))
    for name, strength in operations:
        if name in affine.OPERATIONS:
            matrix = affine.OPERATIONS[name](strength, size) @ matrix
    return matrix


def jitter_colors(
    frames: UInt8[Tensor, "t h w 3"], augment: AugmentConfig, generator: np.random.Generator, *, has_colors: bool = True
) -> UInt8[Tensor, "t h w 3"]:
    """Change brightness, contrast and saturation in random order, then the hue, then convert to gray at random.

    Without colors only brightness and contrast change.
    """
    if augment.color_jitter:
        changes = (color.brightness, color.contrast, *([color.saturation] if has_colors else []))
        for i in generator.permutation(len(changes)):
            frames = changes[i](frames, generator.uniform(1 - augment.color_jitter, 1 + augment.color_jitter))
    if augment.hue_jitter:
        frames = color.hue(frames, generator.uniform(-augment.hue_jitter, augment.hue_jitter))
    if augment.grayscale and generator.random() < augment.grayscale:
        frames = color.grayscale(frames)
    return frames


def erase(
    frames: UInt8[Tensor, "t h w 3"], augment: AugmentConfig, generator: np.random.Generator, *, has_colors: bool = True
) -> UInt8[Tensor, "t h w 3"]:
    """Fill a box with noise at random: the same box and noise in all frames, and in channels that are times."""
    if not augment.erase or generator.random() >= augment.erase:
        return frames
    _, height, width, _ = frames.shape
    box = draw_erased_box(height, width, generator=generator)
    noise = generator.integers(0, 256, (box.height, box.width, 3 if has_colors else 1), dtype=np.uint8)
    erased = frames.clone()
    affine.cut(erased, box)[:] = torch.from_numpy(noise)
    return erased


def draw_erased_box(height: int, width: int, *, generator: np.random.Generator) -> Box:
    """Draw a box of 2 to 33 % of a picture's area, 0.3 to 3.3 times as high as wide, at any position.

    In an elongated picture the box may exceed these aspects to reach its area.
    """
    area = generator.uniform(*_ERASED_AREA)
    low, high = np.log(_ERASED_ASPECT)
    # at these aspects the box is as wide, or as high, as the picture
    aspect = np.clip(math.exp(generator.uniform(low, high)), area * height / width, height / (area * width))
    box_height = min(max(round(math.sqrt(area * height * width * aspect)), 1), height)
    box_width = min(max(round(math.sqrt(area * height * width / aspect)), 1), width)
    top = int(generator.integers(0, height - box_height, endpoint=True))
    left = int(generator.integers(0, width - box_width, endpoint=True))
    return Box(top, left, box_height, box_width)
