"""What arms do: one hand along a path, or both hands together."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from timesformer.people.curves import between_rests, raised, through
from timesformer.people.draft import SIDES, Draft
from timesformer.people.hand_paths import ONE_HAND, reach

_MIRROR = np.array([-1.0, 1.0, 1.0])
_MIDDLE = 0.3
"""Distance from a shoulder to the middle of the body, in arm lengths."""

_ALTERNATING = ("punch", "curl", "wave")
"""Families that the hands also do in turn."""


def one_hand(rng: np.random.Generator, draft: Draft, family: str) -> int:
    """One hand follows a path; the other hangs, mirrors it, follows in turn or reaches for something else.

    Returns:
        The direction of the path.
    """
    side = int(rng.random() < 0.65)
    path = ONE_HAND[family](rng, SIDES[side])
    draft.wrists[side] = between_rests(rng, path.points, draft.rests[side])
    if path.twist is not None:
        draft.trunk[:, 2] = between_rests(rng, path.twist, [0.0])[:, 0]
    other, chance = draft.wrists[1 - side], rng.random()
    if chance < 0.12:
        other[:] = draft.wrists[side] * _MIRROR
    elif chance < 0.2 and family in _ALTERNATING:
        other[:] = np.roll(draft.wrists[side] * _MIRROR, len(other) // 8, axis=0)
    elif chance < 0.28:
        other[:] = between_rests(rng, reach(rng, SIDES[1 - side]).points, draft.rests[1 - side])
    levels = [rng.uniform(0.1, 0.6), rng.uniform(0.2, 1.3), rng.uniform(0.1, 0.6)]
    draft.swivel[side] = through([0, 0.5, 1], levels, smooth=15)[:, 0]
    return path.direction


def _both(rng: np.random.Generator, draft: Draft, path: list[list[float]]) -> None:
    """Both hands follow a path, mirrored and at the same time; x is outward."""
    points, seed = np.array(path), rng.integers(2**63)
    for side, sign in enumerate(SIDES):
        same = np.random.default_rng(seed)
        draft.wrists[side] = between_rests(same, points * [sign, 1, 1], draft.rests[side])


def clap(rng: np.random.Generator, draft: Draft) -> int:
    """The hands meet in front of the body, one to four times."""
    height, forward = rng.uniform(-0.35, 0.5), rng.uniform(0.35, 0.7)
    apart = [rng.uniform(0.15, 0.6), height + rng.normal(0, 0.1), forward + rng.normal(0, 0.1)]
    _both(rng, draft, [apart, [-_MIDDLE, height, forward]] * int(rng.integers(1, 5)))
    return 0


def cross(rng: np.random.Generator, draft: Draft) -> int:
    """The arms cross in front of the body, one hand above the other, once or twice."""
    height, forward = rng.uniform(-0.35, 0.3), rng.uniform(0.35, 0.7)
    beyond = 2 * _MIDDLE * rng.uniform(0.7, 1.1)
    path = [[0.2, height, forward * 0.8], [-beyond, height, forward * 0.7], [-1.6 * _MIDDLE, height, forward * 0.7]]
    _both(rng, draft, path * int(rng.integers(1, 3)))
    upper = draft.wrists[int(rng.integers(2))]
    upper[:, 1:] += np.clip(0.95 + upper[:, 1:2], 0, 0.1)
    return 0


def push(rng: np.random.Generator, draft: Draft) -> int:
    """Both hands go forward (1) or up (2), once or twice."""
    is_up = rng.random() < 0.4
    height = rng.uniform(-0.35, 0.3)
    lift = rng.uniform(0.4, 0.9) if is_up else rng.normal(0, 0.2)
    near = [rng.uniform(-0.1, 0.2), height, 0.25]
    far = [rng.uniform(-0.2, 0.1), height + lift, rng.uniform(0.2, 0.6) if is_up else rng.uniform(0.6, 0.9)]
    _both(rng, draft, [near, far] * int(rng.integers(1, 3)))
    return 1 + int(is_up)


def carry(rng: np.random.Generator, draft: Draft) -> int:
    """Both hands hold something in front of the body, steadily or while they lower it."""
    height, forward, width = rng.uniform(-0.6, 0.0), rng.uniform(0.35, 0.6), rng.uniform(-0.25, 0.1)
    fall = rng.uniform(-0.3, 0.0) if rng.random() < 0.4 else 0.0
    _both(rng, draft, [[width, height, forward], [width, height, forward], [width, height + fall, forward]])
    return 0


def bat(rng: np.random.Generator, draft: Draft) -> int:
    """Both hands together, from one side to the other, with the trunk: to the left (1) or to the right (2)."""
    way = 1 if rng.random() < 0.5 else -1
    start, end = rng.uniform(-0.4, 0.6), rng.uniform(-0.3, 0.6)
    path = np.array(
        [
            [-way * rng.uniform(0.4, 0.8), start, 0.3],
            [-way * 0.5, start, 0.4],
            [0, min(start, end) - 0.2, 0.75],
            [way * rng.uniform(0.4, 0.8), end, 0.4],
        ]
    )
    seed = rng.integers(2**63)
    for side, sign in enumerate(SIDES):
        at_grip = path + np.array([-sign * _MIDDLE, 0.04 * sign, 0])
        draft.wrists[side] = between_rests(np.random.default_rng(seed), at_grip, draft.rests[side])
    turn = way * rng.uniform(0.2, 0.9)
    draft.trunk[:, 2] += raised(rng, [-turn, -turn, 0, turn])
    return 1 + int(way > 0)


BOTH_HANDS: Mapping[str, Callable[[np.random.Generator, Draft], int]] = MappingProxyType(
    {"clap": clap, "cross": cross, "push": push, "carry": carry, "bat": bat}
)
"""Families of both hands, by name; each returns its direction."""

SHARES: Mapping[str, float] = MappingProxyType(
    {
        "still": 0.02,
        "reach": 0.09,
        "stroke": 0.13,
        "circle": 0.14,
        "figure": 0.12,
        "wave": 0.08,
        "swing": 0.11,
        "punch": 0.06,
        "curl": 0.04,
        "to_head": 0.05,
        "open_door": 0.03,
        "wander": 0.04,
        "clap": 0.05,
        "cross": 0.04,
        "push": 0.04,
        "carry": 0.03,
        "bat": 0.04,
    }
)
"""How often each family of arms is drawn while the legs stand, not normalized; less often while they move."""
ARMS = tuple(SHARES)


def draw_arms(rng: np.random.Generator, draft: Draft, *, family: str) -> int:
    """Let the arms do something of a family; returns its direction, from 0 to 2."""
    if family == "still":
        return 0
    return one_hand(rng, draft, family) if family in ONE_HAND else BOTH_HANDS[family](rng, draft)
