"""Mean average precision of detected segments, as ActivityNet measures it.

Detections of one class are taken in order of their score. Each takes the true segment of its video that it overlaps
most and that is still free, if the overlap reaches the threshold; else it is a false positive. The average precision is
the area under the interpolated curve of precision over recall; its mean is over the classes that have true segments.

Detections of one video only compete for that video's segments, so videos are matched once, and a resampled set of
videos is a weight for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from timesformer.evaluation.segments.metrics import Events, overlaps

TIOUS = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())
"""Thresholds of ActivityNet."""
_CELLS = 2**22  # of one block of resamples: 32 MB


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Detections:
    """All detections of a class, the highest score first."""

    is_hit: Bool[np.ndarray, "n tious"]
    video: Int[np.ndarray, " n"]
    is_last: Bool[np.ndarray, " n"]
    """Whether the next score is lower: equal scores are one point of the curve, in whatever order they come."""
    num_true: Int[np.ndarray, " videos"]
    """True segments of the class in each video."""


def average_precisions(
    truths: Sequence[Events],
    detections: Sequence[Events],
    *,
    num_classes: int,
    tious: Sequence[float] = TIOUS,
    weights: Int[np.ndarray, "r videos"] | None = None,
) -> Float[np.ndarray, "r k tious"]:
    """Average precision of each class at each overlap; nan for a class without true segments.

    Args:
        truths: True segments of each video.
        detections: Detected segments of each video.
        num_classes: Number of classes.
        tious: Least intersection over union of a match.
        weights: How often each video occurs, for each of several resampled sets; None is every video once.
    """
    weights = np.ones((1, len(truths)), dtype=np.int64) if weights is None else weights
    results = np.full((len(weights), num_classes, len(tious)), np.nan)
    for label in range(num_classes):
        found = _detections_of(truths, detections, label=label, tious=tious)
        if not found.num_true.any():
            continue
        block = max(1, _CELLS // max(1, found.is_hit.size))
        for first in range(0, len(weights), block):
            results[first : first + block, label] = _areas(found, weights[first : first + block])
    return results


def match_detections(truth: Events, detected: Events, *, tious: Sequence[float]) -> Bool[np.ndarray, "n tious"]:
    """Whether each detection of a video takes a true segment, at each overlap."""
    ratios, hits = overlaps(truth, detected), np.zeros((len(detected), len(tious)), dtype=bool)
    by_score = np.argsort(-detected.score, kind="stable")
    for column, tiou in enumerate(tious):
        free = np.ones(len(truth), dtype=bool)
        for index in by_score:
            usable = np.where(free, ratios[index], 0.0)
            best = int(usable.argmax()) if len(usable) else 0
            if len(usable) and usable[best] >= tiou:
                free[best] = False
                hits[index, column] = True
    return hits


def _detections_of(
    truths: Sequence[Events], detections: Sequence[Events], *, label: int, tious: Sequence[float]
) -> _Detections:
    hits, scores, videos = [], [], []
    for number, (truth, detected) in enumerate(zip(truths, detections, strict=True)):
        detected = detected.of_class(label)
        hits.append(match_detections(truth.of_class(label), detected, tious=tious))
        scores.append(detected.score)
        videos.append(np.full(len(detected), number))
    score = np.concatenate(scores) if scores else np.zeros(0)
    order = np.argsort(-score, kind="stable")
    return _Detections(
        is_hit=np.concatenate(hits)[order] if hits else np.zeros((0, len(tious)), dtype=bool),
        video=np.concatenate(videos)[order] if videos else np.zeros(0, dtype=np.int64),
        is_last=np.diff(score[order], append=-np.inf) < 0,
        num_true=np.array([int((truth.label == label).sum()) for truth in truths], dtype=np.int64),
    )


def _areas(found: _Detections, weights: Int[np.ndarray, "r videos"]) -> Float[np.ndarray, "r tious"]:
    """Areas under the interpolated curves; nan where no true segment was drawn."""
    num_true = (weights @ found.num_true)[:, None].astype(float)
    times = weights[:, found.video]
    hits = np.cumsum(times[:, :, None] * found.is_hit, axis=1)[:, found.is_last]
    count = np.cumsum(times, axis=1)[:, found.is_last, None]
    precision = np.divide(hits, count, out=np.zeros(hits.shape), where=count > 0)
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    gained = np.diff(hits, axis=1, prepend=0)
    area = (gained * precision).sum(axis=1)
    return np.divide(area, num_true, out=np.full(area.shape, np.nan), where=num_true > 0)
