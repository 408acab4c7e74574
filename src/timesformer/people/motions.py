"""Random motions of a whole body, and the moments at which they are seen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from timesformer.people.arms import ARMS, SHARES, draw_arms
from timesformer.people.curves import PHASES, through
from timesformer.people.draft import Draft, standing
from timesformer.people.legs import FAMILIES, LEGS

DIRECTIONS = 3
"""Directions within a family, from 0."""
_MOVING_ARMS = 0.4
"""Share of motions with moving legs in which the arms do something of their own, too."""


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """What a body does, free of its size, and the names of it."""

    draft: Draft
    arms: int
    """Index in `ARMS`."""
    legs: int
    """Index in `LEGS`."""
    arms_direction: int
    legs_direction: int

    @property
    def name(self) -> str:
        """The families, such as `circle` or `still, walk`."""
        legs = LEGS[self.legs]
        return (
            ARMS[self.arms] if legs == "stand" else legs if ARMS[self.arms] == "still" else f"{ARMS[self.arms]}, {legs}"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """Motions at the moments of clips; fields as in `Draft`, with sides behind moments."""

    wrists: Float[np.ndarray, "n t 2 3"]
    swivel: Float[np.ndarray, "n t 2"]
    trunk: Float[np.ndarray, "n t 3"]
    pelvis: Float[np.ndarray, "n t 3"]
    feet: Float[np.ndarray, "n t 2 3"]
    whole: Float[np.ndarray, "n t 3"]


def draw_motion(rng: np.random.Generator) -> Motion:
    """A random motion of arms and legs."""
    draft = standing(rng)
    legs = int(rng.choice(len(LEGS), p=[share for _, share in FAMILIES.values()]))
    shares = np.array([*SHARES.values()])
    shares /= shares.sum()
    if LEGS[legs] != "stand":
        shares *= _MOVING_ARMS
        shares[0] += 1 - shares.sum()
    arms = int(rng.choice(len(ARMS), p=shares))
    arms_direction = draw_arms(rng, draft, family=ARMS[arms])
    family, _ = FAMILIES[LEGS[legs]]
    legs_direction = family(rng, draft, arms_are_free=ARMS[arms] == "still")
    _follow_hands(rng, draft)
    _sway(rng, draft)
    return Motion(draft, arms, legs, arms_direction, legs_direction)


def _follow_hands(rng: np.random.Generator, draft: Draft) -> None:
    """Let the trunk follow the hands a little."""
    moved = (draft.wrists - draft.rests[:, None]).sum(axis=0) * rng.normal(0, 0.09, 3)
    draft.trunk[:, 0] += moved[:, 2]
    draft.trunk[:, 1] += moved[:, 1]
    draft.trunk[:, 2] += 2 * moved[:, 0]


def _sway(rng: np.random.Generator, draft: Draft) -> None:
    """Nobody stands still."""
    sizes = np.repeat([0.02, 0.05, 0.03, 0.008], [6, 2, 3, 3])
    curves = through(np.linspace(0, 1, 6), rng.normal(0, 1, (6, len(sizes))), smooth=9) * sizes
    draft.wrists[:] += curves[:, :6].reshape(PHASES, 2, 3).swapaxes(0, 1)
    draft.swivel[:] += curves[:, 6:8].T
    draft.trunk[:] += curves[:, 8:11]
    draft.pelvis[:] += curves[:, 11:14]


def draw_times(rng: np.random.Generator, *, clips: int, moments: int) -> Float[np.ndarray, "clips moments"]:
    """Phases at which motions are seen: a random stretch, at a speed that changes, at uneven distances."""
    first = np.clip(rng.normal(0, 0.08, (clips, 1)), -0.25, 0.15)
    last = np.clip(rng.normal(1, 0.1, (clips, 1)), 0.85, 1.35)
    even = (np.arange(moments) + rng.uniform(0.1, 0.9, (clips, moments))) / moments
    slow = rng.normal(0, 0.12, (clips, 1)) * np.sin(math.pi * even)
    return np.clip(first + (last - first) * (even + slow), 0, 1)


def at_times(motions: Sequence[Motion], times: Float[np.ndarray, "clips moments"]) -> Course:
    """Motions at phases from 0 to 1, interpolated."""

    def read(name: str) -> np.ndarray:
        curves = np.stack([getattr(motion.draft, name) for motion in motions])
        has_sides = name in ("wrists", "swivel", "feet")
        return _interpolate(curves.swapaxes(1, 2) if has_sides else curves, times)

    return Course(**{name: read(name) for name in Course.__slots__})


def _interpolate(curves: np.ndarray, times: Float[np.ndarray, "clips moments"]) -> np.ndarray:
    place = times * (PHASES - 1)
    low = np.minimum(place.astype(int), PHASES - 2)
    share = (place - low).reshape(*low.shape, *[1] * (curves.ndim - 2))
    index = np.arange(len(curves))[:, None]
    return (curves[index, low] * (1 - share) + curves[index, low + 1] * share).astype(np.float32)
