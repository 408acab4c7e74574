"""Measures of an evaluation on segments, over all videos, with intervals over whole videos: pure functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from timesformer.config.thresholds import Thresholds
from timesformer.errors import DataError
from timesformer.evaluation.intervals import MIN_GROUPS, draw_groups, fraction_interval, stretched
from timesformer.evaluation.result import Skipped
from timesformer.evaluation.segments.detection import TIOUS, average_precisions
from timesformer.evaluation.segments.metrics import Events, boundary_errors, correct_frames, edit_score, f1_counts
from timesformer.evaluation.segments.result import ClassResult, Measure, SegmentEvaluation, VideoTimeline

F1_OVERLAPS = (10, 25, 50)
"""Percent of overlap at which F1 is published."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComparedVideo:
    """Truth and predictions of a video."""

    path: str
    group: str
    times: Float64[np.ndarray, " t"]
    """Time of each frame in seconds."""
    duration: float
    """Length in seconds."""
    truth: Events
    exclusive: Events
    """Segments of the one label at each instant."""
    overlapping: Events
    """Segments that the thresholds detect for each class."""


def summarize_segments(
    videos: Sequence[ComparedVideo],
    *,
    class_names: Sequence[str],
    window: float,
    stride: float,
    thresholds: Thresholds,
    skipped: Sequence[Skipped] = (),
) -> SegmentEvaluation:
    """Compute all measures of an evaluation on segments.

    Args:
        videos: The videos that could be decoded.
        class_names: Names of the model's classes.
        window, stride, thresholds, skipped: As in `SegmentEvaluation`.

    Raises:
        DataError: There are no videos.
    """
    if not videos:
        raise DataError("no samples to evaluate")
    groups = _group_numbers(videos)
    areas = _areas(videos, groups, num_classes=len(class_names))
    errors = [boundary_errors(video.truth, video.exclusive) for video in videos]
    return SegmentEvaluation(
        **_frame_measures(videos, groups),
        f1=_f1(videos, groups, predicted=lambda video: video.exclusive),
        boundary_median=_of_errors([np.abs(pair) for pair in errors], groups, statistic=np.median),
        boundary_mean=_of_errors(errors, groups, statistic=np.mean),
        num_matched=sum(map(len, errors)),
        mean_ap=_mean_ap(videos, groups, areas),
        ap=dict(zip(TIOUS, _mean(areas[0], axis=0).tolist(), strict=True)),
        f1_overlapping=_f1(videos, groups, predicted=lambda video: video.overlapping),
        classes=_classes(videos, class_names, areas=areas[0]),
        videos=tuple(map(_timeline, videos)),
        num_segments=sum(len(video.truth) for video in videos),
        num_groups=int(groups.max()) + 1,
        has_groups=any(video.group for video in videos),
        window=window,
        stride=stride,
        thresholds=thresholds,
        skipped=tuple(skipped),
    )


def _group_numbers(videos: Sequence[ComparedVideo]) -> Int[np.ndarray, " videos"]:
    """Group of each video, numbered in order of appearance; a video without a group has its own."""
    numbers: dict[tuple[bool, str], int] = {}
    keys = [(bool(video.group), video.group or video.path) for video in videos]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys])


def _fraction(tallies: Float[np.ndarray, "videos 2"], groups: Int[np.ndarray, " videos"]) -> Measure:
    """Ratio of the sums of numerators and denominators, with its interval over groups."""
    sums = np.stack([np.bincount(groups, weights=column) for column in tallies.T], axis=1)
    if not sums[:, 1].any():
        return Measure(value=np.nan)
    value = float(sums[:, 0].sum() / sums[:, 1].sum())
    if len(sums) == 1:
        return Measure(value=value)  # one video says nothing of others
    low, high = fraction_interval(sums)
    return Measure(value=value, low=low, high=high)


def _frame_measures(videos: Sequence[ComparedVideo], groups: Int[np.ndarray, " videos"]) -> dict[str, Measure]:
    frames = [correct_frames(video.truth, video.exclusive, video.times) for video in videos]
    everywhere = [(float(correct.sum()), float(len(correct))) for correct, _ in frames]
    inside = [(float((correct & covered).sum()), float(covered.sum())) for correct, covered in frames]
    edits = [(edit_score(video.truth, video.exclusive), 1.0) for video in videos]
    named = {"frame_accuracy": everywhere, "frame_accuracy_inside": inside, "edit": edits}
    return {name: _fraction(np.array(tallies), groups) for name, tallies in named.items()}


def _f1(
    videos: Sequence[ComparedVideo],
    groups: Int[np.ndarray, " videos"],
    *,
    predicted: Callable[[ComparedVideo], Events],
) -> dict[int, Measure]:
    return {
        percent: _fraction(
            np.array([_f1_tally(video.truth, predicted(video), tiou=percent / 100) for video in videos]), groups
        )
        for percent in F1_OVERLAPS
    }


