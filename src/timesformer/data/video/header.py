"""Header of a video compared with the decoded frames; no numpy, because the workers of a data check import this.

Only contradictions that no honest file has are reported. A header may give the nominal rate of the camera, FFmpeg may
have measured the rate on the first frames, and the last frame may last longer than the others.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from numbers import Rational
from typing import NamedTuple

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from timesformer.data.video.timing import FrameTiming, fps_text

_MIN_GAP_S = 0.25
_MIN_GAP_FRACTION = 0.05
"""Frames are missing if the video ends earlier than stated by more than both of these."""
_MIN_EXCESS_S = 1.0
_MIN_EXCESS_FRACTION = 0.1
"""The header is wrong if the video ends later than stated by more than both of these."""
_MIN_FACTOR = 1.9
"""Rates that differ by this factor contradict each other."""
_NUM_PROBED = 20
"""Frames on which FFmpeg measures the rate if the header has none."""


class Header(NamedTuple):
    """Length and rate of a video as stated by its file."""

    num_frames: int
    """Number of frames; 0 if not stated."""
    average_rate: Fraction | None
    guessed_rate: Fraction | None
    """FFmpeg's guess from the stream itself."""
    end_s: float | None
    """End of the last frame, on the clock of the timestamps; None if not stated."""

    @property
    def rate(self) -> Fraction:
        """Stated frames a second; 25 if not stated."""
        return self.average_rate or self.guessed_rate or Fraction(25)

    @property
    def num_expected(self) -> int:
        """Expected number of frames, at least 1."""
        return max(1, self.num_frames or round((self.end_s or 0) * self.rate))


class Decoded(NamedTuple):
    """Result of decoding a whole file."""

    times_s: Sequence[float]
    """Presentation times of the frames, in seconds; empty if unknown."""
    num_frames: int
    num_hidden: int
    """Packets hidden by an edit list."""
    num_damaged: int
    timing: FrameTiming

    @property
    def end_s(self) -> float | None:
        """End of the last frame; None if the timestamps do not give it."""
        is_known = len(self.times_s) == 1 or (self.times_s and self.timing.basis == "timestamps")
        return max(self.times_s) + 1 / self.timing.fps if is_known else None

    @property
    def length_s(self) -> float | None:
        """Time from the first frame, or from 0 if that is later, to the last; None if `end_s` is."""
        return None if self.end_s is None else max(self.times_s) - max(min(self.times_s), 0.0)


def read_header(container: InputContainer, stream: VideoStream) -> Header:
    """Header of an open file; nothing is decoded."""
    average, guessed = as_fraction(stream.average_rate), as_fraction(stream.guessed_rate)
    return Header(stream.frames, average, guessed, _end_s(container, stream))


def as_fraction(number: Rational | None) -> Fraction | None:
    """Convert a time base or rate of PyAV, which has its own type for them since 19; None if unknown or 0."""
    return Fraction(number) if number else None


def num_missing(header: Header, decoded: Decoded) -> int:
    """Frames stated by number, or else by duration, that were not decoded; 0 unless clearly fewer were.

    Frames that an edit list skips, or that an AVI file stores as empty, are not missing: the others last to the end.
    """
    fps = decoded.timing.fps
    gap_s = None if header.end_s is None or decoded.end_s is None else header.end_s - decoded.end_s
    if header.num_frames:
        missing = header.num_frames - decoded.num_hidden - decoded.num_frames
        is_skipped = gap_s is not None and decoded.num_damaged == 0 and gap_s < missing / fps / 2
        return missing if missing > max(1, _MIN_GAP_FRACTION * header.num_frames) and not is_skipped else 0
    if header.end_s is None or gap_s is None:
        return 0
    is_clear = gap_s > max(_MIN_GAP_S, _MIN_GAP_FRACTION * header.end_s, 3 / fps)
    return round(gap_s * fps) if is_clear else 0


def contradictions(header: Header, decoded: Decoded) -> Iterator[str]:
    """Statements of the header that a decode of the whole file contradicts, one clause each."""
    excess = decoded.num_frames - (header.num_frames - decoded.num_hidden)
    if header.num_frames and excess > max(1, _MIN_GAP_FRACTION * header.num_frames):
        yield f"the header says {header.num_frames} frames, {decoded.num_frames} were decoded"
    if header.end_s is not None and decoded.length_s is not None:
        excess_s = decoded.length_s - header.end_s
        if excess_s > max(_MIN_EXCESS_S, _MIN_EXCESS_FRACTION * header.end_s):
            yield f"the header says {header.end_s:.4g} s, the frames last {decoded.length_s:.4g} s"
    if header.average_rate and _has_another_rate(float(header.average_rate), header, decoded):
        yield f"the header says {fps_text(float(header.average_rate))}, not {decoded.timing.fps:.4g}"


def _has_another_rate(stated: float, header: Header, decoded: Decoded) -> bool:
    """True if no honest header could state this rate.

    If a header lists frames, its rate is that of the list, from which the timestamps are made, too.
    """
    basis = decoded.timing.basis
    if len(decoded.times_s) < 2 or basis == "assumption" or (header.num_frames and basis == "timestamps"):
        return False
    rates = [decoded.timing.fps, *(_mean_rate(times) for times in (decoded.times_s, decoded.times_s[:_NUM_PROBED]))]
    return all(max(stated, rate) >= _MIN_FACTOR * min(stated, rate) for rate in rates if rate > 0)


def _mean_rate(times_s: Sequence[float]) -> float:
    span_s = max(times_s) - min(times_s) if times_s else 0.0
    return (len(times_s) - 1) / span_s if span_s else 0.0


def stated_end_s(stream: VideoStream) -> float | None:
    """Stated end of the last frame of a stream; None if not stated."""
    # Matroska's tag comes first: FFmpeg may give a stream the duration of the whole file instead
    stated = stream.metadata.get("DURATION", "").split(":")
    with suppress(ValueError):  # a tag may hold any text
        hours, minutes, seconds = map(float, stated)
        end_s = 3600 * hours + 60 * minutes + seconds
        if math.isfinite(end_s):
            return end_s
    if stream.duration is None or stream.time_base is None:
        return None
    return float((stream.duration + (stream.start_time or 0)) * stream.time_base)


def _end_s(container: InputContainer, stream: VideoStream) -> float | None:
    stated = stated_end_s(stream)
    if stated is not None:
        return stated
    is_alone = len(container.streams) == 1  # sound may last longer than the frames
    return container.duration / av.time_base if is_alone and container.duration else None
