"""Faults of segments: impossible, out of the video, too short, overlapping."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from timesformer.data.check.fingerprint import Fingerprint
from timesformer.data.check.listing import ListedVideo
from timesformer.data.manifest.background import merged
from timesformer.data.manifest.durations import FrameTimes, frame_times
from timesformer.data.video.segment import Segment, check_segment, seconds_text, span_text
from timesformer.errors import DataError, DecodeError

_TOLERANCE_S = 0.0015  # of an end that a tool took from the length of the file, rounded to milliseconds
_ALL = Segment(0.0, float("inf"))


class SegmentFault(NamedTuple):
    """A fault of one segment, or of two that overlap."""

    kind: str
    indices: tuple[int, ...]
    """Indices of the entries in the listing."""
    reason: str


def read_frame_times(
    videos: Iterable[ListedVideo], fingerprints: Mapping[Path, Fingerprint], *, allow_codecs: Collection[str]
) -> dict[Path, FrameTimes]:
    """Times of the frames of all readable videos with segments: a pass over each file, which decodes one frame."""
    paths = dict.fromkeys(video.path for video in videos if video.segment is not None)
    times = {}
    for path in paths:
        found = fingerprints.get(path)
        if found is None or found.error:
            continue
        with suppress(DecodeError):  # the file changed since it was decoded
            times[path] = frame_times(path, allow_codecs=allow_codecs)
    return times


def segment_faults(
    videos: Sequence[ListedVideo], times: Mapping[Path, FrameTimes], *, num_frames: int
) -> tuple[SegmentFault, ...]:
    """All faults of segments.

    Args:
        videos: The listing.
        times: Times of the frames of each readable video with segments.
        num_frames: Smallest accepted number of frames.
    """
    alone = [fault for index, video in enumerate(videos) for fault in _faults_of_one(index, video, times, num_frames)]
    impossible = {fault.indices[0] for fault in alone if fault.kind == "bad_segment"}
    by_path: dict[Path, list[int]] = defaultdict(list)
    for index, video in enumerate(videos):
        if index not in impossible and video.label is not None:
            by_path[video.path].append(index)
    overlaps = (
        fault
        for path, indices in by_path.items()
        if any(videos[index].segment is not None for index in indices)
        for fault in _overlaps(indices, videos, times.get(path))
    )
    return (*alone, *overlaps)


def _faults_of_one(
    index: int, video: ListedVideo, times: Mapping[Path, FrameTimes], num_frames: int
) -> Iterator[SegmentFault]:
    if video.segment is None:
        return
    found = times.get(video.path)
    try:
        segment = check_segment(*video.segment, where=video.where)
    except DataError as error:
        yield SegmentFault("bad_segment", (index,), str(error))
        return
    if found is None:
        return
    count, problem = len(segment.frames(found.starts)), _out_of_range(segment, found)
    if problem:
        yield SegmentFault("bad_segment", (index,), f"{video.where}: a segment from {span_text(segment)} {problem}")
    elif count < min(num_frames, len(found.starts)):  # a short video is a finding by itself
        reason = f"{video.where}: {count} frames from {span_text(segment)}, needed: at least {num_frames}"
        yield SegmentFault("too_short", (index,), reason)


def _out_of_range(segment: Segment, times: FrameTimes) -> str:
    if segment.start >= times.end:
        return f"starts after the end of the video, {seconds_text(times.end)} s"
    if not segment.frames(times.starts):
        return "has no frame of the video"
    if segment.end > times.end + _TOLERANCE_S:
        return f"goes on after the end of the video, {seconds_text(times.end)} s"
    return ""


def _overlaps(
    indices: Sequence[int], videos: Sequence[ListedVideo], times: FrameTimes | None
) -> Iterator[SegmentFault]:
    """Pairs of entries of one video that share a frame, or time if its frames are unknown; not equal ones."""
    for one, other in _touching(indices, videos):
        first, second = videos[one], videos[other]
        is_repeated = (first.segment, first.label) == (second.segment, second.label)
        if is_repeated or first.split != second.split or not _share_frames(first, second, times):
            continue
        kind = "overlapping_segment" if first.label == second.label else "conflicting_segment"
        yield SegmentFault(kind, (one, other), f"{_entry(first)} and {_entry(second)} overlap")


def _touching(indices: Sequence[int], videos: Sequence[ListedVideo]) -> Iterator[tuple[int, int]]:
    """Pairs of entries whose times overlap, by increasing start."""
    segments = {index: videos[index].segment or _ALL for index in indices}
    open_ones: list[int] = []
    for index in sorted(indices, key=lambda index: segments[index].start):
        open_ones = [other for other in open_ones if segments[other].end > segments[index].start]
        yield from ((other, index) for other in open_ones)
        open_ones.append(index)


def _share_frames(one: ListedVideo, other: ListedVideo, times: FrameTimes | None) -> bool:
    if times is None or one.segment is None or other.segment is None:
        return True
    first, second = (segment.frames(times.starts) for segment in (one.segment, other.segment))
    return max(first.start, second.start) < min(first.stop, second.stop)


def _entry(video: ListedVideo) -> str:
    shown = "the whole video" if video.segment is None else span_text(video.segment)
    return f"{video.where} ({video.given}, {shown})"


def labeled_seconds(videos: Sequence[ListedVideo], times: Mapping[Path, FrameTimes]) -> tuple[float, float]:
    """Labeled and unlabeled seconds of the videos with segments, of which only what lies in the video counts.

    Where segments overlap, a second counts once.
    """
    spans: dict[Path, list[Segment]] = defaultdict(list)
    for video in videos:
        if video.path in times and video.segment is not None and video.segment.start < video.segment.end:
            spans[video.path].append(video.segment)
    labeled = sum(
        max(0.0, min(part.end, times[path].end) - max(0.0, part.start))
        for path, own in spans.items()
        for part in merged(own)
    )
    return labeled, sum(times[path].end for path in spans) - labeled