def _f1_tally(truth: Events, predicted: Events, *, tiou: float) -> tuple[float, float]:
    """Numerator and denominator of F1, the harmonic mean of precision and recall."""
    hits, extra, lost = f1_counts(truth, predicted, tiou=tiou)
    return 2.0 * hits, 2.0 * hits + extra + lost


def _areas(
    videos: Sequence[ComparedVideo], groups: Int[np.ndarray, " videos"], *, num_classes: int
) -> Float[np.ndarray, "r k tious"]:
    """Average precisions, first of all videos, then of each resample."""
    weights = np.concatenate([np.ones((1, len(videos)), dtype=np.int64), draw_groups(int(groups.max()) + 1)[:, groups]])
    return average_precisions(
        [video.truth for video in videos],
        [video.overlapping for video in videos],
        num_classes=num_classes,
        weights=weights,
    )


def _mean_ap(
    videos: Sequence[ComparedVideo], groups: Int[np.ndarray, " videos"], areas: Float[np.ndarray, "r k tious"]
) -> Measure:
    values = _mean(_mean(areas, axis=1), axis=1)
    if np.isnan(values[0]) or groups.max() == 0:
        return Measure(value=float(values[0]))
    tallies = np.array([_f1_tally(video.truth, video.overlapping, tiou=0.5) for video in videos])
    sums = np.stack([np.bincount(groups, weights=column) for column in tallies.T], axis=1)
    low, high = fraction_interval(sums, resampled=values[1:])
    return Measure(value=float(values[0]), low=min(low, float(values[0])), high=max(high, float(values[0])))


def _mean(values: Float[np.ndarray, "..."], *, axis: int) -> Float[np.ndarray, "..."]:
    """Mean without nan, nan if there is nothing else."""
    is_number = ~np.isnan(values)
    counts = is_number.sum(axis=axis)
    sums = np.where(is_number, values, 0).sum(axis=axis)
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)


def _of_errors(
    errors: Sequence[Float64[np.ndarray, "_ 2"]],
    groups: Int[np.ndarray, " videos"],
    *,
    statistic: Callable[[np.ndarray], np.floating],
) -> Measure:
    """A statistic of all errors, with its interval over the groups that have any, if there are enough."""
    everything = np.concatenate(errors).ravel()
    if not len(everything):
        return Measure(value=np.nan)
    by_group = [
        np.concatenate([error for error, own in zip(errors, groups, strict=True) if own == group]).ravel()
        for group in range(int(groups.max()) + 1)
    ]
    by_group = [values for values in by_group if len(values)]
    if len(by_group) < MIN_GROUPS:
        return Measure(value=float(statistic(everything)))
    resampled = [
        statistic(
            np.concatenate([np.tile(values, count) for values, count in zip(by_group, row, strict=True) if count])
        )
        for row in draw_groups(len(by_group)).tolist()
    ]
    low, high = stretched(np.array(resampled), num_groups=len(by_group), least=-np.inf, most=np.inf)
    return Measure(value=float(statistic(everything)), low=low, high=high)


def _classes(
    videos: Sequence[ComparedVideo], class_names: Sequence[str], *, areas: Float[np.ndarray, "k tious"]
) -> tuple[ClassResult, ...]:
    return tuple(
        ClassResult(
            name=name,
            support=sum(int((video.truth.label == label).sum()) for video in videos),
            f1=class_f1([(video.truth, video.exclusive) for video in videos], label=label),
            ap=float(_mean(areas[label], axis=0)),
        )
        for label, name in enumerate(class_names)
    )


def class_f1(pairs: Sequence[tuple[Events, Events]], *, label: int, tiou: float = 0.5) -> float:
    """F1 of one class over all videos; nan if no video has a true segment of it.

    Args:
        pairs: True and predicted segments of each video.
        label: The class.
        tiou: Least intersection over union of a match.
    """
    if not any((truth.label == label).any() for truth, _ in pairs):
        return np.nan
    tallies = [_f1_tally(truth.of_class(label), found.of_class(label), tiou=tiou) for truth, found in pairs]
    hits, all_ = np.sum(tallies, axis=0).tolist()
    return hits / all_


def _timeline(video: ComparedVideo) -> VideoTimeline:
    correct, _ = correct_frames(video.truth, video.exclusive, video.times)
    hits, both = _f1_tally(video.truth, video.exclusive, tiou=0.5)
    return VideoTimeline(
        path=video.path,
        group=video.group,
        duration=video.duration,
        truth=video.truth,
        predicted=video.exclusive,
        frame_accuracy=float(correct.mean()),
        edit=edit_score(video.truth, video.exclusive),
        f1=hits / both if both else np.nan,
    )
