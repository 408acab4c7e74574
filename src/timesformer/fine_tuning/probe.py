"""The probe: a linear head on the features of the frozen model, its penalty chosen by cross-validation over groups."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float64, Int, Int64
from torch import Tensor

from timesformer.config.schema import Fusion
from timesformer.data.manifest.folds import deal_rows
from timesformer.data.manifest.manifest import Sample
from timesformer.errors import DataError, DecodeError
from timesformer.evaluation.predictions import DecodeFailure, Outcome, VideoOutput
from timesformer.fine_tuning.features import Features
from timesformer.heads.choose import StrengthScore, best_strength, score_strengths
from timesformer.heads.fit import fit_path
from timesformer.heads.head import Head, zero_head
from timesformer.inference.fusion import fuse

logger = logging.getLogger(__name__)

STRENGTHS = tuple(10.0 ** (exponent / 2) for exponent in range(-8, 3))
"""Strengths of the penalty to choose from, 1e-4 to 10."""
_FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Probe:
    """A fitted probe."""

    head: Head
    """For features as they are."""
    mean: Float64[Tensor, " d"]
    """Mean of each feature over the training views."""
    variance: Float64[Tensor, " d"]
    strength: float
    scores: tuple[StrengthScore, ...]
    """The cross-validation, the strongest penalty first."""
    folds: str
    """Its folds, as text."""
    seconds: float
    """Time of cross-validation and fit."""

    @property
    def _best(self) -> StrengthScore:
        return next(score for score in self.scores if score.strength == self.strength)

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood of its strength in the cross-validation, in nats."""
        return self._best.nll

    @property
    def accuracy(self) -> float:
        """Accuracy of its strength in the cross-validation, 0 to 1, each view by itself."""
        return self._best.accuracy


def fit_probe(
    features: Sequence[Features],
    samples: Sequence[Sample],
    *,
    num_classes: int,
    seed: int,
    on_fold: Callable[[int, int], None] = lambda done, total: None,
) -> Probe:
    """Fit a probe to the features of training videos; every view is a row.

    Args:
        features: Features of each video.
        samples: The videos.
        num_classes: Number of classes; one without a video gets a probability below that of every other class.
        seed: Seed of the folds.
        on_fold: Progress callback, called after each fold with the number done and the total.

    Raises:
        DataError: All samples are parts of one video, or of one class.
    """
    start = time.monotonic()
    counts = [len(each.views) for each in features]
    rows = torch.from_numpy(np.concatenate([each.views for each in features])).double()
    labels = torch.tensor([sample.label for sample in samples])
    present, index = labels.unique(return_inverse=True)
    if len(present) < 2:
        raise DataError(f"all {len(samples)} training videos that can be decoded are of one class")
    dealt, what = _folds(samples, seed=seed)
    targets, folds = index.repeat_interleave(torch.tensor(counts)), np.repeat(dealt, counts)
    begin = partial(_zeros, rows.shape[1])
    scores = score_strengths("linear", begin, rows, targets, folds=folds, strengths=STRENGTHS, on_fold=on_fold)
    strength = best_strength(scores)
    *_, fit = fit_path("linear", begin(len(present)), rows, targets, strengths=[strength])
    mean = rows.mean(dim=0)
    return Probe(
        head=_with_absent_classes(fit.head, present, num_classes=num_classes, mean=mean, count=len(rows)),
        mean=mean,
        variance=rows.var(dim=0, correction=0),
        strength=strength,
        scores=tuple(scores),
        folds=f"{len(set(dealt.tolist()))} folds over {what}",
        seconds=time.monotonic() - start,
    )


def _zeros(width: int, num_classes: int) -> dict[str, Tensor]:
    device = torch.device("cpu")
    return zero_head("linear", (width,), num_classes=num_classes, attention_heads=1, device=device)


def _folds(samples: Sequence[Sample], *, seed: int) -> tuple[Int[np.ndarray, " n"], str]:
    """The fold of each sample, and what is never in two folds."""
    videos = [str(sample.path) for sample in samples]
    keys = [sample.group or video for sample, video in zip(samples, videos, strict=True)]
    what = "groups" if any(sample.group for sample in samples) else "videos"
    if len(set(keys)) < 2 <= len(set(videos)):
        logger.warning("all training videos are in the group %r: the cross-validation is over videos", keys[0])
        keys, what = videos, "videos"
    if len(set(keys)) < 2:
        raise DataError("all training samples are segments of one video: a probe needs at least two videos")
    return deal_rows(keys, [sample.label for sample in samples], folds=_FOLDS, seed=seed), what


def _with_absent_classes(
    head: Head, present: Int64[Tensor, " p"], *, num_classes: int, mean: Tensor, count: int
) -> Head:
    """The head for all classes; one without rows has a constant logit, below that of the rarest class on average."""
    weight, bias = head.tensors["weight"], head.tensors["bias"]
    lowest = (weight @ mean + bias).min() - math.log(count + 1)
    weights = torch.zeros(num_classes, weight.shape[1], dtype=weight.dtype)
    biases = torch.full((num_classes,), float(lowest), dtype=bias.dtype)
    weights[present], biases[present] = weight, bias
    return Head("linear", {"weight": weights, "bias": biases})


def predict_outcomes(head: Head, features: Sequence[Features | DecodeError], *, fusion: Fusion) -> list[Outcome]:
    """Class probabilities of videos, as `evaluate` computes them with the head in the model."""
    outcomes: list[Outcome] = []
    for index, each in enumerate(features):
        if isinstance(each, DecodeError):
            outcomes.append(DecodeFailure(index, str(each)))
        else:
            logits = head.logits(torch.from_numpy(each.views)).float()
            outcomes.append(VideoOutput(index, fuse(logits, fusion).numpy(), len(logits)))
    return outcomes
