"""Confidence intervals of an accuracy: published values, enumeration and groups."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.errors import ConfigError, DataError
from timesformer.evaluation.intervals import (
    accuracy_interval,
    describe_method,
    difference_interval,
    format_interval,
)
from timesformer.evaluation.metrics import grouped_interval, student_quantile, wilson_interval

TRIALS = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
CONFIDENCE = st.floats(0.01, 0.999)


def interval_of(right, groups=()):
    found = accuracy_interval(np.atleast_2d(right), groups=groups or [""] * np.shape(right)[-1])
    return found.low, found.high, found.method, found.num_groups


# --- Wilson's interval ---


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_has_the_published_values(right, total, low, high):
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
    assert wilson_interval(right / total, num_trials=total) == pytest.approx((low, high), abs=5e-5)


@given(TRIALS, CONFIDENCE)
def test_each_end_is_the_fraction_that_the_score_test_just_accepts(trials, confidence):
    right, total = trials
    for end in wilson_interval(right / total, num_trials=total, confidence=confidence):
        if 0 < end < 1:
            z = (right / total - end) / math.sqrt(end * (1 - end) / total)
            assert math.erf(abs(z) / math.sqrt(2)) == pytest.approx(confidence, abs=1e-6)


@given(TRIALS, CONFIDENCE)
def test_the_interval_contains_the_fraction_and_has_a_width(trials, confidence):
    right, total = trials
    low, high = wilson_interval(right / total, num_trials=total, confidence=confidence)
    assert 0 <= low <= right / total <= high <= 1
    assert low < high
    assert (low == 0, high == 1) == (right == 0, right == total)


@given(TRIALS)
def test_intervals_of_hits_and_misses_mirror_each_other(trials):
    right, total = trials
    low, high = wilson_interval(right / total, num_trials=total)
    assert wilson_interval((total - right) / total, num_trials=total) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(TRIALS, st.integers(2, 50))
def test_more_trials_of_the_same_fraction_give_an_interval_inside(trials, times):
    right, total = trials
    low, high = wilson_interval(right / total, num_trials=total)
    inner_low, inner_high = wilson_interval(right / total, num_trials=times * total)
    assert low - 1e-12 <= inner_low <= inner_high <= high + 1e-12
    assert inner_high - inner_low < high - low


@pytest.mark.parametrize("total", [4, 12, 40])
def test_intervals_hold_the_truth_as_often_as_they_say(total):
    intervals = [wilson_interval(right / total, num_trials=total) for right in range(total + 1)]
    truths = np.linspace(0.005, 0.995, 199)
    held = [
        sum(
            math.comb(total, right) * truth**right * (1 - truth) ** (total - right)
            for right, (low, high) in enumerate(intervals)
            if low <= truth <= high
        )
        for truth in truths
    ]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)
    assert min(held) > 0.83  # the least, near 0 and 1


@pytest.mark.parametrize(
    ("fraction", "options", "message"),
    [
        (1.5, {"num_trials": 3}, r"fraction=1\.5 must lie between 0 and 1"),
        (math.nan, {"num_trials": 3}, "fraction=nan must lie between 0 and 1"),
        (0.5, {"num_trials": 0}, "num_trials=0 must be above 0"),
        (0.5, {"num_trials": math.inf}, "num_trials=inf must be above 0"),
        (0.5, {"num_trials": 3, "confidence": 1.0}, r"confidence=1\.0 must lie between 0 and 1"),
    ],
)
def test_values_out_of_range_are_refused(fraction, options, message):
    with pytest.raises(ConfigError, match=message):
        wilson_interval(fraction, **options)


# --- Videos without groups ---


@pytest.mark.parametrize(("right", "total"), [(200, 200), (0, 200), (1, 1), (0, 1), (3, 7), (160, 200)])
def test_videos_without_groups_have_wilsons_interval(right, total):
    low, high, method, num_groups = interval_of(np.arange(total) < right)
    assert (low, high) == wilson_interval(right / total, num_trials=total)
    assert (method, num_groups) == ("wilson", 0)


def test_no_videos_have_no_interval():
    with pytest.raises(DataError, match="no samples"):
        interval_of(np.zeros((1, 0), dtype=bool))


def test_several_models_that_agree_count_as_one():
    right = np.arange(40) % 5 > 0
    assert interval_of([right, right, right]) == pytest.approx(interval_of(right))


def test_models_that_err_on_different_videos_count_more_than_one_but_not_more_than_their_number():
    right = np.arange(40) % 5 > 0
    one, two = interval_of(right), interval_of([right, np.roll(right, 1)])
    assert two[1] - two[0] < one[1] - one[0]
    low, high = wilson_interval(0.8, num_trials=80)
    assert two[0] <= low + 1e-12 and high <= two[1] + 1e-12


def test_models_that_are_always_correct_have_the_interval_of_one():
    assert interval_of(np.ones((3, 9), dtype=bool)) == interval_of(np.ones((1, 9), dtype=bool))


# --- Groups ---

GROUPED = st.lists(
    st.tuples(st.booleans(), st.sampled_from(["", "anna", "ben", "cleo", "dora", "emil", "fay", "gus"])),
    min_size=1,
    max_size=40,
)


@given(GROUPED)
def test_groups_never_make_an_interval_narrower(videos):
    right, groups = np.array([[hit for hit, _ in videos]]), [group for _, group in videos]
    plain, grouped = interval_of(right), interval_of(right, groups)
    assert grouped[0] <= plain[0] < plain[1] <= grouped[1]
    named = {group for group in groups if group}
    assert grouped[3] == (len(named) + groups.count("") if named else 0)


@given(GROUPED, st.randoms(use_true_random=False))
def test_neither_order_nor_names_of_groups_matter(videos, random):
    other = [(hit, group and f"{group} 2") for hit, group in random.sample(videos, len(videos))]
    plain, changed = (
        interval_of(np.array([[hit for hit, _ in part]]), [group for _, group in part]) for part in (videos, other)
    )
    assert changed == pytest.approx(plain)


def test_the_interval_over_groups_has_the_width_of_a_t_interval():
    rng = np.random.default_rng(3)
    sizes = rng.integers(40, 60, size=11)
    groups = np.repeat(np.arange(11), sizes)
    right = rng.random(len(groups)) < rng.uniform(0.3, 0.9, size=11)[groups]
    tallies = np.stack([np.bincount(groups, weights=right), sizes], axis=1)
    fraction = right.mean()
    residuals = tallies[:, 0] - fraction * tallies[:, 1]
    error = math.sqrt(11 / 10 * (residuals**2).sum()) / len(groups)
    low, high = grouped_interval(tallies)
    assert high - low == pytest.approx(2 * 2.228 * error, rel=0.1)  # t with 10 degrees of freedom; Wilson's shrinks it
    assert interval_of(right, [f"person {group}" for group in groups]) == (low, high, "t_over_groups", 11)


def test_persons_who_are_all_right_or_all_wrong_count_as_one_video_each():
    groups = [f"person {number // 20}" for number in range(240)]
    right = np.arange(240) // 20 % 2 == 0
    low, high, method, _ = interval_of(right, groups)
    assert method == "t_over_groups"
    trials = 11 * (1.959964 / 2.200985) ** 2  # 12 persons whose variance is known with 11 degrees of freedom
    assert (low, high) == pytest.approx(wilson_interval(0.5, num_trials=trials), abs=1e-4)
    assert high - low > 3 * (interval_of(right)[1] - interval_of(right)[0])


@pytest.mark.parametrize(
    ("df", "quantile"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (10, 2.2281), (29, 2.0452), (120, 1.9799)],
)
def test_students_quantile_has_the_published_values(df, quantile):
    assert student_quantile(0.975, df=df) == pytest.approx(quantile, abs=5e-5)
    assert student_quantile(0.5, df=df) == pytest.approx(0, abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12), CONFIDENCE)
def test_the_interval_over_groups_contains_the_fraction_and_widens_with_confidence(pairs, confidence):
    tallies = np.array([[right, right + wrong] for right, wrong in pairs if right + wrong], dtype=float)
    if not len(tallies):
        with pytest.raises(DataError, match="no samples"):
            grouped_interval(tallies.reshape(0, 2))
        return
    low, high = grouped_interval(tallies, confidence=confidence)
    fraction = tallies[:, 0].sum() / tallies[:, 1].sum()
    assert 0 <= low <= fraction + 1e-12 and fraction - 1e-12 <= high <= 1
    wide = grouped_interval(tallies, confidence=(1 + confidence) / 2)
    assert wide[0] <= low + 1e-9 and high <= wide[1] + 1e-9


@pytest.mark.parametrize(("hit", "num_wrong"), [(True, 0), (True, 4), (False, 4)])
def test_each_group_counts_as_one_video_if_few_groups_have_a_mistake(hit, num_wrong):
    groups = [f"person {number // 10}" for number in range(120)]
    right = np.full(120, hit)
    right[10 * np.arange(num_wrong)] = not hit
    low, high, method, num_groups = interval_of(right, groups)
    expected = wilson_interval(float(right.mean()), num_trials=12)
    assert low <= expected[0] < expected[1] <= high
    assert (low, high) == pytest.approx(expected, abs=0.02)
    assert (method, num_groups) == ("wilson_over_groups", 12)


def test_one_group_gives_a_wide_interval():
    low, high, method, num_groups = interval_of(np.ones(200, dtype=bool), ["anna"] * 200)
    assert (method, num_groups) == ("wilson_over_groups", 1)
    assert (low, high) == (pytest.approx(0.2065, abs=1e-4), 1.0)


@pytest.mark.parametrize("num_groups", [3, 4, 6, 12, 24, 60])
@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.3])
def test_the_interval_contains_the_truth_as_often_as_it_says(num_groups, correlation):
    # random effects: the own accuracy of each group is beta-distributed around 0.8; groups differ in size
    rng, trials = np.random.default_rng(num_groups), 400
    scale = 1 / correlation - 1 if correlation else np.inf
    held = 0
    for _ in range(trials):
        sizes = rng.integers(10, 31, size=num_groups)
        own = rng.beta(0.8 * scale, 0.2 * scale, size=num_groups) if correlation else np.full(num_groups, 0.8)
        right = rng.random(sizes.sum()) < np.repeat(own, sizes)
        low, high, _, _ = interval_of(right, [str(group) for group in np.repeat(np.arange(num_groups), sizes)])
        held += low <= 0.8 <= high
    assert held / trials > 0.92  # 95 % within three standard errors of 400 trials


def test_videos_of_a_group_taken_as_independent_miss_the_truth():
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        low, high, _, _ = interval_of(rng.random(240) < np.repeat(rng.beta(3.2, 0.8, size=12), 20))
        held += low <= 0.8 <= high
    assert held < 140


# --- Differences of two models ---


@pytest.mark.parametrize(("better", "worse", "neither"), [(21, 3, 76), (0, 0, 20), (5, 0, 0)])
def test_a_difference_without_groups_is_the_adjusted_interval(better, worse, neither):
    # half a video is added to each of the two kinds of disagreement and of agreement (Agresti and Min 2005)
    before = np.repeat([False, True, True], [better, worse, neither])
    after = np.repeat([True, False, True], [better, worse, neither])
    count = better + worse + neither + 2
    difference, discordant = (better - worse) / count, (better + worse + 1) / count
    half = 1.959964 * math.sqrt((discordant - difference**2) / count)
    found = difference_interval(before, after, groups=[""] * len(before))
    assert found == pytest.approx((max(-1, difference - half), min(1, difference + half)), abs=1e-6)


@pytest.mark.parametrize("num_groups", [4, 12, 40])
def test_a_difference_contains_the_truth_as_often_as_it_says(num_groups):
    rng, trials, held = np.random.default_rng(num_groups), 400, 0
    names = [str(group) for group in np.repeat(np.arange(num_groups), 20)]
    for _ in range(trials):  # a group has its own probabilities of a mended and of a broken video
        mended = np.repeat(rng.uniform(0.0, 0.4, size=num_groups), 20)
        broken = np.repeat(rng.uniform(0.0, 0.2, size=num_groups), 20)
        before = rng.random(20 * num_groups) < 0.5
        changed = rng.random(20 * num_groups)
        after = np.where(before, changed >= 2 * broken, changed < 2 * mended)
        low, high = difference_interval(before, after, groups=names)
        held += low <= 0.1 <= high
    assert held / trials > 0.92


def test_a_difference_changes_its_sign_with_the_order_of_the_models():
    rng = np.random.default_rng(0)
    first, second = rng.random(60) < 0.6, rng.random(60) < 0.8
    groups = [f"person {number % 7}" for number in range(60)]
    low, high = difference_interval(first, second, groups=groups)
    assert difference_interval(second, first, groups=groups) == pytest.approx((-high, -low))
    plain = difference_interval(first, second, groups=[""] * 60)
    assert low <= plain[0] < plain[1] <= high
    with pytest.raises(DataError, match="no samples"):
        difference_interval(first[:0], second[:0], groups=[])


# --- As text ---


@pytest.mark.parametrize(
    ("method", "num_groups", "num_alone", "text"),
    [
        ("wilson", 0, 9, "Wilson"),
        ("t_over_groups", 12, 0, "Wilson with the variance between 12 groups"),
        (
            "t_over_groups",
            12,
            5,
            "Wilson with the variance between 12 groups, 5 of them videos without a group",
        ),
        ("wilson_over_groups", 12, 0, "Wilson over 12 groups, too alike to tell their variance"),
        ("wilson_over_groups", 4, 0, "Wilson over 4 groups, too few to tell their variance"),
        ("wilson_over_groups", 1, 0, "Wilson over 1 group, too few to tell their variance"),
    ],
)
def test_the_method_is_described(method, num_groups, num_alone, text):
    assert describe_method(method, num_groups=num_groups, num_alone=num_alone) == text


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        (wilson_interval(1.0, num_trials=200), "98.1% to 100.0%"),
        (wilson_interval(1.0, num_trials=20_000), "99.98% to 100.00%"),
        (wilson_interval(0.0, num_trials=20_000), "0.00% to 0.02%"),
        ((0.5, 0.5), "50.0% to 50.0%"),
    ],
)
def test_ends_that_differ_are_printed_apart(ends, text):
    assert format_interval(*ends) == text
