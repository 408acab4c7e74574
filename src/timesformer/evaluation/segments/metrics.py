"""Measures of labeled segments against the truth, for one video each, as pure functions of arrays.

Frame accuracy, Edit and F1 follow MS-TCN (Abu Farha and Gall 2019): a video has one label at an instant, background is
not a segment, and touching segments of one class are one segment. Average precision is that of ActivityNet; it is in
`detection`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

BACKGROUND = -1
"""Label of a frame that no segment covers."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Events:
    """Labeled segments of a video in order of their start: half-open, in seconds; background has no segment."""

    start: Float64[np.ndarray, " n"]
    end: Float64[np.ndarray, " n"]
    label: Int[np.ndarray, " n"]
    score: Float64[np.ndarray, " n"]
    """Certainty of each segment, for the average precision; any finite number."""

    @classmethod
    def of(cls, rows: Sequence[tuple[float, float, int, float]]) -> "Events":
        """From start, end, label and score of each segment, in any order."""
        start, end, label, score = zip(*sorted(rows), strict=True) if rows else ((), (), (), ())
        return cls(
            start=np.array(start, dtype=np.float64),
            end=np.array(end, dtype=np.float64),
            label=np.array(label, dtype=np.int64),
            score=np.array(score, dtype=np.float64),
        )

    def __len__(self) -> int:
        return len(self.start)

    def of_class(self, label: int) -> "Events":
        """The segments of one class."""
        chosen = self.label == label
        return Events(
            start=self.start[chosen], end=self.end[chosen], label=self.label[chosen], score=self.score[chosen]
        )

    def rows(self) -> list[tuple[float, float, int, float]]:
        """Start, end, label and score of each segment."""
        return [*zip(self.start.tolist(), self.end.tolist(), self.label.tolist(), self.score.tolist(), strict=True)]


def merge_touching(events: Events) -> Events:
    """Segments of one class that touch or overlap, as one segment with their highest score."""
    merged: list[tuple[float, float, int, float]] = []
    last: dict[int, int] = {}  # of each class
    for start, end, label, score in events.rows():
        at = last.get(label)
        if at is not None and start <= merged[at][1]:
            before = merged[at]
            merged[at] = (before[0], max(before[1], end), label, max(before[3], score))
        else:
            last[label] = len(merged)
            merged.append((start, end, label, score))
    return Events.of(merged)


def label_frames(events: Events, times: Float64[np.ndarray, " t"]) -> Int[np.ndarray, " t"]:
    """Label of each frame, `BACKGROUND` outside all segments; the most certain of several wins.

    Args:
        events: The segments.
        times: Time of each frame in seconds, ascending.
    """
    labels = np.full(len(times), BACKGROUND)
    for index in np.argsort(events.score, kind="stable"):
        first, end = np.searchsorted(times, (events.start[index], events.end[index]))
        labels[first:end] = events.label[index]
    return labels


def correct_frames(
    truth: Events, predicted: Events, times: Float64[np.ndarray, " t"]
) -> tuple[Bool[np.ndarray, " t"], Bool[np.ndarray, " t"]]:
    """Correctness of each frame, and whether a true segment covers it.

    Where true segments overlap, the label of any of them is correct. Outside all of them, background is correct.
    """
    labels = label_frames(predicted, times)
    is_correct, is_covered = np.zeros(len(times), dtype=bool), np.zeros(len(times), dtype=bool)
    for start, end, label, _ in truth.rows():
        frames = slice(*np.searchsorted(times, (start, end)))
        is_covered[frames] = True
        is_correct[frames] |= labels[frames] == label
    return is_correct | (~is_covered & (labels == BACKGROUND)), is_covered


def edit_score(truth: Events, predicted: Events) -> float:
    """Similarity of the sequences of labels, 0 to 1: 1 - Levenshtein distance / length of the longer one.

    1 if both are empty. Source: Lea et al. 2016, "Segmental Spatiotemporal CNNs for Fine-grained Action Segmentation".
    """
    first, second = merge_touching(truth).label.tolist(), merge_touching(predicted).label.tolist()
    longer = max(len(first), len(second))
    return 1 - _levenshtein(first, second) / longer if longer else 1.0


def _levenshtein(first: Sequence[int], second: Sequence[int]) -> int:
    """Fewest insertions, deletions and replacements that turn one sequence into the other."""
    distances = list(range(len(second) + 1))
    for row, a in enumerate(first, 1):
        diagonal, distances[0] = distances[0], row
        for column, b in enumerate(second, 1):
            best = min(distances[column] + 1, distances[column - 1] + 1, diagonal + (a != b))
            diagonal, distances[column] = distances[column], best
    return distances[-1]


def overlaps(truth: Events, predicted: Events) -> Float[np.ndarray, "p n"]:
    """Intersection over union of each predicted segment with each true one; 0 where the labels differ."""
    shared = np.minimum(predicted.end[:, None], truth.end) - np.maximum(predicted.start[:, None], truth.start)
    shared = np.maximum(shared, 0)
    union = (predicted.end - predicted.start)[:, None] + (truth.end - truth.start) - shared
    ratios = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ratios * (predicted.label[:, None] == truth.label)


def match_segments(truth: Events, predicted: Events, *, tiou: float) -> list[tuple[int, int]]:
    """Pairs of a predicted and a true segment that match, by the rule of MS-TCN.

    Each predicted segment, in order of start, matches the true segment of its class that it overlaps most, if their
    intersection over union reaches `tiou` and no earlier one took it.
    """
    ratios, pairs, taken = overlaps(truth, predicted), [], set()
    for index in range(len(predicted) if len(truth) else 0):
        best = int(ratios[index].argmax())
        if ratios[index, best] >= tiou and best not in taken:
            taken.add(best)
            pairs.append((index, best))
    return pairs


def f1_counts(truth: Events, predicted: Events, *, tiou: float) -> tuple[int, int, int]:
    """True positives, false positives and false negatives of a video at an overlap.

    Source: Lea et al. 2017, "Temporal Convolutional Networks for Action Segmentation and Detection".
    """
    truth, predicted = merge_touching(truth), merge_touching(predicted)
    hits = len(match_segments(truth, predicted, tiou=tiou))
    return hits, len(predicted) - hits, len(truth) - hits


def boundary_errors(truth: Events, predicted: Events, *, tiou: float = 0.5) -> Float64[np.ndarray, "m 2"]:
    """Predicted minus true start and end, in seconds, of each matched segment: negative is early."""
    truth, predicted = merge_touching(truth), merge_touching(predicted)
    pairs = match_segments(truth, predicted, tiou=tiou)
    errors = [(predicted.start[p] - truth.start[t], predicted.end[p] - truth.end[t]) for p, t in pairs]
    return np.array(errors, dtype=np.float64).reshape(len(pairs), 2)
