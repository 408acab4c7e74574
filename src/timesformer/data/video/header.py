"""What the header of a video says, held against what was decoded; no numpy, since the processes of a check import this.

Only contradictions count that no honest file has. A header may give the rate at which a camera should have delivered,
FFmpeg may have measured it on the first frames, and the last frame may stay longer than the others.
"""

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
"""An end that comes earlier than promised by both of these means that frames are missing."""
_MIN_EXCESS_S = 1.0
_MIN_EXCESS_FRACTION = 0.1
"""An end that comes later than promised by both of these contradicts the header."""
_MIN_FACTOR = 1.9
"""Rates that differ by this factor contradict each other."""
_NUM_PROBED = 20
"""Frames on which FFmpeg measures the rate of a header that says none."""


class Header(NamedTuple):
    """What a file says of its video before it is decoded."""

    num_frames: int
    """Frames; 0 where it does not say."""
    average_rate: Fraction | None
    guessed_rate: Fraction | None
    """FFmpeg's guess, which looks at the stream itself."""
    end_s: float | None
    """When the last picture ends, on the clock of the timestamps; None where it does not say."""

    @property
    def rate(self) -> Fraction:
        """Frames a second by the header, 25 where it does not say."""
        return self.average_rate or self.guessed_rate or Fraction(25)

    @property
    def num_expected(self) -> int:
        """Frames to expect, at least 1."""
        return self.num_frames or round((self.end_s or 0) * self.rate) or 1


class Decoded(NamedTuple):
    """What came of decoding all of a file."""

    times_s: Sequence[float]
    """Times of the frames in the order shown, in seconds; empty where they are not known."""
    num_frames: int
    num_hidden: int
    """Packets that an edit list hides."""
    num_damaged: int
    timing: FrameTiming

    @property
    def end_s(self) -> float | None:
        """When the last picture ends; None where the timestamps do not tell."""
        is_known = len(self.times_s) == 1 or (self.times_s and self.timing.basis == "timestamps")
        return max(self.times_s) + 1 / self.timing.fps if is_known else None

    @property
    def length_s(self) -> float | None:
        """Time from the first picture, or from 0 where it comes before, to the last; None as `end_s`."""
        return None if self.end_s is None else max(self.times_s) - max(min(self.times_s), 0.0)


def read_header(container: InputContainer, stream: VideoStream) -> Header:
    """What an open file says; nothing is decoded."""
    average, guessed = as_fraction(stream.average_rate), as_fraction(stream.guessed_rate)
    return Header(stream.frames, average, guessed, _end_s(container, stream))


def as_fraction(number: Rational | None) -> Fraction | None:
    """A time base or rate of PyAV, which since 19 has a kind of its own for them; None where it is not known or 0."""
    return Fraction(number) if number else None


def num_missing(header: Header, decoded: Decoded) -> int:
    """Frames that are promised, by number or else by duration, and did not come; 0 unless clearly fewer came.

    Frames that are listed and that an edit list skips, or that an AVI file stores as empty, are not missing: the others
    reach to the end.
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
    """What the header says and a decode of the whole file does not confirm, a clause each."""
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
    """Whether a rate is none of those that an honest header may have.

    Where a header lists frames, its rate is that of the list, which the timestamps come from, too.
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
    """When the last picture of a stream ends by what is said of that stream; None where nothing is."""
    # Matroska's tag first: FFmpeg may give a stream the duration of the whole file instead
    stated = stream.metadata.get("DURATION", "").split(":")
    with suppress(ValueError):  # a tag may say anything
        hours, minutes, seconds = map(float, stated)
        return 3600 * hours + 60 * minutes + seconds
    if stream.duration is None or stream.time_base is None:
        return None
    return float((stream.duration + (stream.start_time or 0)) * stream.time_base)


def _end_s(container: InputContainer, stream: VideoStream) -> float | None:
    stated = stated_end_s(stream)
    if stated is not None:
        return stated
    is_alone = len(container.streams) == 1  # sound may go on when the pictures have ended
    return container.duration / av.time_base if is_alone and container.duration else None
