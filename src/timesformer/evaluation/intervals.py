"""How far an accuracy is sure: which interval fits a set of videos, as a pure function.

Videos without groups are taken as independent, and the interval is Wilson's: it is never a point, also where all videos
are right, it stays within 0 and 1, and for few videos it holds the true accuracy about as often as it says. (The exact
interval of Clopper and Pearson 1934 holds it at least as often, and is wider than it need be; Brown, Cai and DasGupta
2001 compare them.)

Videos of one person or recording are right or wrong together, so a thousand videos of ten persons tell less than a
thousand of as many. With groups, these are resampled. A bootstrap knows nothing of groups unlike all that it has: where
fewer than 5 have a mistake, or fewer than 5 a right answer, it is too narrow, and a point where all are right. There
the interval is made as wide as Wilson's would be if each group were one video. In no case is it narrower than that of
the videos taken as independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from timesformer.errors import DataError
from timesformer.evaluation.metrics import bootstrap_interval, wilson_interval

IntervalMethod = Literal["wilson", "bootstrap_over_groups", "wilson_over_groups"]

MIN_GROUPS = 5
"""Groups that have to hold a mistake, and groups that have to hold a right answer, for a bootstrap over groups."""

_SEED = 0  # fixed: two evaluations of equal predictions have equal intervals


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """95 % confidence interval of an accuracy."""

    low: float
    """Lower end, 0 to 1."""
    high: float
    """Upper end, 0 to 1."""
    method: IntervalMethod
    """How it was found: `wilson` over the videos, or over groups as the head of this module says."""
    num_groups: int
    """Groups of the videos, each video without one being its own; 0 if no video has a group."""


def accuracy_interval(right: Bool[np.ndarray, "models n"], *, groups: Sequence[str]) -> Interval:
    """95 % interval of the mean accuracy of one or several models on the same videos.

    Videos, or their groups, are what would be others; the models stay.

    Args:
        right: Whether each model is right about each video.
        groups: Group of each video; empty where it has none, which makes the video its own group.

    Raises:
        DataError: There are no videos.
    """
    if right.size == 0:
        raise DataError("there are no samples to measure on")
    shares = right.mean(axis=0)
    accuracy = float(shares.mean())
    independent = wilson_interval(accuracy, num_trials=_num_trials(shares, num_models=len(right)))
    if not any(groups):
        return Interval(low=independent[0], high=independent[1], method="wilson", num_groups=0)
    places = _number_groups(groups)
    num_groups = int(places.max()) + 1
    intervals = [independent, bootstrap_interval(shares, groups=places, seed=_SEED)]
    is_varied = _num_telling(np.bincount(places, weights=shares) / np.bincount(places)) >= MIN_GROUPS
    if not is_varied:
        intervals.append(wilson_interval(accuracy, num_trials=num_groups))
    return Interval(
        low=min(low for low, _ in intervals),
        high=max(high for _, high in intervals),
        method="bootstrap_over_groups" if is_varied else "wilson_over_groups",
        num_groups=num_groups,
    )


def format_interval(low: float, high: float) -> str:
    """Both ends as percentages, with as many decimals as tell them apart, at least one."""
    decimals = next((count for count in range(1, 9) if f"{low:.{count}%}" != f"{high:.{count}%}"), 1)
    return f"{low:.{decimals}%} to {high:.{decimals}%}"


def describe_method(method: IntervalMethod, *, num_groups: int, num_alone: int) -> str:
    """How an interval was found, for people.

    Args:
        method: The method.
        num_groups: Groups of the videos.
        num_alone: Groups that are a video without a group.
    """
    if method == "wilson":
        return "Wilson"
    alone = f", {num_alone} of them videos without a group" if num_alone else ""
    over = f"over {num_groups} group{'s' * (num_groups > 1)}{alone}"
    if method == "bootstrap_over_groups":
        return f"bootstrap {over}"
    return f"Wilson {over}, too {'few' if num_groups < MIN_GROUPS else 'alike'} to resample"


def _num_trials(shares: Float[np.ndarray, " n"], *, num_models: int) -> float:
    """Independent trials that would make a mean as sure as this one of several models: n videos if all models agree."""
    accuracy, variance, n = shares.mean(), shares.var(), len(shares)
    if num_models == 1 or variance == 0 or _num_telling(shares) < MIN_GROUPS:
        return n
    return float(np.clip(n * accuracy * (1 - accuracy) / variance, n, n * num_models))


def _num_telling(shares: Float[np.ndarray, " g"]) -> int:
    """Groups that hold a mistake, or groups that hold a right answer, whichever are fewer."""
    return min(int((shares < 1).sum()), int((shares > 0).sum()))


def _number_groups(groups: Sequence[str]) -> np.ndarray:
    """A number for each group, by first mention; each video without one has its own."""
    numbers: dict[str | int, int] = {}
    return np.array([numbers.setdefault(group or place, len(numbers)) for place, group in enumerate(groups)])
