"""Findings of a check: their kinds, and what each says."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timesformer.data.check.listing import ListedVideo
from timesformer.data.check.segments import SegmentFault
from timesformer.data.video.segment import Segment

KINDS = {
    "missing": ("error", "the file does not exist"),
    "unreadable": ("error", "no frame can be decoded"),
    "truncated": ("error", "frames are missing or damaged"),
    "too_short": ("error", "fewer frames than the model needs"),
    "bad_label": ("error", "the label is not a training class"),
    "bad_segment": ("error", "a segment that is empty, reversed or not in the video"),
    "conflicting_label": ("error", "the same video under several classes"),
    "conflicting_segment": ("error", "overlapping segments of several classes"),
    "conflicting_group": ("error", "the same video in several groups"),
    "leak": ("error", "the same video in training and validation"),
    "group_leak": ("error", "one group in training and validation"),
    "empty_class": ("error", "a class without a training video"),
    "duplicate": ("warning", "files with the same bytes"),
    "near_duplicate": ("warning", "files that show the same video"),
    "overlapping_segment": ("warning", "overlapping segments of one class"),
    "timing": ("warning", "implausible timestamps or frame rate"),
    "similar_classes": ("warning", "classes whose names look alike"),
    "placeholder_label": ("warning", "a class name that stands for a missing value"),
    "imbalance": ("warning", "one class is more than 10 times as large as another"),
    "passed_over": ("warning", "possible videos that are not read"),
}
"""Severity, `error` or `warning`, and meaning of each kind of finding."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem of a data set."""

    kind: str
    """One of `KINDS`."""
    files: tuple[Path, ...]
    """Files of the finding, training before validation; empty for findings about classes."""
    reason: str
    """The finding in one line."""
    segments: tuple[tuple[Path, Segment | None], ...] = ()
    """Video and times of each entry of a finding about segments, as listed; None for a whole video."""

    @property
    def severity(self) -> str:
        """`error` or `warning`."""
        return KINDS[self.kind][0]

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON-compatible values; a time that is not a number is None."""
        segments = [
            {"path": str(path), **dict(zip(("start", "end"), _finite(segment), strict=True))}
            for path, segment in self.segments
        ]
        return {
            "kind": self.kind,
            "severity": self.severity,
            "files": list(map(str, self.files)),
            "reason": self.reason,
            **({"segments": segments} if segments else {}),
        }


def about_segments(fault: SegmentFault, videos: Sequence[ListedVideo]) -> Finding:
    """The finding of a fault of segments."""
    entries = [videos[index] for index in fault.indices]
    files = tuple(dict.fromkeys(video.path for video in entries))
    return Finding(fault.kind, files, fault.reason, tuple((video.path, video.segment) for video in entries))


def _finite(segment: Segment | None) -> list[float | None]:
    return [time if time is not None and math.isfinite(time) else None for time in segment or (None, None)]
