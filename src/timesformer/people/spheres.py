"""Bodies as spheres along their bones, each with the part of the body that it belongs to."""

from dataclasses import dataclass
from enum import IntEnum

import torch
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
    small = [
        _chain(
            posed.shoulder, posed.elbow, 6, (1.15 * bodies.upper_arm_radius, bodies.upper_arm_radius), Part.UPPER_ARM
        ),
        _chain(posed.elbow, posed.wrist, 6, (0.95 * bodies.upper_arm_radius, bodies.forearm_radius), Part.FOREARM),
        _chain(posed.wrist, posed.hand, 3, (bodies.forearm_radius, bodies.hand_radius), Part.HAND),
        _chain(posed.knee, posed.ankle, 7, (1.1 * bodies.shank_radius, 0.85 * bodies.shank_radius), Part.SHANK),
        _chain(posed.ankle, posed.toe, 3, (bodies.foot_radius, bodies.foot_radius), Part.FOOT),
        _chain(posed.neck, posed.chin, 2, (1.3 * bodies.upper_arm_radius, 1.2 * bodies.upper_arm_radius), Part.FACE),
    ]
    large = [
        _chain(posed.hip, posed.knee, 5, (bodies.thigh_radius, 1.15 * bodies.shank_radius), Part.THIGH),
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


def _trunk(posed: Pose, bodies: Bodies) -> list[_Chain]:
    """Rows of spheres across the trunk, from the hips to the shoulders."""
    spine, chest, waist = posed.neck - posed.pelvis, bodies.chest_radius, bodies.waist_radius
    rows = (
        (0.0, 0.9 * bodies.hips, 0.95 * waist, posed.hip_right, Part.THIGH),
        (0.25, bodies.waist_width, waist, posed.hip_right + posed.right, Part.TRUNK),
        (0.5, bodies.waist_width, waist, posed.right, Part.TRUNK),
        (0.72, 0.62 * bodies.shoulders, chest, posed.right, Part.TRUNK),
        (0.88, 0.72 * bodies.shoulders, 0.8 * chest, posed.right, Part.TRUNK),
    )
    chains = []
    for share, width, radius, across, part in rows:
        half = torch.nn.functional.normalize(across, dim=-1) * width
        center = posed.pelvis + spine * share - 0.01 * posed.up
        chains.append(_chain(center - half, center + half, 3, (radius, radius), part))
    return chains


def _joined(chains: list[_Chain], reach: int) -> Spheres:
    centers, radii, parts = zip(*chains, strict=True)
    return Spheres(torch.cat(centers, dim=2), torch.cat(radii, dim=2), torch.cat(parts), reach)
