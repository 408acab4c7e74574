"""Times of segments in whole milliseconds, for formats that have no finer unit."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from timesformer.timelines.timeline import LabeledSegment


class Cue(NamedTuple):
    """A label from one millisecond to another, half-open."""

    start: int
    end: int
    segment: LabeledSegment


def to_milliseconds(segments: Sequence[LabeledSegment]) -> list[Cue]:
    """Round the times of segments: at least one millisecond long, and apart if they were apart.

    A segment moves by more than half a millisecond only if it or the one before it is shorter than that.
    """
    cues: list[Cue] = []
    for segment in segments:
        start = round(segment.start * 1000)
        if cues and cues[-1].segment.end <= segment.start:
            start = max(start, cues[-1].end)
        cues.append(Cue(start, max(round(segment.end * 1000), start + 1), segment))
    return cues


def are_overlapping(segments: Sequence[LabeledSegment]) -> bool:
    """Whether two segments share an instant."""
    ordered = sorted(segments, key=lambda segment: (segment.start, segment.end))
    return any(after.start < before.end for before, after in pairwise(ordered))
