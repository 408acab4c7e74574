"""The true segments of each video of a manifest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from timesformer.data.manifest.background import BACKGROUND
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.errors import DataError
from timesformer.evaluation.segments.metrics import Events


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnnotatedVideo:
    """A video and its true segments; those of the class `background` are left out, as time without a label is."""

    path: Path
    group: str
    truth: Events


def annotated_videos(manifest: Manifest) -> list[AnnotatedVideo]:
    """Videos of a manifest in order of appearance, each once, with all its segments.

    A sample without a segment labels the whole video.

    Raises:
        DataError: The samples of a video are in several groups.
    """
    by_path: dict[Path, list[Sample]] = {}
    for sample in manifest.samples:
        by_path.setdefault(sample.path, []).append(sample)
    return [_annotated(path, samples, manifest.class_names) for path, samples in by_path.items()]


def _annotated(path: Path, samples: Sequence[Sample], class_names: Sequence[str]) -> AnnotatedVideo:
    groups = {sample.group for sample in samples}
    if len(groups) > 1:
        names = ", ".join(sorted(map(repr, groups)))
        raise DataError(f"{path}: its segments are in the groups {names}: a video is in one group")
    rows = [
        (*(sample.segment or (0.0, math.inf)), sample.label, 1.0)
        for sample in samples
        if class_names[sample.label] != BACKGROUND
    ]
    return AnnotatedVideo(path=path, group=groups.pop(), truth=Events.of(rows))


def within(events: Events, *, duration: float, path: Path) -> Events:
    """Segments with their ends limited to the length of the video.

    Raises:
        DataError: A segment starts after the end of the video.
    """
    late = np.flatnonzero(events.start >= duration)
    if len(late):
        raise DataError(f"{path}: a segment starts at {events.start[late[0]]:g} s; the video ends at {duration:g} s")
    return Events(start=events.start, end=np.minimum(events.end, duration), label=events.label, score=events.score)
