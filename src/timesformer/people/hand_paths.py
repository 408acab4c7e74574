"""Paths of one hand, by family. All numbers are random; none comes from a recording.

Points are relative to the shoulder, in arm lengths, in the frame of the trunk: x to the right of the picture, y up, z
forward. `side` is -1 for the arm on the left of the picture and 1 for the arm on the right.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from timesformer.people.curves import Path

Point = Float[np.ndarray, "3"]


@dataclass(frozen=True, slots=True, eq=False)
class HandPath:
    """A path, and what distinguishes it within its family."""

    points: Path
    direction: int = 0
    """0, or 1 or 2 for the two directions of a family."""
    twist: Float[np.ndarray, " points"] | None = None
    """Twist of the trunk at each point, in radians."""


def _in_front(rng: np.random.Generator, side: float) -> Point:
    """A point in front of the body that the hand can reach."""
    return np.array([side * rng.uniform(-0.6, 0.5), rng.uniform(-0.35, 0.6), rng.uniform(0.45, 0.8)])


def _center(rng: np.random.Generator, side: float) -> Point:
    """Center of a figure that is drawn into the air."""
    return np.array([-0.15 * side + rng.normal(0, 0.15), rng.uniform(-0.1, 0.35), rng.uniform(0.45, 0.75)])


def reach(rng: np.random.Generator, side: float) -> HandPath:
    """To one to four points in front of the body."""
    return HandPath(np.stack([_in_front(rng, side) for _ in range(rng.integers(1, 5))]))


def stroke(rng: np.random.Generator, side: float) -> HandPath:
    """A straight line, most often across: swipe, wipe, saw."""
    angle = rng.choice([0, 0, 1, 1, 0.5, 1.5, 0.25, 0.75, 1.25, 1.75]) * math.pi + rng.normal(0, 0.12)
    half = np.array([math.cos(angle), math.sin(angle), rng.normal(0, 0.2)]) * rng.uniform(0.3, 0.75)
    center = np.array([-0.15 * side, rng.uniform(-0.2, 0.35), rng.uniform(0.45, 0.75)])
    there = [center - half, center, center + half]
    count = 1 if rng.random() < 0.7 else int(rng.integers(2, 4))  # once, or to and fro
    line = [*there, *(point for _ in range(count - 1) for point in (*there[::-1], *there))]
    return HandPath(np.stack(line), direction=1 + int(math.cos(angle) > 0))


def circle(rng: np.random.Generator, side: float) -> HandPath:
    """One to three turns about an axis that points forward, clockwise or not."""
    sense, turns = rng.choice([-1, 1]), rng.choice([1, 1, 1, 1.5, 2, 3])
    phase = math.pi / 2 + rng.normal(0, 0.5) if rng.random() < 0.7 else rng.uniform(0, 2 * math.pi)
    angle = phase + sense * np.linspace(0, turns * 2 * math.pi, int(16 * turns) + 1)
    wide, high = rng.uniform(0.2, 0.5, 2) if rng.random() < 0.3 else [rng.uniform(0.2, 0.5)] * 2
    figure = np.stack([wide * np.cos(angle), high * np.sin(angle), 0.1 * np.sin(angle)], axis=1)
    return HandPath(_center(rng, side) + figure, direction=1 + int(sense > 0))


_FIGURES = (
    ((0, 1), (1, -0.7), (-1, -0.7), (0, 1)),
    ((-1, 1), (1, -1), (1, 1), (-1, -1)),
    ((-1, 1), (1, 1), (1, -1), (-1, -1), (-1, 1)),
    ((-1, 1), (1, 1), (-1, -1), (1, -1)),
)
"""Triangle, cross, square and zigzag."""


def figure(rng: np.random.Generator, side: float) -> HandPath:
    """A polygon drawn into the air, or a random polyline; mirrored half of the time."""
    kind = int(rng.integers(len(_FIGURES) + 1))
    points = np.array(_FIGURES[kind], dtype=np.float64) if kind < len(_FIGURES) else rng.uniform(-1, 1, (5, 2))
    is_mirrored = rng.random() < 0.5
    plane = points * rng.uniform(0.25, 0.5) * [-1 if is_mirrored else 1, 1]
    drawn = np.concatenate([plane, rng.normal(0, 0.05, (len(points), 1))], axis=1)
    return HandPath(_center(rng, side) + np.repeat(drawn, 2, axis=0), direction=1 + int(is_mirrored))


def wave(rng: np.random.Generator, side: float) -> HandPath:
    """To and fro several times about a point, most often sideways."""
    center = np.array([side * rng.uniform(-0.3, 0.5), rng.uniform(-0.1, 0.8), rng.uniform(0.2, 0.7)])
    axis = np.array([1, *rng.normal(0, 0.2, 2)]) if rng.random() < 0.7 else rng.normal(0, 0.6, 3)
    swings = np.sin(np.linspace(0, rng.uniform(1.5, 5) * 2 * math.pi, 48))
    return HandPath(center + swings[:, None] * axis * rng.uniform(0.12, 0.4))


def swing(rng: np.random.Generator, side: float) -> HandPath:
    """Back, then over or under the shoulder to the front, with the trunk: throw, bowl, serve, hit."""
    is_over = rng.random() < 0.6
    heights = ((0.1, 0.9), (0.4, 0.95), (-0.5, 0.4)) if is_over else ((-0.9, -0.2), (-0.9, -0.4), (-0.2, 0.6))
    back = [side * rng.uniform(0.2, 0.7), rng.uniform(*heights[0]), rng.uniform(-0.5, 0.05)]
    middle = [side * rng.uniform(-0.1, 0.4), rng.uniform(*heights[1]), rng.uniform(0.3, 0.7)]
    front = [-side * rng.uniform(0.0, 0.7), rng.uniform(*heights[2]), rng.uniform(0.4, 0.8)]
    before, after = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    turn = rng.uniform(0.1, 0.8) * side
    points = np.array([back] * before + [middle] + [front] * after)
    return HandPath(points, direction=1 + int(is_over), twist=turn * np.array([-1.0] * before + [0.0] + [1.0] * after))


def punch(rng: np.random.Generator, side: float) -> HandPath:
    """Forward and back, one to four times: punch, push a button, knock."""
    near = np.array([side * rng.uniform(0, 0.2), rng.uniform(-0.3, 0.3), rng.uniform(0.15, 0.45)])
    way = np.array([rng.normal(-0.15 * side, 0.1), rng.normal(0.05, 0.1), rng.uniform(0.25, 0.6)])
    way *= 0.4 if rng.random() < 0.4 else 1.0
    return HandPath(np.stack([near, near + way] * int(rng.integers(1, 5)) + [near]))


def curl(rng: np.random.Generator, side: float) -> HandPath:
    """The forearm goes up and down by the elbow, one to three times."""
    low, middle = np.array([0.1 * side, -0.95, 0.15]), np.array([0.1 * side, -0.6, 0.6])
    high = np.array([rng.uniform(-0.15, 0.15) * side, rng.uniform(-0.2, 0.1), 0.3])
    return HandPath(np.stack([low, middle, high, middle] * int(rng.integers(1, 4)) + [low]))


def to_head(rng: np.random.Generator, side: float) -> HandPath:
    """To the head, where the hand stays or moves a little: a phone at the ear (1); drink, eat or cough (2)."""
    is_mouth = rng.random() < 0.5
    goal = np.array([-0.2, 0.12, 0.34] if is_mouth else [0.0, 0.22, 0.16]) * [side, 1, 1] + rng.normal(0, 0.06, 3)
    count = int(rng.integers(2, 9))
    small = rng.normal(0, rng.choice([0.01, 0.05]), (count, 3))
    points = goal + small
    if rng.random() < 0.35:  # lowered and raised again
        points[count // 2] += [0, -rng.uniform(0.2, 0.5), rng.uniform(0.0, 0.2)]
    return HandPath(points, direction=1 + int(is_mouth))


def open_door(rng: np.random.Generator, side: float) -> HandPath:
    """To a handle at the height of the waist, then a long push forward (1) or pull back (2), with the trunk."""
    is_pull = rng.random() < 0.5
    near = np.array([side * rng.uniform(-0.1, 0.3), rng.uniform(-0.6, -0.1), rng.uniform(0.2, 0.4)])
    far = near + np.array([side * rng.normal(0, 0.15), rng.normal(0.05, 0.05), rng.uniform(0.4, 0.6)])
    way = [far, far, near, near] if is_pull else [near, near, far, far]
    turn = side * rng.uniform(0.0, 0.4) * np.array([0, 0, 1, 1])
    return HandPath(np.stack(way), direction=1 + int(is_pull), twist=-turn if is_pull else turn)


def wander(rng: np.random.Generator, side: float) -> HandPath:
    """Through three to eight random points."""
    points = rng.normal(0, 1, (rng.integers(3, 9), 3)) * [0.45, 0.45, 0.3] + [0.0, 0.1, 0.4]
    return HandPath(np.clip(points, -0.95, 0.95))


ONE_HAND: Mapping[str, Callable[[np.random.Generator, float], HandPath]] = MappingProxyType(
    {
        "reach": reach,
        "stroke": stroke,
        "circle": circle,
        "figure": figure,
        "wave": wave,
        "swing": swing,
        "punch": punch,
        "curl": curl,
        "to_head": to_head,
        "open_door": open_door,
        "wander": wander,
    }
)
"""Families of one hand, by name."""
