"""Choice of the strength of a penalty by cross-validation over groups."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from timesformer.heads.fit import fit_path
from timesformer.heads.head import Tensors
from timesformer.heads.kind import HeadKind

_TOLERANCE = 1e-5
"""Largest entry of the gradient at the end of a fit that is only compared with others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StrengthScore:
    """Result of a strength in the cross-validation, over all rows that were held out in turn."""

    strength: float
    nll: float
    """Mean negative log-likelihood in nats, without rows whose class no training row of their fold has."""
    accuracy: float
    """Fraction of correct predictions, 0 to 1."""


def score_strengths(
    kind: HeadKind,
    start: Callable[[int], Tensors],
    features: Tensor,
    labels: Int64[Tensor, " n"],
    *,
    folds: Int[np.ndarray, " n"],
    strengths: Sequence[float],
    on_fold: Callable[[int, int], None] = lambda done, total: None,
) -> list[StrengthScore]:
    """Score each strength, the strongest first.

    Args:
        kind: Kind of the head.
        start: Tensors of a head of some number of classes before training.
        features: Rows, float64.
        labels: Class index of each row.
        folds: Fold of each row.
        strengths: The strengths.
        on_fold: Called after each fold with the number done and their total.
    """
    order = sorted(strengths, reverse=True)
    nll, correct, counted = np.zeros(len(order)), np.zeros(len(order)), 0
    numbers = sorted(set(map(int, folds)))
    for done, number in enumerate(numbers, start=1):
        held = torch.as_tensor(folds == number, device=features.device)
        present = labels[~held].unique()  # a class that this fold lacks has no finite optimum
        index = torch.full((int(labels.max()) + 1,), -1, device=labels.device)
        index[present] = torch.arange(len(present), device=labels.device)
        wanted = index[labels[held]]
        is_known = wanted >= 0
        path = fit_path(
            kind, start(len(present)), features[~held], index[labels[~held]], strengths=order, tolerance=_TOLERANCE
        )
        for place, fit in enumerate(path):
            logits = fit.head.logits(features[held])
            correct[place] += int((logits.argmax(dim=1) == wanted).sum())
            nll[place] += float(cross_entropy(logits[is_known], wanted[is_known], reduction="sum"))
        counted += int(is_known.sum())
        on_fold(done, len(numbers))
    return [
        StrengthScore(
            strength=strength, nll=float(nll[place]) / max(counted, 1), accuracy=float(correct[place]) / len(labels)
        )
        for place, strength in enumerate(order)
    ]


def best_strength(scores: Sequence[StrengthScore]) -> float:
    """The strength with the lowest negative log-likelihood; of equal ones the strongest."""
    return min(scores, key=lambda score: (score.nll, -score.strength)).strength
