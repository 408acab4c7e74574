"""What legs and the whole body do: squat, walk, sit down, kick, jump, turn, fall. Each family returns its direction."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import Float

from timesformer.people.curves import PHASES, raised, through
from timesformer.people.draft import SIDES, Draft

Phases = Float[np.ndarray, " phases"]

_PHASE = np.linspace(0, 1, PHASES)


def stand(rng: np.random.Generator, draft: Draft, *, arms_are_free: bool) -> int:
    """Nothing."""
    return 0


def squat(rng: np.random.Generator, draft: Draft, *, arms_are_free: bool) -> int:
    """Knees bend, once or twice; free arms go forward or up with it."""
    dip = raised(rng, [0.0, 1, 1, 0] * int(rng.integers(1, 3)))
    draft.pelvis[:, 1] -= rng.uniform(0.15, 0.6) * dip
    draft.pelvis[:, 2] -= 0.15 * dip
    draft.trunk[:, 0] += rng.uniform(0.1, 0.7) * dip
    draft.feet[:, :, 0] += np.array(SIDES)[:, None] * rng.uniform(0, 0.12)
    if arms_are_free and rng.random() < 0.7:
        goal = [rng.uniform(-0.2, 0.3), rng.uniform(-0.2, 0.4), rng.uniform(0.2, 0.85)]
        _move_hands(draft, np.clip(dip * 2, 0, 1) if rng.random() < 0.5 else raised(rng, [1, 1, 1]), goal)
    return 0


def lunge(rng: np.random.Generator, draft: Draft, *, arms_are_free: bool) -> int:
    """A long step forward of the left (1) or the right (2) leg, and back."""
    side, far = int(rng.integers(2)), rng.uniform(0.3, 0.9)
    go = raised(rng, [0.3, 1, 1, 0.5])
    draft.feet[side, :, 2] += far * go
    draft.feet[side, :, 1] += 0.12 * np.sin(np.clip(go, 0, 1) * math.pi)
    draft.pelvis[:, 2] += 0.6 * far * go
    draft.pelvis[:, 1] -= rng.uniform(0.1, 0.35) * go
    draft.trunk[:, 0] += rng.uniform(-0.05, 0.25) * go
    return 1 + side


def jog(rng: np.random.Generator, draft: Draft, *, arms_are_free: bool) -> int:
    """Steps in place, feet high behind the body; free arms swing with bent elbows."""
    on, step = _steps(rng, draft, lift=rng.uniform(0.15, 0.45), forward=-rng.uniform(0, 0.3))
    if arms_are_free:
        _swing_arms(rng, draft, on, step, bend=rng.uniform(0.4, 0.9))
    return 0


def walk(rng: np.random.Generator, draft: Draft, *, arms_are_free: bool) -> int:
    """Steps toward the camera (1) or away from it (2); free arms swing."""
    way = rng.uniform(-0.5, 0.8)
    on, step = _steps(rng, draft, lift=rng.uniform(0.05, 0.2), forward=rng.uniform(0.05, 0.3))
    draft.pelvis[:, 2] += way * _PHASE
    draft.feet[:, :, 2] += way * _PHASE
    if rng.random() < 0.4:
        draft.whole[:, 0] += rng.uniform(-0.6, 0.6) + (math.pi if way < 0 else 0.0)
    if arms_are_free:
        _swing_arms(rng, draft, on, step, bend=rng.uniform(0.0, 0.5))
    return 1 + int(way < 0)


def sidestep(rng: np.random.Generator, draft: Draft, *, arms_are_free: bool) -> int:
    """One or two steps to the left (1) or to the right (2)."""
    side, far, half = int(rng.integers(2)), rng.uniform(0.15, 0.45), rng.uniform(0.3, 0.7)
    start = rng.uniform(0.05, 0.3)
    for foot, delay in ((side, 0.0), (1 - side, 0.1)):
        share = through([0, start + delay, start + half + delay - 0.1, 1.5], [0, 0, 1, 1], smooth=7)[:, 0]
        draft.feet[foot, :, 0] += SIDES[side] * far * share
        draft.feet[foot, :, 1] += 0.1 * np.sin(share * math.pi)
    draft.pelvis[:, 0] = draft.feet[:, :, 0].mean(axis=0)
    return 1 + side


def sit_down(rng: np.random.Generator, draft: Draft, *, arms_are_free: bool) -> int:
    """From standing to sitting."""
    _sit(rng, draft, arms_are_free=arms_are_free, stands_up=False)
    return 0


def stand_up(rng: np.random.Generator, draft: Draft, *, arms_are_free: bool) -> int:
    """From sitting to standing."""
    _sit(rng, draft, arms_are_free=arms_are_free, stands_up=True)
    return 0


def kick(rng: np.random.Generator, draft: Draft, *, arms_are_free: bool) -> int:
    """The left (1) or the right (2) foot goes back and forward, once or twice."""
    side = int(rng.integers(2))
    go = raised(rng, [-0.3, 1.0, 0.3] * int(rng.integers(1, 3)))
    draft.feet[side] += np.stack(
        [rng.normal(0, 0.1) * go, rng.uniform(0.1, 0.6) * abs(go), rng.uniform(0.3, 0.8) * go], 1
    )
    draft.trunk[:, 0] -= 0.15 * go
    return 1 + side


def pick_up(rng: np.random.Generator, draft: Draft, *, arms_are_free: bool) -> int:
    """The trunk leans forward and one free hand, or both, go to the ground."""
    dip = raised(rng, [0.4, 1, 1, 0.2])
    draft.trunk[:, 0] += rng.uniform(0.7, 1.4) * dip
    draft.pelvis[:, 1] -= rng.uniform(0.05, 0.5) * dip
    draft.pelvis[:, 2] -= 0.15 * dip
    if arms_are_free:
        sides = (0, 1) if rng.random() < 0.4 else (int(rng.random() < 0.65),)
        _move_hands(draft, dip, [-0.1, rng.uniform(-0.6, -0.2), rng.uniform(0.7, 0.9)], sides=sides)
    return 0


def bend(rng: np.random.Generator, draft: Draft, *, arms_are_free: bool) -> int:
    """The trunk bends to the left (1), to the right (2) or forward (0), or twists, once or twice."""
    kind, count = int(rng.integers(4)), int(rng.integers(1, 3))
    go = rng.uniform(0.3, 0.8) * raised(rng, [0.3, 1, 1, 0.2] * count)
    if kind == 0:
        draft.trunk[:, 0] += 1.3 * go
        return 0
    if kind == 3:
        draft.trunk[:, 2] += rng.choice([-1, 1]) * go
        return 0
    draft.trunk[:, 1] += go if kind == 1 else -go
    return kind


def jump(rng: np.random.Generator, draft: Draft, *, arms_are_free: bool) -> int:
    """One to three jumps: in place (0), or with legs and free arms that spread, as in jumping jacks (1)."""
    count, high, dip = int(rng.integers(1, 4)), rng.uniform(0.08, 0.35), rng.uniform(0.05, 0.25)
    is_jack = rng.random() < 0.4
    course = raised(rng, [0.0, -1, 1, -0.6] * count, abrupt=0.4)
    up, down = np.clip(course, 0, None), np.clip(-course, 0, None)
    draft.pelvis[:, 1] += high * up - dip * down
    draft.feet[:, :, 1] += high * up
    draft.trunk[:, 0] += 0.4 * dip * down
    if is_jack:
        draft.feet[:, :, 0] += np.array(SIDES)[:, None] * rng.uniform(0.15, 0.4) * up
    if arms_are_free:
        goal = [rng.uniform(0.3, 0.8), rng.uniform(0.3, 0.8), 0.1] if is_jack else [0.1, rng.uniform(-0.5, 0.8), 0.5]
        _move_hands(draft, up, goal)
    return int(is_jack)


def turn(rng: np.random.Generator, draft: Draft, *, arms_are_free: bool) -> int:
    """The body turns about itself to the left (1) or to the right (2), up to a whole turn, with steps."""
    way = 1 if rng.random() < 0.5 else -1
    start, length = rng.uniform(0.0, 0.3), rng.uniform(0.3, 0.7)
    share = through([0, start, start + length, 1.5], [0, 0, 1, 1], smooth=9)[:, 0]
    draft.whole[:, 0] += way * rng.uniform(0.4, 2.1) * math.pi / rng.choice([1, 1.5, 2]) * share
    if rng.random() < 0.3:
        draft.whole[:, 0] += rng.uniform(-math.pi, math.pi)
    step = np.sin(2 * math.pi * rng.uniform(1.5, 4) * share)
    for side, sign in enumerate(SIDES):
        draft.feet[side, :, 1] += 0.1 * np.clip(step * sign, 0, None)
    return 1 + int(way > 0)


def fall(rng: np.random.Generator, draft: Draft, *, arms_are_free: bool) -> int:
    """The body falls forward or back (0), to the left (1) or to the right (2), or gets up from there."""
    kind, start, length = int(rng.integers(3)), rng.uniform(0.1, 0.4), rng.uniform(0.12, 0.35)
    times, levels = [0, start, start + length, 1.5], [0, 0, 1, 1]
    share = through(times, levels, smooth=5)[:, 0] ** 1.5
    if rng.random() < 0.25:
        share = share[::-1]  # from the ground to standing
    angle = rng.uniform(0.9, 1.5) * share
    if kind:
        draft.whole[:, 2] += angle if kind == 2 else -angle
    else:
        draft.whole[:, 1] += angle * rng.choice([-0.9, 0.6])  # forward is toward the camera
    draft.pelvis[:, 1] -= rng.uniform(0.0, 0.4) * np.sin(share * math.pi)
    if arms_are_free:
        _move_hands(
            draft, np.clip(2 * share, 0, 1), [rng.uniform(0, 0.5), rng.uniform(-0.3, 0.5), rng.uniform(0.2, 0.7)]
        )
    return kind


def _steps(rng: np.random.Generator, draft: Draft, *, lift: float, forward: float) -> tuple[Phases, Phases]:
    """Feet go up in turn; returns how much the steps are on, and their phase as a sine."""
    step = np.sin(2 * math.pi * (rng.uniform(2, 6) * _PHASE + rng.random()))
    on = raised(rng, [1, 1, 1, 1], abrupt=0.6)
    for side, sign in enumerate(SIDES):
        up = np.clip(step * sign, 0, None) * on
        draft.feet[side, :, 1] += lift * up
        draft.feet[side, :, 2] += forward * up
    draft.pelvis[:, 1] += 0.03 * np.abs(step) * on
    draft.pelvis[:, 0] += 0.02 * step * on
    return on, step


def _swing_arms(rng: np.random.Generator, draft: Draft, on: Phases, step: Phases, *, bend: float) -> None:
    size = rng.uniform(0.1, 0.4)
    _move_hands(draft, on, [0.1, -0.95 + 0.45 * bend, 0.05 + 0.5 * bend])
    for side, sign in enumerate(SIDES):
        forward = -step * sign * on * size
        draft.wrists[side, :, 2] += forward
        draft.wrists[side, :, 1] += 0.4 * np.clip(forward, 0, None)


def _sit(rng: np.random.Generator, draft: Draft, *, arms_are_free: bool, stands_up: bool) -> None:
    start = rng.uniform(0.1, 0.35)
    stop = start + rng.uniform(0.2, 0.5)
    down = through([0, start, stop, 1], [0, 0, 1, 1], smooth=7)[:, 0]
    tilt = through([0, start, (start + stop) / 2, stop, 1], [0, 0, 1, 0, 0], smooth=7)[:, 0]
    if stands_up:
        down, tilt = down[::-1], tilt[::-1]
    draft.pelvis[:, 1] -= rng.uniform(0.38, 0.55) * down
    draft.pelvis[:, 2] -= rng.uniform(0.3, 0.5) * down
    draft.trunk[:, 0] += rng.uniform(0.2, 0.9) * tilt + rng.uniform(0, 0.2) * down
    if arms_are_free:
        _move_hands(draft, down, [rng.uniform(-0.1, 0.15), rng.uniform(-0.8, -0.6), rng.uniform(0.3, 0.6)])


def _move_hands(draft: Draft, share: Phases, goal: list[float], *, sides: tuple[int, ...] = (0, 1)) -> None:
    """Move hands by a share of the way to a goal, whose x is outward."""
    for side in sides:
        draft.wrists[side] += share[:, None] * (np.array(goal) * [SIDES[side], 1, 1] - draft.wrists[side])


Family = Callable[..., int]
FAMILIES: Mapping[str, tuple[Family, float]] = MappingProxyType(
    {
        "stand": (stand, 0.48),
        "squat": (squat, 0.06),
        "lunge": (lunge, 0.05),
        "jog": (jog, 0.05),
        "walk": (walk, 0.05),
        "sidestep": (sidestep, 0.02),
        "sit_down": (sit_down, 0.04),
        "stand_up": (stand_up, 0.04),
        "kick": (kick, 0.04),
        "pick_up": (pick_up, 0.04),
        "bend": (bend, 0.03),
        "jump": (jump, 0.04),
        "turn": (turn, 0.03),
        "fall": (fall, 0.03),
    }
)
"""Families of legs, by name: the function, and how often it is drawn."""
LEGS = tuple(FAMILIES)
