"""Bodies as spheres along their bones, each with the part of the body that it belongs to."""

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from timesformer.people.bodies import Bodies, PerBody
from timesformer.people.pose import Pose


class Part(IntEnum):
    """What a pixel shows."""

    BACKGROUND = 0
    TRUNK = 1
    UPPER_ARM = 2
    FOREARM = 3
    HAND = 4
    THIGH = 5
    SHANK = 6
    FOOT = 7
    FACE = 8
    HAIR = 9


@dataclass(frozen=True, slots=True, eq=False)
class Spheres:
    """Spheres of similar size."""

    centers: Float[Tensor, "n t k 3"]
    """In meters."""
    radii: Float[Tensor, "n 1 k"]
    """In meters."""
    parts: Int[Tensor, " k"]
    reach: int
    """Largest radius in pixels, in a picture 96 pixels high."""


SMALL, LARGE = 3, 6


def spheres(posed: Pose, bodies: Bodies) -> tuple[Spheres, Spheres]:
    """Small spheres for limbs, and large ones for trunk, thighs and head."""
    upper_arm = bodies.upper_arm_radius
    small = [
        _chain(posed.shoulder, posed.elbow, 7, (1.15 * upper_arm, upper_arm), Part.UPPER_ARM),
        _chain(posed.elbow, posed.wrist, 7, (0.95 * upper_arm, bodies.forearm_radius), Part.FOREARM),
        _chain(posed.wrist, posed.hand, 3, (bodies.forearm_radius, bodies.hand_radius), Part.HAND),
        _chain(posed.knee, posed.ankle, 9, (1.1 * bodies.shank_radius, 0.85 * bodies.shank_radius), Part.SHANK),
        _chain(posed.ankle, posed.toe, 3, (bodies.foot_radius, bodies.foot_radius), Part.FOOT),
        _chain(posed.neck, posed.chin, 2, (1.3 * upper_arm, 1.2 * upper_arm), Part.FACE),
    ]
    large = [
        _chain(posed.hip, posed.knee, 8, (bodies.thigh_radius, 1.15 * bodies.shank_radius), Part.THIGH),
        _chain(posed.chin, posed.head, 2, (0.85 * bodies.head, bodies.head), Part.FACE),
        _hair(posed, bodies),
        *_trunk(posed, bodies),
    ]
    return _joined(small, SMALL), _joined(large, LARGE)


_Chain = tuple[Tensor, Tensor, Tensor]


def _chain(start: Tensor, end: Tensor, count: int, radii: tuple[PerBody, PerBody], part: Part) -> _Chain:
    """Evenly spaced spheres from one joint to another, on both sides if the joints have sides."""
    share = torch.linspace(0, 1, count, device=start.device)
    centers = start.unsqueeze(-2) + (end - start).unsqueeze(-2) * share[:, None]
    sizes = radii[0] * (1 - share) + radii[1] * share
    sides = 2 if start.ndim == 4 else 1
    parts = torch.full((sides * count,), int(part), device=start.device)
    return centers.flatten(2, -2), sizes.repeat(1, 1, sides), parts


def _hair(posed: Pose, bodies: Bodies) -> _Chain:
    """A cap on top and at the back of the head."""
    forward = torch.linalg.cross(posed.right, posed.up)
    center = posed.head + (0.28 * posed.up - 0.25 * forward) * bodies.head
    return _chain(center, center, 1, (0.95 * bodies.head, 0.95 * bodies.head), Part.HAIR)


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """Spheres across the trunk, at a share of the way from the pelvis to the neck."""

    share: float
    width: PerBody
    """Half of the distance between the outer spheres."""
    radius: PerBody
    across: Tensor
    part: Part


def _trunk(posed: Pose, bodies: Bodies) -> list[_Chain]:
    """Rows of spheres across the trunk, from the hips to the shoulders, and one between each two of them."""
    chest, waist = bodies.chest_radius, bodies.waist_radius
    rows = [
        _Row(0.0, 0.9 * bodies.hips, 0.95 * waist, posed.hip_right, Part.THIGH),
        _Row(0.25, bodies.waist_width, waist, posed.hip_right + posed.right, Part.TRUNK),
        _Row(0.5, bodies.waist_width, waist, posed.right, Part.TRUNK),
        _Row(0.72, 0.62 * bodies.shoulders, chest, posed.right, Part.TRUNK),
        _Row(0.88, 0.72 * bodies.shoulders, 0.8 * chest, posed.right, Part.TRUNK),
    ]
    rows += [_between(low, high) for low, high in pairwise(rows)]
    return [_across(row, posed) for row in rows]


def _between(low: _Row, high: _Row) -> _Row:
    width, radius = 0.5 * (low.width + high.width), 0.5 * (low.radius + high.radius)
    return _Row(0.5 * (low.share + high.share), width, radius, low.across + high.across, high.part)


def _across(row: _Row, posed: Pose) -> _Chain:
    half = F.normalize(row.across, dim=-1) * row.width
    center = posed.pelvis + (posed.neck - posed.pelvis) * row.share - 0.01 * posed.up
    return _chain(center - half, center + half, 3, (row.radius, row.radius), row.part)


def _joined(chains: list[_Chain], reach: int) -> Spheres:
    centers, radii, parts = zip(*chains, strict=True)
    return Spheres(torch.cat(centers, dim=2), torch.cat(radii, dim=2), torch.cat(parts), reach)
