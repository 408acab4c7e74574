"""Measures of a classifier, as pure functions of arrays."""

import math
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float, Int

from timesformer.errors import ConfigError, DataError


def true_class_ranks(scores: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Place of the true class among all classes, 1 being the best scored.

    Of classes with equal scores the one with the lower index comes first, as with `argmax`: a model that gives every
    class the same score is not right about all of them.

    Raises:
        DataError: A score is not finite, which no order can hold.
    """
    if not np.isfinite(scores).all():
        raise DataError("scores are not finite: nan and inf have no rank")
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    comes_before = np.arange(scores.shape[1]) < labels[:, None]
    return 1 + ((scores > own) | ((scores == own) & comes_before)).sum(axis=1)


def top_k_accuracy(scores: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], *, k: int) -> float:
    """Share of samples whose class is among the `k` best scored; all classes count where there are fewer than `k`.

    Raises:
        ConfigError: `k` is less than 1.
        DataError: There are no samples, or a score is not finite.
    """
    if k < 1:
        raise ConfigError(f"k={k} must be at least 1")
    _refuse_empty(len(labels))
    return float((true_class_ranks(scores, labels) <= k).mean())


def confusion_matrix(
    labels: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"], *, num_classes: int
) -> Int[np.ndarray, "k k"]:
    """Count of samples by true class (row) and predicted class (column)."""
    pairs = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def per_class_accuracy(confusion: Int[np.ndarray, "k k"]) -> Float[np.ndarray, " k"]:
    """Share of each class's samples that were predicted as that class; nan for a class without samples."""
    counts = confusion.sum(axis=1)
    shares = np.full(len(confusion), np.nan)
    return np.divide(confusion.diagonal(), counts, out=shares, where=counts > 0)


def per_class_precision(confusion: Int[np.ndarray, "k k"]) -> Float[np.ndarray, " k"]:
    """Share of the samples predicted as each class that are of it; nan for a class that is never predicted."""
    counts = confusion.sum(axis=0)
    shares = np.full(len(confusion), np.nan)
    return np.divide(confusion.diagonal(), counts, out=shares, where=counts > 0)


def most_confused(confusion: Int[np.ndarray, "k k"], *, count: int) -> list[tuple[int, int, int]]:
    """Find the mistakes that are made most often.

    Returns:
        True class, predicted class and number of samples, the largest number first, `count` at most; equal numbers in
        the order of the true class, then of the predicted one.
    """
    mistakes = confusion - np.diag(confusion.diagonal())
    order = np.argsort(-mistakes, axis=None, kind="stable")[:count]
    true, predicted = np.unravel_index(order, confusion.shape)
    return [(int(t), int(p), int(mistakes[t, p])) for t, p in zip(true, predicted, strict=True) if mistakes[t, p] > 0]


def mean_class_accuracy(confusion: Int[np.ndarray, "k k"]) -> float:
    """Mean accuracy over the classes that have samples, each with the same weight.

    Raises:
        DataError: No class has samples.
    """
    _refuse_empty(int(confusion.sum()))
    return float(np.nanmean(per_class_accuracy(confusion)))


def wilson_interval(share: float, *, num_trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a probability, from the share of independent trials that succeeded, by Wilson's score.

    It is never a point, also not at shares of 0 and 1, and lies within 0 and 1.

    Args:
        share: Share of the trials that succeeded, between 0 and 1.
        num_trials: Number of trials, above 0; need not be whole.
        confidence: Share of experiments whose interval holds the probability, between 0 and 1.

    Raises:
        ConfigError: An argument is out of its range.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    _check_confidence(confidence)
    if not 0 <= share <= 1:
        raise ConfigError(f"share={share} must lie between 0 and 1")
    if not 0 < num_trials < math.inf:
        raise ConfigError(f"num_trials={num_trials} must be above 0")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    shrinkage = z**2 / num_trials
    center = (share + shrinkage / 2) / (1 + shrinkage)
    half = z * math.sqrt(share * (1 - share) / num_trials + (shrinkage / z / 2) ** 2) / (1 + shrinkage)
    # rounding may put an end on the wrong side of the share where the two are equal
    return max(0.0, min(center - half, share)), min(1.0, max(center + half, share))


def bootstrap_interval(
    correct: Bool[np.ndarray, " n"] | Float[np.ndarray, " n"],
    *,
    seed: int,
    groups: Int[np.ndarray, " n"] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 2000,
) -> tuple[float, float]:
    """Interval in which the accuracy would fall for other groups of samples of the same kind, by percentile bootstrap.

    Where all samples are right, or all wrong, resampling has nothing to vary and the interval is a point.

    Args:
        correct: Whether each sample is right, or how right, from 0 to 1.
        seed: Seed of the resampling.
        groups: Number of each sample's group, from 0 with no gap; None makes each sample its own group.
        confidence: Share of resamples that the interval holds, between 0 and 1.
        num_resamples: Number of draws of as many groups as there are, with replacement.

    Raises:
        ConfigError: `confidence` is not between 0 and 1.
        DataError: There are no samples.

    Source: Efron 1979, "Bootstrap Methods: Another Look at the Jackknife"; Davison and Hinkley 1997, section 3.8.
    """
    _check_confidence(confidence)
    _refuse_empty(len(correct))
    groups = np.arange(len(correct)) if groups is None else groups
    tallies = np.stack([np.bincount(groups, weights=correct), np.bincount(groups)], axis=1)
    # draws with replacement among groups that only their tallies tell apart are one multinomial draw
    kinds, counts = np.unique(tallies, axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), size=num_resamples)
    right, total = (drawn @ kinds).T
    tail = (1 - confidence) / 2
    low, high = np.quantile(right / total, [tail, 1 - tail])
    return float(low), float(high)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence={confidence} must lie between 0 and 1")


def _refuse_empty(count: int) -> None:
    if count == 0:
        raise DataError("there are no samples to measure on")
