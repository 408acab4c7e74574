"""Confidence interval of an accuracy, chosen to fit a set of videos, as a pure function.

Videos without groups count as independent and get Wilson's interval. It always has a positive width, even if all videos
are correct, lies within 0 and 1, and for few videos contains the true accuracy about as often as it claims. (The exact
interval of Clopper and Pearson 1934 contains it at least as often and is wider than necessary; Brown, Cai and DasGupta
2001 compare them.)

Videos of one person or recording tend to be correct or wrong together, so a thousand videos of ten persons say less
than a thousand videos of a thousand persons. With groups, the interval is for other groups of the same kind: Wilson's,
with the variance between the groups and Student's t for their number (`grouped_interval`). Groups cannot tell of
groups unlike them: if fewer than 5 of them have a mistake, or fewer than 5 a correct prediction (of fewer than 5
groups: not all), it is widened to Wilson's with each group counted as one video. It is never narrower than the interval
without groups.

In simulations (`benchmarks/interval_coverage.py`: true accuracies of 0.5 to 0.95, correlations within a group of 0 to
0.5, groups of 8 or 40 videos, equal or of very different size) it contains the true accuracy in 95 to 98 % of the cases
with 6 to 50 groups, and in 99 % or more with 2 to 4; at worst in 86 % (0.95, and groups of very different size). An
interval that takes the videos as independent does in 69 to 73 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from timesformer.errors import DataError
from timesformer.evaluation.metrics import grouped_interval, student_quantile, wilson_interval

IntervalMethod = Literal["wilson", "t_over_groups", "wilson_over_groups"]

MIN_GROUPS = 5
"""Least number of groups with a mistake, and of groups with a correct prediction, for the variance between groups; of
fewer groups, all."""

NUM_RESAMPLES = 2000
_SEED = 0  # fixed, so that equal predictions have equal intervals


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """95 % confidence interval of an accuracy."""

    low: float
    """Lower end, 0 to 1."""
    high: float
    """Upper end, 0 to 1."""
    method: IntervalMethod
    """`wilson` over the videos, or a method over groups; see the module docstring."""
    num_groups: int
    """Number of groups; a video without a group counts as its own. 0 if no video has a group."""


def accuracy_interval(correct: Bool[np.ndarray, "models n"], *, groups: Sequence[str]) -> Interval:
    """95 % interval of the mean accuracy of one or several models on the same videos.

    The interval is over videos or groups of videos; the models are fixed.

    Args:
        correct: Correctness of each model on each video.
        groups: Group of each video; a video with an empty group counts as its own.

    Raises:
        DataError: There are no videos.
    """
    if correct.size == 0:
        raise DataError("no samples to evaluate")
    accuracies = correct.mean(axis=0)
    accuracy = float(accuracies.mean())
    num_trials = _num_trials(accuracies, num_models=len(correct))
    independent = wilson_interval(accuracy, num_trials=num_trials)
    if not any(groups):
        return Interval(low=independent[0], high=independent[1], method="wilson", num_groups=0)
    group_indices = _number_groups(groups)
    tallies = np.stack([np.bincount(group_indices, weights=accuracies), np.bincount(group_indices)], axis=1)
    intervals = [independent, grouped_interval(tallies, most_trials=num_trials)]
    is_varied = _are_varied(tallies[:, 0] / tallies[:, 1])
    if not is_varied:
        intervals.append(wilson_interval(accuracy, num_trials=len(tallies)))
    return Interval(
        low=min(low for low, _ in intervals),
        high=max(high for _, high in intervals),
        method="t_over_groups" if is_varied else "wilson_over_groups",
        num_groups=len(tallies),
    )


def difference_interval(
    before: Bool[np.ndarray, " n"], after: Bool[np.ndarray, " n"], *, groups: Sequence[str]
) -> tuple[float, float]:
    """95 % interval of how much more accurate the second of two models is, on the same videos.

    It uses the variance of the difference between groups, with Student's t for their number, and is never narrower
    than the interval without groups; videos without groups are groups of their own.

    Args:
        before: Correctness of the first model on each video.
        after: Correctness of the second.
        groups: Group of each video; a video with an empty group counts as its own.

    Raises:
        DataError: There are no videos.

    Source: Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions", for videos
    without groups.
    """
    if not len(before):
        raise DataError("no samples to evaluate")
    gains = after.astype(np.float64) - before
    count, mean = len(gains), float(gains.mean())
    z = NormalDist().inv_cdf(0.975)
    better, worse = int((gains > 0).sum()) + 0.5, int((gains < 0).sum()) + 0.5
    center, error = (better - worse) / (count + 2), math.sqrt(better + worse - (better - worse) ** 2 / (count + 2))
    low, high = center - z * error / (count + 2), center + z * error / (count + 2)
    numbers = _number_groups(groups)
    num_groups = int(numbers.max()) + 1
    if any(groups) and num_groups > 1:
        residuals = np.bincount(numbers, weights=gains) - mean * np.bincount(numbers)
        error = math.sqrt(num_groups / (num_groups - 1) * float((residuals**2).sum())) / count
        half = student_quantile(0.975, df=num_groups - 1) * error
        low, high = min(low, mean - half), max(high, mean + half)
    return max(-1.0, low), min(1.0, high)


def fraction_interval(
    tallies: Float[np.ndarray, "groups 2"], *, resampled: Float[np.ndarray, " resamples"] | None = None
) -> tuple[float, float]:
    """95 % interval of a fraction of sums over whole videos or groups of them, such as frame accuracy or F1.

    As for an accuracy with groups; see the module docstring. Of a measure that is not a fraction it is a percentile
    bootstrap over groups, stretched by Student's t for their number, and widened in the same cases.

    Args:
        tallies: Numerator, at most the denominator, and denominator of each group; groups with 0 of 0 do not count.
        resampled: Values, 0 to 1, of a measure that is not this fraction on resampled groups; the tallies then only
            tell whether the groups vary. None takes the fraction.

    Raises:
        DataError: All denominators are 0.
    """
    counted = tallies[tallies[:, 1] > 0]
    if not len(counted):
        raise DataError("no samples to evaluate")
    fraction = float(counted[:, 0].sum() / counted[:, 1].sum()) if resampled is None else float(np.nanmean(resampled))
    low, high = grouped_interval(counted) if resampled is None else stretched(resampled, num_groups=len(counted))
    if not _are_varied(counted[:, 0] / counted[:, 1]):
        wide = wilson_interval(min(1.0, max(0.0, fraction)), num_trials=len(counted))
        low, high = min(low, wide[0]), max(high, wide[1])
    return low, high


def stretched(
    resampled: Float[np.ndarray, " resamples"], *, num_groups: int, least: float = 0.0, most: float = 1.0
) -> tuple[float, float]:
    """Percentile interval of a measure from `least` to `most` on resampled groups, stretched for their number.

    A resample varies less than the measure, and its quantiles are those of a normal distribution: with G groups both
    are made up for by the factor sqrt(G / (G - 1)) times Student's t over the normal quantile.
    """
    low, middle, high = np.nanquantile(resampled, [0.025, 0.5, 0.975]).tolist()
    if num_groups == 1:
        return low, high
    factor = student_quantile(0.975, df=num_groups - 1) / NormalDist().inv_cdf(0.975)
    factor *= math.sqrt(num_groups / (num_groups - 1))
    return max(least, middle - factor * (middle - low)), min(most, middle + factor * (high - middle))


def draw_groups(count: int) -> Int[np.ndarray, "resamples groups"]:
    """How often each of `count` groups occurs in each resample, with a fixed seed."""
    return np.random.default_rng(_SEED).multinomial(count, np.full(count, 1 / count), size=NUM_RESAMPLES)


def format_interval(low: float, high: float) -> str:
    """Both ends as percentages, with enough decimals to differ, at least one."""
    decimals = next((count for count in range(1, 9) if f"{low:.{count}%}" != f"{high:.{count}%}"), 1)
    return f"{low:.{decimals}%} to {high:.{decimals}%}"


def describe_method(method: IntervalMethod, *, num_groups: int, num_alone: int, kind: str = "group") -> str:
    """Method of an interval, as text.

    Args:
        method: The method.
        num_groups: Number of groups.
        num_alone: Videos without a group, each of which counts as one group.
        kind: What a group is, in one word.
    """
    if method == "wilson":
        return "Wilson"
    alone = f", {num_alone} of them videos without a group" if num_alone else ""
    over = f"over {num_groups} {kind}{'s' * (num_groups > 1)}{alone}"
    if method == "t_over_groups":
        return f"Wilson with the variance {over.replace('over', 'between', 1)}"
    return f"Wilson {over}, too {'few' if num_groups < MIN_GROUPS else 'alike'} to tell their variance"


def _num_trials(accuracies: Float[np.ndarray, " n"], *, num_models: int) -> float:
    """Effective number of independent trials of a mean over models: n videos if all models agree."""
    accuracy, variance, n = accuracies.mean(), accuracies.var(), len(accuracies)
    if num_models == 1 or variance == 0 or _num_varied_groups(accuracies) < MIN_GROUPS:
        return n
    return float(np.clip(n * accuracy * (1 - accuracy) / variance, n, n * num_models))


def _num_varied_groups(accuracies: Float[np.ndarray, " g"]) -> int:
    """Number of groups with a mistake or of groups with a correct prediction, whichever is smaller."""
    return min(int((accuracies < 1).sum()), int((accuracies > 0).sum()))


def _are_varied(accuracies: Float[np.ndarray, " g"]) -> bool:
    """Whether enough groups have a mistake, and enough a correct prediction, to tell the variance between groups."""
    return len(accuracies) > 1 and _num_varied_groups(accuracies) >= min(MIN_GROUPS, len(accuracies))


def _number_groups(groups: Sequence[str]) -> np.ndarray:
    """Group index of each video, in order of appearance; a video without a group has its own."""
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(group or index, len(numbers)) for index, group in enumerate(groups)])
