"""Joints of bodies that do motions: forward kinematics for the trunk, two-bone inverse kinematics for arms and legs.

x is to the right of the picture, y up and z toward the camera; the origin is on the ground below the body. Sides are
those of the picture at the start, 0 left and 1 right.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from timesformer.people.bodies import Bodies
from timesformer.people.draft import SIDES
from timesformer.people.motions import Course

Joint = Float[Tensor, "n t 3"]
Joints = Float[Tensor, "n t 2 3"]

TARGETS = 33
"""Numbers of a pose: wrists, elbows, knees and ankles of both sides, trunk, pelvis and facing, three each."""
WRISTS = 6
"""The first of them: those of the wrists."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pose:
    """Joints in meters, and directions of the trunk."""

    pelvis: Joint
    neck: Joint
    chin: Joint
    head: Joint
    up: Joint
    """Direction from the pelvis to the neck."""
    right: Joint
    """Direction from one shoulder to the other."""
    hip_right: Joint
    shoulder: Joints
    elbow: Joints
    wrist: Joints
    hand: Joints
    """Tip of the hand."""
    hip: Joints
    knee: Joints
    ankle: Joints
    toe: Joints


def pose(course: Course, bodies: Bodies) -> Pose:
    """The joints of bodies, one for each motion."""
    device = bodies.hip.device
    trunk, whole, pelvis = (torch.from_numpy(x).to(device) for x in (course.trunk, course.whole, course.pelvis))
    turn = _rotation(*trunk.unbind(-1))
    still = torch.zeros_like(trunk[..., 0])
    hip_turn = _rotation(still, still, 0.4 * trunk[..., 2])
    joints = _trunk(pelvis, turn, hip_turn, bodies)
    joints |= _arms(course, joints["neck"], turn, bodies) | _legs(course, joints["pelvis"], hip_turn, bodies)
    lean, sideways = whole[..., 1], -whole[..., 2]
    of_body = _rotation(lean, sideways, whole[..., 0])
    return Pose(**{name: _turned(of_body, points) for name, points in joints.items()})


def targets(posed: Pose, bodies: Bodies) -> Float[Tensor, "n t 33"]:
    """What a model learns of a pose, free of the size of the body.

    Wrists, elbows, knees and ankles relative to the first joint of their limb, in lengths of that limb; the trunk from
    pelvis to neck; the pelvis relative to where it stands, in leg lengths; and the direction of the shoulders.
    """
    arm, leg, thigh = bodies.arm[..., None], bodies.leg[..., None], bodies.thigh[..., None]
    limbs = [
        (posed.wrist - posed.shoulder) / arm,
        (posed.elbow - posed.shoulder) / bodies.upper_arm[..., None],
        (posed.knee - posed.hip) / (leg * thigh),
        (posed.ankle - posed.hip) / leg,
    ]
    standing = _vector(0.0, bodies.hip, 0.0)
    trunk = (posed.neck - posed.pelvis) / bodies.torso
    whole = [trunk, (posed.pelvis - standing) / bodies.leg, posed.right]
    return torch.cat([*(rearrange(limb, "n t side xyz -> n t (side xyz)") for limb in limbs), *whole], dim=-1)


def two_bones(
    root: Joints, goal: Joints, *, first: Float[Tensor, "n 1 1 1"], second: Float[Tensor, "n 1 1 1"], pole: Joints
) -> tuple[Joints, Joints]:
    """Reach for a goal with two bones.

    Args:
        root: The joint that stays.
        goal: Where the end should be; an end that cannot reach it lies on the way there.
        first, second: Lengths of the bones.
        pole: Direction to which the middle joint points.

    Returns:
        The middle joint and the end.
    """
    way = goal - root
    distance = way.norm(dim=-1, keepdim=True).clamp_min(1e-4)
    way = way / distance
    nearest = torch.maximum((first - second).abs() * 1.01, torch.full_like(first, 0.15))
    distance = torch.minimum(torch.maximum(distance, nearest), 0.995 * (first + second))
    along = (first**2 - second**2 + distance**2) / (2 * distance)
    out = (first**2 - along**2).clamp_min(0).sqrt()
    side = pole - (pole * way).sum(-1, keepdim=True) * way
    side = side / side.norm(dim=-1, keepdim=True).clamp_min(1e-4)
    return root + way * along + side * out, root + way * distance


