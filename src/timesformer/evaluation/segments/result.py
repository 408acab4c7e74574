"""Result of an evaluation on segments, as JSON and as text."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from timesformer.config.thresholds import Thresholds
from timesformer.evaluation.intervals import format_interval
from timesformer.evaluation.result import Skipped
from timesformer.evaluation.segments.metrics import Events


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A number and its 95 % interval over whole videos; nan where there is nothing to measure."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def to_dict(self) -> dict[str, float | None]:
        """Value and interval for JSON, None for nan."""
        return {name: _or_none(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassResult:
    """Measures of one class; `f1` and `ap` are fractions, nan for a class without true segments."""

    name: str
    support: int
    """Number of true segments."""
    f1: float
    """F1 at an overlap of 0.5, of the labels at each instant."""
    ap: float
    """Average precision, mean over all overlaps."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoTimeline:
    """Truth and prediction of one video, and its measures."""

    path: str
    duration: float
    """Length in seconds."""
    truth: Events
    predicted: Events
    """The label at each instant, as segments."""
    frame_accuracy: float
    edit: float
    f1: float
    """F1 at an overlap of 0.5; nan without true and predicted segments."""
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentEvaluation:
    """How well the timelines of a model agree with annotated segments. Accuracies are fractions, 0 to 1.

    Frame accuracy, Edit, F1 and the boundary errors are of the timeline with one label at an instant; `mean_ap` and
    `f1_overlapping` of the segments that the thresholds detect for each class.
    """

    frame_accuracy: Measure
    """Fraction of all frames with a correct label; background is a label."""
    frame_accuracy_inside: Measure
    """The same over the frames inside true segments."""
    edit: Measure
    """Similarity of the sequences of labels, mean over videos."""
    f1: Mapping[int, Measure]
    """F1 of segments that overlap the truth by 10, 25 and 50 %."""
    boundary_median: Measure
    """Median distance of predicted starts and ends to the true ones, in seconds, over matched segments."""
    boundary_mean: Measure
    """Mean of predicted minus true starts and ends, in seconds: negative is early."""
    num_matched: int
    """Segments that overlap the truth by 50 %, whose boundaries were compared."""
    mean_ap: Measure
    """Mean average precision over classes and overlaps of 0.5 to 0.95."""
    ap: Mapping[float, float]
    """Mean average precision at each overlap."""
    f1_overlapping: Mapping[int, Measure]
    """F1 of the detected segments."""
    classes: tuple[ClassResult, ...]
    videos: tuple[VideoTimeline, ...]
    num_segments: int
    """True segments."""
    num_groups: int
    """What is resampled: the groups of the videos, or the videos if none has a group."""
    has_groups: bool
    window: float
    """Length of a window in seconds."""
    stride: float
    """Distance between windows in seconds."""
    thresholds: Thresholds
    skipped: tuple[Skipped, ...] = field(default=())

    @property
    def num_videos(self) -> int:
        """Number of videos that could be decoded."""
        return len(self.videos)

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as plain values for JSON."""
        names = ("frame_accuracy", "frame_accuracy_inside", "edit", "boundary_median", "boundary_mean", "mean_ap")
        return {
            **{name: getattr(self, name).to_dict() for name in names},
            "f1": {str(overlap): measure.to_dict() for overlap, measure in self.f1.items()},
            "f1_overlapping": {str(overlap): measure.to_dict() for overlap, measure in self.f1_overlapping.items()},
            "ap": {f"{tiou:g}": _or_none(value) for tiou, value in self.ap.items()},
            "matched": self.num_matched,
            "segments": self.num_segments,
            "num_videos": self.num_videos,
            "groups": self.num_groups if self.has_groups else 0,
            "window": self.window,
            "stride": self.stride,
            "thresholds": self.thresholds.to_dict(),
            "skipped": [asdict(video) for video in self.skipped],
            "classes": [
                {**asdict(found), "f1": _or_none(found.f1), "ap": _or_none(found.ap)} for found in self.classes
            ],
            "videos": [self._video(video) for video in self.videos],
        }

    def _video(self, video: VideoTimeline) -> dict[str, Any]:
        def segments(events: Events) -> list[dict[str, Any]]:
            return [
                {"label": self.classes[label].name, "start": start, "end": end}
                for start, end, label, _ in events.rows()
            ]

        return {
            "path": video.path,
            "group": video.group,
            "duration": video.duration,
            "frame_accuracy": _or_none(video.frame_accuracy),
            "edit": video.edit,
            "f1": _or_none(video.f1),
            "truth": segments(video.truth),
            "predicted": segments(video.predicted),
        }

    def to_text(self) -> str:
        """The measures as a table."""
        rows = [
            ("frame accuracy", _percent(self.frame_accuracy)),
            ("  inside segments", _percent(self.frame_accuracy_inside)),
            ("Edit", _percent(self.edit)),
            *((f"F1@{overlap}", _percent(measure)) for overlap, measure in self.f1.items()),
            ("boundaries", f"{_seconds(self.boundary_median)} median distance, {self.num_matched} segments matched"),
            ("", f"{_seconds(self.boundary_mean, sign='+')} mean, negative is early"),
            ("mAP 0.5 to 0.95", _percent(self.mean_ap)),
            ("  at 0.5", f"{self.ap[0.5]:.1%}"),
            *((f"F1@{overlap} by class", _percent(measure)) for overlap, measure in self.f1_overlapping.items()),
            ("videos", self._count()),
            ("protocol", f"windows of {self.window:g} s every {self.stride:g} s"),
        ]
        return "\n".join(f"{name:<19}{text}" for name, text in rows)

    def _count(self) -> str:
        skipped = f" ({len(self.skipped)} skipped)" if self.skipped else ""
        over = f"; intervals over {f'{self.num_groups} groups' if self.has_groups else 'videos'}"
        return f"{self.num_videos}{skipped} with {self.num_segments} segments{over if self.num_groups > 1 else ''}"


def _percent(measure: Measure) -> str:
    if math.isnan(measure.value):
        return "-"
    interval = "" if math.isnan(measure.low) else f"  95 % interval {format_interval(measure.low, measure.high)}"
    return f"{measure.value:.1%}{interval}"


def _seconds(measure: Measure, *, sign: str = "") -> str:
    if math.isnan(measure.value):
        return "-"
    interval = "" if math.isnan(measure.low) else f" ({measure.low:{sign}.2f} to {measure.high:{sign}.2f})"
    return f"{measure.value:{sign}.2f} s{interval}"


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
