"""Confidence interval of an accuracy, chosen to fit a set of videos, as a pure function.

Videos without groups count as independent and get Wilson's interval. It always has a positive width, even if all videos
are correct, lies within 0 and 1, and for few videos contains the true accuracy about as often as it claims. (The exact
interval of Clopper and Pearson 1934 contains it at least as often and is wider than necessary; Brown, Cai and DasGupta
2001 compare them.)

Videos of one person or recording tend to be correct or wrong together, so a thousand videos of ten persons say less
than a thousand videos of a thousand persons. With groups, whole groups are resampled. A bootstrap cannot anticipate
groups unlike those it has: if fewer than 5 groups have a mistake, or fewer than 5 a correct prediction, its interval is
too narrow (zero width if all are correct). It is then widened to Wilson's with each group counted as one video. It is
never narrower than the interval without groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from timesformer.errors import DataError
from timesformer.evaluation.metrics import bootstrap_interval, resample_ratios, wilson_interval

IntervalMethod = Literal["wilson", "bootstrap_over_groups", "wilson_over_groups"]

MIN_GROUPS = 5
"""Least number of groups with a mistake, and of groups with a correct prediction, for a bootstrap over groups."""

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
    independent = wilson_interval(accuracy, num_trials=_num_trials(accuracies, num_models=len(correct)))
    if not any(groups):
        return Interval(low=independent[0], high=independent[1], method="wilson", num_groups=0)
    group_indices = _number_groups(groups)
    num_groups = int(group_indices.max()) + 1
    intervals = [independent, bootstrap_interval(accuracies, groups=group_indices, seed=_SEED)]
    group_accuracies = np.bincount(group_indices, weights=accuracies) / np.bincount(group_indices)
    is_varied = _num_varied_groups(group_accuracies) >= MIN_GROUPS
    if not is_varied:
        intervals.append(wilson_interval(accuracy, num_trials=num_groups))
    return Interval(
        low=min(low for low, _ in intervals),
        high=max(high for _, high in intervals),
        method="bootstrap_over_groups" if is_varied else "wilson_over_groups",
        num_groups=num_groups,
    )


def fraction_interval(
    tallies: Float[np.ndarray, "groups 2"], *, resampled: Float[np.ndarray, " resamples"] | None = None
) -> tuple[float, float]:
    """95 % interval of a fraction of sums over whole videos or groups of them, such as frame accuracy or F1.

    It is a percentile bootstrap, widened to Wilson's with each group counted as one trial if fewer than 5 groups are
    below 1 or fewer than 5 above 0; see the module docstring.

    Args:
        tallies: Numerator, at most the denominator, and denominator of each group; groups with 0 of 0 do not count.
        resampled: Values of a measure that is not this fraction on resampled groups; the tallies then only tell
            whether the groups vary. None resamples the fraction.

    Raises:
        DataError: All denominators are 0.
    """
    counted = tallies[tallies[:, 1] > 0]
    if not len(counted):
        raise DataError("no samples to evaluate")
    values = resample_ratios(counted, seed=_SEED, num_resamples=NUM_RESAMPLES) if resampled is None else resampled
    low, high = np.nanquantile(values, [0.025, 0.975]).tolist()
    if _num_varied_groups(counted[:, 0] / counted[:, 1]) < MIN_GROUPS:
        fraction = float(counted[:, 0].sum() / counted[:, 1].sum()) if resampled is None else float(np.nanmean(values))
        wide = wilson_interval(min(1.0, max(0.0, fraction)), num_trials=len(counted))
        low, high = min(low, wide[0]), max(high, wide[1])
    return low, high


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
    if method == "bootstrap_over_groups":
        return f"bootstrap {over}"
    return f"Wilson {over}, too {'few' if num_groups < MIN_GROUPS else 'alike'} to resample"


def _num_trials(accuracies: Float[np.ndarray, " n"], *, num_models: int) -> float:
    """Effective number of independent trials of a mean over models: n videos if all models agree."""
    accuracy, variance, n = accuracies.mean(), accuracies.var(), len(accuracies)
    if num_models == 1 or variance == 0 or _num_varied_groups(accuracies) < MIN_GROUPS:
        return n
    return float(np.clip(n * accuracy * (1 - accuracy) / variance, n, n * num_models))


def _num_varied_groups(accuracies: Float[np.ndarray, " g"]) -> int:
    """Number of groups with a mistake or of groups with a correct prediction, whichever is smaller."""
    return min(int((accuracies < 1).sum()), int((accuracies > 0).sum()))


def _number_groups(groups: Sequence[str]) -> np.ndarray:
    """Group index of each video, in order of appearance; a video without a group has its own."""
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(group or index, len(numbers)) for index, group in enumerate(groups)])
