from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.people.arms import ARMS, BOTH_HANDS, draw_arms
from timesformer.people.curves import PHASES, between_rests, raised, through
from timesformer.people.draft import standing
from timesformer.people.hand_paths import ONE_HAND
from timesformer.people.legs import FAMILIES, LEGS
from timesformer.people.motions import DIRECTIONS, at_times, draw_motion, draw_times

seeds = st.integers(0, 2**32)


@given(seeds, st.integers(1, 30))
def test_a_curve_stays_within_its_values_and_begins_and_ends_with_them(seed: int, smooth: int):
    values = np.random.default_rng(seed).normal(0, 1, (5, 3))
    curve = through(np.linspace(0, 1, 5), values, smooth=smooth)
    assert curve.shape == (PHASES, 3)
    assert (curve >= values.min(0) - 1e-9).all() and (curve <= values.max(0) + 1e-9).all()
    if smooth == 1:
        np.testing.assert_allclose(curve[[0, -1]], values[[0, -1]])


@given(seeds)
def test_a_path_between_rests_visits_its_points(seed: int):
    curve = raised(np.random.default_rng(seed), [1.0, 1.0, 1.0])
    assert curve[PHASES // 2] == pytest.approx(1)
    assert (curve >= -1e-9).all() and (curve <= 1 + 1e-9).all()


def test_an_unhurried_path_begins_and_ends_at_rest():
    rest = [0.1, -0.9, 0.2]
    curve = between_rests(np.random.default_rng(0), [[0.5, 0.5, 0.5]] * 3, rest, abrupt=0)
    np.testing.assert_allclose(curve[[0, -1]], [rest, rest], atol=0.2)  # the curve is smoothed


@given(seeds)
def test_equal_seeds_give_equal_motions_that_are_finite_and_within_reach(seed: int):
    first, second = (draw_motion(np.random.default_rng(seed)) for _ in range(2))
    for name in first.draft.__slots__:
        values = getattr(first.draft, name)
        assert np.isfinite(values).all() and np.abs(values).max() < 10
        np.testing.assert_array_equal(values, getattr(second.draft, name))
    assert first.name == second.name
    assert 0 <= first.arms < len(ARMS) and 0 <= first.legs < len(LEGS)
    assert 0 <= first.arms_direction < DIRECTIONS and 0 <= first.legs_direction < DIRECTIONS


def test_every_family_is_drawn_and_named(motions):
    arms, legs = Counter(ARMS[motion.arms] for motion in motions), Counter(LEGS[motion.legs] for motion in motions)
    assert set(arms) == set(ARMS) and set(legs) == set(LEGS)
    assert set(ARMS) == {"still", *ONE_HAND, *BOTH_HANDS}
    assert sum(share for _, share in FAMILIES.values()) == pytest.approx(1)
    named = next(motion for motion in motions if motion.legs and motion.arms)
    assert named.name == f"{ARMS[named.arms]}, {LEGS[named.legs]}"
    assert next(motion.name for motion in motions if motion.legs and not motion.arms) in LEGS
    assert next(motion.name for motion in motions if motion.arms and not motion.legs) in ARMS


@pytest.mark.parametrize("family", [name for name in ARMS if name != "still"])
def test_arms_move_the_hands(family: str):
    draft = standing(np.random.default_rng(1))
    direction = draw_arms(np.random.default_rng(2), draft, family=family)
    assert np.ptp(draft.wrists, axis=1).max() > 0.2
    assert 0 <= direction < DIRECTIONS


@pytest.mark.parametrize("family", [name for name in LEGS if name != "stand"])
@pytest.mark.parametrize("arms_are_free", [True, False])
def test_legs_move_the_body_and_leave_arms_alone_that_are_busy(family: str, arms_are_free: bool):
    draft = standing(np.random.default_rng(1))
    before = draft.wrists.copy()
    function, _ = FAMILIES[family]
    direction = function(np.random.default_rng(3), draft, arms_are_free=arms_are_free)
    moved = [np.ptp(part, axis=-2).max() for part in (draft.trunk, draft.pelvis, draft.feet, draft.whole)]
    assert max(moved) > 0.04
    assert arms_are_free or (draft.wrists == before).all()
    assert 0 <= direction < DIRECTIONS


@pytest.mark.parametrize("family", ["circle", "figure", "stroke", "swing", "to_head", "open_door"])
def test_both_directions_of_a_family_are_drawn(family: str):
    rng = np.random.default_rng(0)
    assert {ONE_HAND[family](rng, 1.0).direction for _ in range(40)} == {1, 2}


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_circle_turns_the_way_that_its_direction_says(sign: float):
    rng = np.random.default_rng(0)
    for path in (ONE_HAND["circle"](rng, sign) for _ in range(20)):
        x, y, _ = (path.points - path.points.mean(0)).T
        area = (x[:-1] * y[1:] - x[1:] * y[:-1]).sum()
        assert (area > 0) == (path.direction == 2)


@given(seeds, st.integers(1, 30))
def test_moments_are_phases_in_order(seed: int, moments: int):
    times = draw_times(np.random.default_rng(seed), clips=3, moments=moments)
    assert times.shape == (3, moments)
    assert (times >= 0).all() and (times <= 1).all()
    assert (np.diff(times, axis=1) >= -0.02).all()  # neighbors may change places where a motion is slow


def test_motions_are_interpolated_between_phases(motions):
    first, second = motions[:2]
    step = 1 / (PHASES - 1)
    course = at_times((first, second), np.array([[0.0, 1.0, 7.5 * step], [step, 2 * step, 1.0]]))
    np.testing.assert_allclose(course.pelvis[0, :2], first.draft.pelvis[[0, -1]], rtol=1e-6)
    np.testing.assert_allclose(course.trunk[0, 2], first.draft.trunk[7:9].mean(0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(course.wrists[1, 0], second.draft.wrists[:, 1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(course.swivel[1, 2], second.draft.swivel[:, -1], rtol=1e-6)