def _trunk(pelvis: Joint, turn: Tensor, hip_turn: Tensor, bodies: Bodies) -> dict[str, Tensor]:
    at_pelvis = pelvis * bodies.leg + _vector(0.0, bodies.hip, 0.0)
    neck = at_pelvis + _turned(turn, _vector(0.0, bodies.torso, 0.0))
    shape = pelvis.shape
    return {
        "pelvis": at_pelvis,
        "neck": neck,
        "chin": neck + _turned(turn, _vector(0.0, bodies.neck + 0.6 * bodies.head, 0.05)),
        "head": neck + _turned(turn, _vector(0.0, bodies.neck + 1.25 * bodies.head, 0.03)),
        "up": turn[..., 1].expand(shape),
        "right": turn[..., 0].expand(shape),
        "hip_right": hip_turn[..., 0].expand(shape),
    }


def _arms(course: Course, neck: Joint, turn: Tensor, bodies: Bodies) -> dict[str, Tensor]:
    device = neck.device
    sign = torch.tensor(SIDES, device=device)[:, None]
    wrists, swivel = (torch.from_numpy(x).to(device) for x in (course.wrists, course.swivel))
    upper, fore = bodies.upper_arm[..., None], bodies.forearm[..., None]
    offset = _vector(bodies.shoulders[..., None] * sign, -0.055, 0.0)
    shoulder = neck[:, :, None] + _turned(turn, offset)
    goal = shoulder + _turned(turn, wrists * bodies.arm[..., None])
    angle = swivel[..., None]
    pole = _turned(turn, _vector(sign * angle.sin(), -angle.cos(), -0.5))
    elbow, wrist = two_bones(shoulder, goal, first=upper, second=fore, pole=pole)
    hand = wrist + (wrist - elbow) / fore * bodies.hand[..., None]
    return {"shoulder": shoulder, "elbow": elbow, "wrist": wrist, "hand": hand}


def _legs(course: Course, pelvis: Joint, hip_turn: Tensor, bodies: Bodies) -> dict[str, Tensor]:
    device = pelvis.device
    sign = torch.tensor(SIDES, device=device)[:, None]
    leg, foot = bodies.leg[..., None], bodies.foot[..., None]
    hip = pelvis[:, :, None] + _turned(hip_turn, _vector(bodies.hips[..., None] * sign, 0.0, 0.0))
    on_ground = _vector(bodies.stance[..., None] * sign, 0.07 * bodies.hip[..., None], 0.0)
    goal = torch.from_numpy(course.feet).to(device) * leg + on_ground
    thigh = bodies.thigh[..., None]
    pole = _vector(0.25 * sign, 0.0, 1.0).expand_as(goal)
    knee, ankle = two_bones(hip, goal, first=leg * thigh, second=leg * (1 - thigh), pole=pole)
    return {"hip": hip, "knee": knee, "ankle": ankle, "toe": ankle + _vector(0.3 * sign * foot, -0.02, foot)}


def _vector(x: Tensor | float, y: Tensor | float, z: Tensor | float) -> Tensor:
    """Stack coordinates; tensors have a last dimension of 1."""
    given = next(value for value in (x, y, z) if isinstance(value, Tensor))
    parts = [value if isinstance(value, Tensor) else torch.full_like(given, value) for value in (x, y, z)]
    return torch.cat(torch.broadcast_tensors(*parts), dim=-1)


def _turned(turn: Float[Tensor, "n t 3 3"], points: Tensor) -> Tensor:
    """Rotate a vector for each body, moment and, if there are sides, side."""
    matrix = turn if points.ndim == 3 else turn[:, :, None]
    return (matrix @ points.unsqueeze(-1)).squeeze(-1)


def _rotation(
    about_x: Float[Tensor, "n t"], about_z: Float[Tensor, "n t"], about_y: Float[Tensor, "n t"]
) -> Float[Tensor, "n t 3 3"]:
    """Lean forward about x, then bend to the left about z, then turn to the right about y; angles in radians."""
    return _about(about_y, axes=(2, 0)) @ _about(about_z, axes=(0, 1)) @ _about(about_x, axes=(1, 2))


def _about(angle: Float[Tensor, "n t"], *, axes: tuple[int, int]) -> Float[Tensor, "n t 3 3"]:
    """Rotation in the plane of two axes, from the first to the second."""
    first, second = axes
    matrix = torch.eye(3, device=angle.device).repeat(*angle.shape, 1, 1)
    cos, sin = angle.cos(), angle.sin()
    matrix[..., first, first], matrix[..., second, second] = cos, cos
    matrix[..., second, first], matrix[..., first, second] = sin, -sin
    return matrix
