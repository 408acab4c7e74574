"""Accuracy measures of a classifier, as pure functions of arrays."""

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float, Int

from timesformer.errors import ConfigError, DataError


def true_class_ranks(scores: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Rank of the true class among all classes, from 1 for the highest score.

    Ties rank by class index, as with `argmax`: a model with equal scores for all classes is not always correct.

    Raises:
        DataError: A score is not finite.
    """
    if not np.isfinite(scores).all():
        raise DataError("scores are not finite: nan and inf cannot be ranked")
    of_true_class = np.take_along_axis(scores, labels[:, None], axis=1)
    comes_before = np.arange(scores.shape[1]) < labels[:, None]
    return 1 + ((scores > of_true_class) | ((scores == of_true_class) & comes_before)).sum(axis=1)


def top_k_accuracy(scores: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], *, k: int) -> float:
    """Fraction of samples whose class has one of the `k` highest scores; 1 with `k` classes or fewer.

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
    """Number of samples by true class (row) and predicted class (column)."""
    pairs = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def per_class_accuracy(confusion: Int[np.ndarray, "k k"]) -> Float[np.ndarray, " k"]:
    """Fraction of each class's samples that are predicted as that class; nan for a class without samples."""
    counts = confusion.sum(axis=1)
    fractions = np.full(len(confusion), np.nan)
    return np.divide(confusion.diagonal(), counts, out=fractions, where=counts > 0)


def per_class_precision(confusion: Int[np.ndarray, "k k"]) -> Float[np.ndarray, " k"]:
    """Fraction of the predictions of each class that are correct; nan for a class that is never predicted."""
    counts = confusion.sum(axis=0)
    fractions = np.full(len(confusion), np.nan)
    return np.divide(confusion.diagonal(), counts, out=fractions, where=counts > 0)


def most_confused(confusion: Int[np.ndarray, "k k"], *, count: int) -> list[tuple[int, int, int]]:
    """The most frequent mistakes.

    Returns:
        At most `count` triples of true class, predicted class and number of samples, the largest number first; ties are
        ordered by true class, then by predicted class.
    """
    mistakes = confusion - np.diag(confusion.diagonal())
    order = np.argsort(-mistakes, axis=None, kind="stable")[:count]
    true, predicted = np.unravel_index(order, confusion.shape)
    return [(int(t), int(p), int(mistakes[t, p])) for t, p in zip(true, predicted, strict=True) if mistakes[t, p] > 0]


def mean_class_accuracy(confusion: Int[np.ndarray, "k k"]) -> float:
    """Mean accuracy over the classes that have samples, with equal weights.

    Raises:
        DataError: No class has samples.
    """
    _refuse_empty(int(confusion.sum()))
    return float(np.nanmean(per_class_accuracy(confusion)))


def wilson_interval(fraction: float, *, num_trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a probability, from the fraction of independent trials that succeeded.

    It lies within 0 and 1 and has a positive width, even at fractions of 0 and 1.

    Args:
        fraction: Fraction of the trials that succeeded, between 0 and 1.
        num_trials: Number of trials, above 0; may be fractional.
        confidence: Coverage of the interval, between 0 and 1.

    Raises:
        ConfigError: An argument is out of range.

    Source: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    _check_confidence(confidence)
    if not 0 <= fraction <= 1:
        raise ConfigError(f"fraction={fraction} must lie between 0 and 1")
    if not 0 < num_trials < math.inf:
        raise ConfigError(f"num_trials={num_trials} must be above 0")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    shrinkage = z**2 / num_trials
    center = (fraction + shrinkage / 2) / (1 + shrinkage)
    half = z * math.sqrt(fraction * (1 - fraction) / num_trials + (shrinkage / z / 2) ** 2) / (1 + shrinkage)
    # rounding may put an end on the wrong side of a fraction that equals it
    return max(0.0, min(center - half, fraction)), min(1.0, max(center + half, fraction))


def grouped_interval(
    tallies: Float[np.ndarray, "groups 2"], *, most_trials: float = math.inf, confidence: float = 0.95
) -> tuple[float, float]:
    """Wilson's interval of a fraction of sums over groups, with the variance between the groups.

    The number of trials is the one whose binomial variance is the variance of the ratio estimator over the groups,
    times the squared ratio of the normal quantile and Student's: few groups tell the variance badly. If all groups are
    alike in being all correct or all wrong, each is one trial.

    Args:
        tallies: Numerator, from 0 to the denominator, and denominator, above 0, of each group.
        most_trials: Upper bound of the number of trials, such as the number of samples.
        confidence: Coverage of the interval, between 0 and 1.

    Raises:
        ConfigError: `confidence` is not between 0 and 1.
        DataError: There are no groups.

    Source: Cochran 1977, "Sampling Techniques", equation 6.13, for the variance; Korn and Graubard 1998, "Confidence
    Intervals for Proportions with Small Expected Number of Positive Counts Estimated from Survey Data", for the trials.
    """
    _check_confidence(confidence)
    _refuse_empty(len(tallies))
    count, (numerator, denominator) = len(tallies), tallies.sum(axis=0).tolist()
    fraction = min(1.0, numerator / denominator)
    if count == 1 or not 0 < fraction < 1:
        return wilson_interval(fraction, num_trials=min(count, most_trials), confidence=confidence)
    residuals = tallies[:, 0] - fraction * tallies[:, 1]
    variance = count / (count - 1) * float((residuals**2).sum()) / denominator**2
    variance = max(variance, fraction * (1 - fraction) / most_trials, np.finfo(np.float64).tiny)
    narrowing = NormalDist().inv_cdf(0.5 + confidence / 2) / student_quantile(0.5 + confidence / 2, df=count - 1)
    num_trials = min(fraction * (1 - fraction) / variance * narrowing**2, 1e15)
    return wilson_interval(fraction, num_trials=num_trials, confidence=confidence)


@lru_cache(maxsize=256)
def student_quantile(probability: float, *, df: int) -> float:
    """Quantile of Student's t distribution, by bisection.

    Args:
        probability: From 0.5 to less than 1.
        df: Degrees of freedom, at least 1.
    """
    low, high = 0.0, 1.0
    while _student_within(high, df=df) < 2 * probability - 1:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_within(middle, df=df) < 2 * probability - 1 else (low, middle)
    return (low + high) / 2


def _student_within(t: float, *, df: int) -> float:
    """Probability that Student's t lies between -t and t.

    Source: Abramowitz and Stegun 1964, "Handbook of Mathematical Functions", equations 26.7.3 and 26.7.4.
    """
    angle = math.atan(t / math.sqrt(df))
    cosine, is_odd = math.cos(angle), df % 2 == 1
    term = cosine if is_odd else 1.0
    total = 0.0 if df == 1 else term
    for k in range(3 if is_odd else 2, df - 1, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    return (angle + math.sin(angle) * total) * 2 / math.pi if is_odd else math.sin(angle) * total


def bootstrap_interval(
    correct: Bool[np.ndarray, " n"] | Float[np.ndarray, " n"],
    *,
    seed: int,
    groups: Int[np.ndarray, " n"] | None = None,
    confidence: float = 0.95,
    num_resamples: int = 2000,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the accuracy on other groups of samples of the same kind.

    If all samples are correct, or all wrong, the interval has zero width.

    Args:
        correct: Correctness of each sample: a bool, or a number from 0 to 1.
        seed: Seed of the resampling.
        groups: Group index of each sample, from 0 without gaps; None makes each sample its own group.
        confidence: Fraction of resamples inside the interval, between 0 and 1.
        num_resamples: Number of resamples, each of as many groups as given, drawn with replacement.

    Raises:
        ConfigError: `confidence` is not between 0 and 1.
        DataError: There are no samples.

    Source: Efron 1979, "Bootstrap Methods: Another Look at the Jackknife"; Davison and Hinkley 1997, section 3.8.
    """
    _check_confidence(confidence)
    _refuse_empty(len(correct))
    groups = np.arange(len(correct)) if groups is None else groups
    tallies = np.stack([np.bincount(groups, weights=correct), np.bincount(groups)], axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(resample_ratios(tallies, seed=seed, num_resamples=num_resamples), [tail, 1 - tail])
    return float(low), float(high)


def resample_ratios(
    tallies: Float[np.ndarray, "groups 2"], *, seed: int, num_resamples: int
) -> Float[np.ndarray, " resamples"]:
    """Ratios of sums over resampled groups, such as accuracies.

    Args:
        tallies: Numerator and denominator of each group, such as its correct samples and all its samples.
        seed: Seed of the resampling.
        num_resamples: Number of resamples.

    Returns:
        The ratios; nan where the denominator is 0.
    """
    # groups with equal tallies are interchangeable, so a resample is one multinomial draw
    kinds, counts = np.unique(tallies, axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(counts.sum(), counts / counts.sum(), size=num_resamples)
    numerators, denominators = (drawn @ kinds).T
    return np.divide(numerators, denominators, out=np.full(num_resamples, np.nan), where=denominators > 0)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence={confidence} must lie between 0 and 1")


def _refuse_empty(count: int) -> None:
    if count == 0:
        raise DataError("no samples to evaluate")
