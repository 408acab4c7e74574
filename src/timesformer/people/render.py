"""Pictures of bodies made of spheres: perspective, and of all spheres at a pixel the nearest.

A pixel holds one whole number, the depth in its high bits and the part of the body in its low bits, so that the maximum
over the spheres gives both, in any order of the spheres.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from timesformer.people.bodies import PerBody, per_clip
from timesformer.people.spheres import Spheres

_PART_BITS = 4
_STEPS_PER_METER = 2**24
_FARTHEST_M = 3.0
"""Depths from this far behind the middle of the body to as far in front of it are told apart."""
_NEAREST_CAMERA_M = 0.6
_HEIGHT = 96
"""Height in pixels for which sizes in pixels are given."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Size of clips."""

    height: int
    width: int
    moments: int
    """Pictures of a clip."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cameras:
    """Where cameras stand, one for each clip."""

    yaw: PerBody
    """In radians, as `pitch` and `roll`."""
    pitch: PerBody
    roll: PerBody
    scale: PerBody
    """Pixels per meter at the middle of the body."""
    stretch: PerBody
    """Width of a pixel of the picture, relative to its height."""
    distance: PerBody
    """In meters."""
    x: PerBody
    """Column of the middle of the body, in pixels, as `y`."""
    y: PerBody


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Depth and part of the body at each pixel."""

    near: Float[Tensor, "n t h w"]
    """Distance toward the camera from the middle of the body, in meters; meaningless at the background."""
    part: Int[Tensor, "n t h w"]
    """A `Part`; 0 is the background."""


def draw_cameras(rng: np.random.Generator, size: Frame, *, clips: int, far: float, device: torch.device) -> Cameras:
    """Random cameras in front of the body.

    Args:
        rng: Source of all numbers.
        size: Size of the picture.
        clips: Number of cameras.
        far: Probability that a body is drawn smaller, from 45 to 90 %, and away from the middle.
        device: Device of the numbers.
    """
    unit = size.height / _HEIGHT
    is_far = rng.random(clips) < far
    smaller = np.where(is_far, rng.uniform(0.45, 0.9, clips), 1.0)
    values = {
        "yaw": rng.normal(0, 0.12, clips) * np.where(rng.random(clips) < 0.15, 3, 1),
        "pitch": rng.normal(0.1, 0.1, clips),
        "roll": rng.normal(0, 0.05, clips),
        "scale": unit * smaller * np.exp(rng.normal(math.log(40), 0.09, clips)),
        "stretch": np.exp(rng.normal(0, 0.05, clips)),
        "distance": rng.uniform(2.2, 4.0, clips) / smaller,
        "x": size.width / 2 + unit * (rng.normal(0, 2.0, clips) + rng.normal(0, 16, clips) * (1 - smaller)),
        "y": unit * (57 + rng.normal(0, 2.5, clips) + rng.normal(0, 16, clips) * (1 - smaller)),
    }
    return Cameras(**{name: per_clip(value, device=device) for name, value in values.items()})


def render(groups: Sequence[Spheres], cameras: Cameras, size: Frame, *, middle: PerBody) -> Picture:
    """Draw bodies.

    Args:
        groups: The spheres of the bodies.
        cameras: A camera for each clip.
        size: Size of the pictures.
        middle: Height of the point that cameras look at, in meters.
    """
    clips, moments = groups[0].centers.shape[:2]
    shape = (clips, moments, size.height, size.width)
    pixels = torch.zeros(math.prod(shape), dtype=torch.int32, device=middle.device)
    for group in groups:
        _splat(pixels, group, cameras, size, middle=middle)
    pixels = pixels.view(shape)
    near = (pixels >> _PART_BITS).float().div_(_STEPS_PER_METER).sub_(_FARTHEST_M)
    return Picture(near, pixels & (2**_PART_BITS - 1))


def _splat(pixels: Int[Tensor, " all"], group: Spheres, cameras: Cameras, size: Frame, *, middle: PerBody) -> None:
    """Write the spheres of a group into the pixels of all clips, where they are nearest."""
    x, y, z = _seen(group.centers, cameras, middle=middle)
    scale = cameras.scale * cameras.distance / (cameras.distance - z).clamp_min(_NEAREST_CAMERA_M)
    px, py = cameras.x + x * scale * cameras.stretch, cameras.y - y * scale
    reach = math.ceil(group.reach * size.height / _HEIGHT)
    radius = (group.radii * scale).clamp_max(reach + 0.4)
    column, row = px.round(), py.round()
    window = torch.arange(-reach, reach + 1.0, device=pixels.device)
    across2 = _squares(px, column, window, size.width)
    down2 = _squares(py, row, window, size.height)
    bulge2 = ((radius.square().unsqueeze(-1) - down2).unsqueeze(-1) - across2.unsqueeze(-2)).view(-1)
    kept = (bulge2 > 0).nonzero().squeeze(1)
    side = len(window)
    line = torch.div(kept, side, rounding_mode="floor")  # a row of the window of a sphere
    sphere = torch.div(line, side, rounding_mode="floor")
    clip_and_moment = torch.arange(x.shape[0] * x.shape[1], device=pixels.device).view(*x.shape[:2], 1, 1)
    rows = (row.unsqueeze(-1) + window).long() + size.height * clip_and_moment
    start = (rows * size.width + column.long().unsqueeze(-1) - reach).view(-1)
    index = start[line].add_(kept).sub_(line, alpha=side)
    depth = z.flatten()[sphere].addcdiv_(bulge2[kept].sqrt_(), scale.flatten()[sphere])
    steps = depth.add_(_FARTHEST_M).clamp_(0, 2 * _FARTHEST_M).mul_(_STEPS_PER_METER).to(torch.int32)
    part = group.parts.to(torch.int32)[sphere % len(group.parts)]
    pixels.scatter_reduce_(0, index, (steps << _PART_BITS) | part, "amax")


def _seen(centers: Float[Tensor, "n t k 3"], cameras: Cameras, *, middle: PerBody) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates of the spheres for the camera, in meters, from the point that it looks at."""
    x, y, z = centers.unbind(-1)
    y = y - middle
    x, z = _turned(x, z, cameras.yaw)
    z, y = _turned(z, y, cameras.pitch)
    x, y = _turned(x, y, -cameras.roll)
    return x, y, z


def _turned(first: Tensor, second: Tensor, angle: PerBody) -> tuple[Tensor, Tensor]:
    return first * angle.cos() + second * angle.sin(), second * angle.cos() - first * angle.sin()


def _squares(
    place: Float[Tensor, "n t k"], pixel: Float[Tensor, "n t k"], window: Float[Tensor, " side"], count: int
) -> Float[Tensor, "n t k side"]:
    """Squared distance of the pixels of a window from the center; infinite outside the picture."""
    at = pixel.unsqueeze(-1) + window
    return (at - place.unsqueeze(-1)).square_().masked_fill_((at < 0) | (at >= count), math.inf)
