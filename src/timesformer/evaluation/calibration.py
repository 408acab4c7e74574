"""Calibration of a classifier: reliability bins and proper scores, as pure functions of arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from timesformer.errors import ConfigError, DataError

_SMALLEST = float(np.finfo(np.float32).tiny)
"""Replaces probabilities that single precision rounds to 0, whose logarithm is infinite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Samples whose confidence lies above `low` and not above `high`.

    `confidence` is the mean probability of their predicted classes, `accuracy` the fraction that is correct; both are
    nan for an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Calibration measures of a classifier; 0 is perfect for each."""

    ece: float
    """Expected calibration error, 0 to 1: mean distance of confidence and accuracy, weighted by samples."""
    nll: float
    """Mean negative log-likelihood of the true class, in nats; a probability of 0 counts as 1.2e-38."""
    brier: float
    """Brier score, 0 to 2: mean squared distance of the probabilities from 1 for the true class and 0 for others."""
    bins: tuple[Bin, ...]
    """Bins of equal width from 0 to 1, by confidence."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; an empty bin has None for confidence and accuracy."""
        bins = [
            {
                "low": item.low,
                "high": item.high,
                "count": item.count,
                "confidence": item.confidence if item.count else None,
                "accuracy": item.accuracy if item.count else None,
            }
            for item in self.bins
        ]
        return {"ece": self.ece, "nll": self.nll, "brier": self.brier, "bins": bins}


def calibrate(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], *, num_bins: int = 15
) -> Calibration:
    """Measure the calibration of a classifier.

    Args:
        probabilities: Class probabilities of each sample; rows sum to 1.
        labels: Index of the true class of each sample.
        num_bins: Number of bins of equal width.

    Raises:
        ConfigError: `num_bins` is less than 1.
        DataError: There are no samples.
    """
    if num_bins < 1:
        raise ConfigError(f"num_bins={num_bins} must be at least 1")
    if len(labels) == 0:
        raise DataError("no samples to evaluate")
    probabilities = probabilities.astype(np.float64)
    bins = confidence_bins(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, num_bins=num_bins)
    of_true_class = probabilities[np.arange(len(labels)), labels]
    return Calibration(
        ece=expected_calibration_error(bins),
        nll=float(-np.log(np.maximum(of_true_class, _SMALLEST)).mean()),
        brier=float(((probabilities**2).sum(axis=1) - 2 * of_true_class + 1).mean()),
        bins=bins,
    )


def confidence_bins(
    confidence: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"], *, num_bins: int
) -> tuple[Bin, ...]:
    """Sort samples into bins of equal width by confidence, the probability of the predicted class.

    A confidence on the edge of two bins belongs to the lower one, as in the source.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
    """
    edges = np.linspace(0, 1, num_bins + 1)
    bin_index = np.searchsorted(edges[1:-1], confidence, side="left")
    return tuple(
        Bin(
            low=float(edges[number]),
            high=float(edges[number + 1]),
            count=int(inside.sum()),
            confidence=float(confidence[inside].mean()) if inside.any() else float("nan"),
            accuracy=float(correct[inside].mean()) if inside.any() else float("nan"),
        )
        for number, inside in ((number, bin_index == number) for number in range(num_bins))
    )


def expected_calibration_error(bins: tuple[Bin, ...]) -> float:
    """Mean distance of confidence and accuracy over the bins, weighted by samples.

    Source: Guo et al. 2017, equation 3.
    """
    total = sum(item.count for item in bins)
    return sum(item.count / total * abs(item.accuracy - item.confidence) for item in bins if item.count)
