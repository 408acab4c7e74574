"""Segments: parts of a video, from one second to another, read in place."""

import math
from collections.abc import Iterable
from dataclasses import replace
from types import TracebackType
from typing import NamedTuple, SupportsIndex

import numpy as np
from jaxtyping import Float64, UInt8

from timesformer.data.video.file_reader import VideoInfo, VideoReader
from timesformer.data.video.frame_array import FrameArrayReader
from timesformer.data.video.frame_folder import FrameFolderReader
from timesformer.data.video.frame_numbers import checked_indices
from timesformer.errors import DataError

_ROUNDING_S = 0.000501
"""Largest error of a time rounded to milliseconds, with room for rounding of the difference."""


class Segment(NamedTuple):
    """A part of a video in seconds from its first frame; half-open: a frame shown at `end` is not in it."""

    start: float
    end: float

    def frames(self, times: Float64[np.ndarray, " n"]) -> range:
        """Numbers of the frames that are shown in the segment.

        A frame up to half a millisecond before an edge counts as shown at the edge, since most tools round to
        milliseconds: at 30 frames a second, frame 2 is shown at 66.67 ms, and written as 67 ms.

        Args:
            times: Presentation time of each frame of the video, in seconds from the first, never decreasing.
        """
        first, end = np.searchsorted(times, np.subtract(self, _ROUNDING_S), side="left").tolist()
        return range(first, end)


def segment_name(path: object, segment: Segment | None) -> str:
    """A video and its segment for messages: `clip.mp4, 1.5 to 3 s`; the path alone for a whole video."""
    return str(path) if segment is None else f"{path}, {span_text(segment)}"


def span_text(segment: Segment) -> str:
    """The times of a segment, to the millisecond: `1.5 to 3 s`."""
    return f"{seconds_text(segment.start)} to {seconds_text(segment.end)} s"


def seconds_text(seconds: float) -> str:
    """Seconds rounded to milliseconds, without zeros at the end."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".")


class SegmentReader:
    """Context manager that reads a segment as if it were a video by itself; frames are numbered from its first.

    Args:
        reader: Reader of the whole video; entered and left with this one.
        segment: The segment.
        path: The video, for messages.

    Raises:
        DataError: On entry: no frame of the video lies in the segment.
    """

    def __init__(
        self, reader: VideoReader | FrameFolderReader | FrameArrayReader, segment: Segment, *, path: object
    ) -> None:
        self._reader = reader
        self._segment = segment
        self._path = path

    def __enter__(self) -> "SegmentReader":
        self._reader.__enter__()
        try:
            self._frames = self._segment.frames(self._reader.times)
            if not self._frames:
                info = self._reader.info
                raise DataError(
                    f"{self._path}: no frame in the segment from {span_text(self._segment)}; the video has "
                    f"{info.num_frames} frames and ends at {info.duration_s:g} s"
                )
        except BaseException as error:
            self._reader.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)

    @property
    def info(self) -> VideoInfo:
        """Size, length and timing of the segment; the rate is that of the whole video."""
        whole = self._reader.info
        num_frames = len(self._frames)
        return replace(whole, num_frames=num_frames, duration_s=num_frames / whole.fps)

    @property
    def times(self) -> Float64[np.ndarray, " n"]:
        """Presentation time of each frame, in seconds from the first of the segment."""
        times = self._reader.times[self._frames.start : self._frames.stop]
        return times - times[0]

    def read(self, indices: Iterable[SupportsIndex]) -> UInt8[np.ndarray, "t h w 3"]:
        """The given frames of the segment, as `timesformer.data.video.reader.read_frames`."""
        wanted = np.minimum(checked_indices(indices), len(self._frames) - 1)
        return self._reader.read(wanted + self._frames.start)


def check_segment(start: float, end: float, *, where: str) -> Segment:
    """A segment of two times in seconds.

    Raises:
        DataError: A time is negative or not finite, or `end` is not after `start`; `where` says which one.
    """
    if not (math.isfinite(start) and math.isfinite(end)) or start < 0:
        raise DataError(f"{where}: a segment from {start:g} to {end:g} s: times are seconds from the start, 0 or more")
    if end <= start:
        raise DataError(f"{where}: a segment from {start:g} to {end:g} s: it must end after it starts")
    return Segment(start, end)
