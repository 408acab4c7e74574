"""Whether a classifier's probabilities mean what they say, as pure functions of arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from timesformer.errors import ConfigError, DataError

_SMALLEST = float(np.finfo(np.float32).tiny)
"""Stands for a probability that single precision rounds to 0, whose logarithm would be infinite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The samples whose confidence lies above `low` and not above `high`.

    `confidence` is the mean probability of their predicted classes and `accuracy` the share that is right; both are
    nan without samples.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How far the probabilities are from what comes true: 0 is perfect in every measure."""

    ece: float
    """Expected calibration error, 0 to 1: mean distance of confidence and accuracy over the bins, by their samples."""
    nll: float
    """Mean negative logarithm of the true class's probability, in nats; a probability of 0 counts as 1.2e-38."""
    brier: float
    """Mean squared distance of the probabilities from the truth (1 for the true class, 0 for others), 0 to 2."""
    bins: tuple[Bin, ...]
    """Samples by confidence, in bins of equal width from 0 to 1."""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers, ready for JSON; an empty bin has None for confidence and accuracy."""
        bins = [
            {
                "low": part.low,
                "high": part.high,
                "count": part.count,
                "confidence": part.confidence if part.count else None,
                "accuracy": part.accuracy if part.count else None,
            }
            for part in self.bins
        ]
        return {"ece": self.ece, "nll": self.nll, "brier": self.brier, "bins": bins}


def calibrate(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, " n"], *, num_bins: int = 15
) -> Calibration:
    """Measure the calibration of a classifier.

    Args:
        probabilities: Of every class, for each sample; rows sum to 1.
        labels: Index of the true class of each sample.
        num_bins: Bins of equal width in which confidence and accuracy are compared.

    Raises:
        ConfigError: `num_bins` is less than 1.
        DataError: There are no samples.
    """
    if num_bins < 1:
        raise ConfigError(f"num_bins={num_bins} must be at least 1")
    if len(labels) == 0:
        raise DataError("there are no samples to measure on")
    exact = probabilities.astype(np.float64)
    bins = confidence_bins(exact.max(axis=1), exact.argmax(axis=1) == labels, num_bins=num_bins)
    own = exact[np.arange(len(labels)), labels]
    return Calibration(
        ece=expected_calibration_error(bins),
        nll=float(-np.log(np.maximum(own, _SMALLEST)).mean()),
        brier=float(((exact**2).sum(axis=1) - 2 * own + 1).mean()),
        bins=bins,
    )


def confidence_bins(
    confidence: Float[np.ndarray, " n"], correct: Bool[np.ndarray, " n"], *, num_bins: int
) -> tuple[Bin, ...]:
    """Sort samples into bins of equal width by the probability of the predicted class.

    A confidence on the border of two bins belongs to the lower one, as in the source.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2.
    """
    edges = np.linspace(0, 1, num_bins + 1)
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    return tuple(
        Bin(
            low=float(edges[number]),
            high=float(edges[number + 1]),
            count=int(inside.sum()),
            confidence=float(confidence[inside].mean()) if inside.any() else float("nan"),
            accuracy=float(correct[inside].mean()) if inside.any() else float("nan"),
        )
        for number, inside in ((number, place == number) for number in range(num_bins))
    )


def expected_calibration_error(bins: tuple[Bin, ...]) -> float:
    """Mean distance of confidence and accuracy over the bins, each weighted by its samples.

    Source: Guo et al. 2017, equation 3.
    """
    total = sum(part.count for part in bins)
    return sum(part.count / total * abs(part.accuracy - part.confidence) for part in bins if part.count)
