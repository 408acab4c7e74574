"""Frame rate from the timestamps of a video, and faults of these timestamps: pure functions, no numpy.

The rate is that of the usual frame interval. A *gap*, an interval of more than ten times the usual one, is left out: a
pause of a minute, or a first frame an hour before the others, does not change how fast things move in between. If more
than a quarter of all intervals are that long, they are not gaps but a variable rate, and count.
"""

import heapq
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

MIN_FPS, MAX_FPS = 1, 240
"""Range of plausible rates of a recording, in frames a second."""
MIN_GAP_S = 1.0
"""Shorter gaps, in seconds, are left out of the rate without being reported."""
ASSUMED_FPS = 30.0
"""Used if no plausible rate is stated: clips are usually specified for this rate, so that frames are simply counted."""

_GAP = 10
"""In usual intervals. Dropped frames, phones in the dark and telecine make 3 or less."""
_MAX_GAP_FRACTION = 0.25
_FFMPEG_FPS = 25.0
"""FFmpeg's own default for a stream without any rate."""
_MAX_REORDER = 16
"""Most frames that a decoder holds back to bring them into presentation order."""
_MIN_REORDERED, _MAX_REORDERED = 0.1, 0.7
"""Range of the fraction of decreasing timestamps in decoding order; the usual patterns of B-frames give 0.5 or less."""

Basis = Literal["timestamps", "header", "assumption", "caller"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTiming:
    """Frame rate of a video, and faults of its timestamps."""

    fps: float
    """Frames a second, greater than 0."""
    basis: Basis
    """Source of `fps`."""
    num_missing: int = 0
    """Frames without a timestamp, if others have one."""
    num_equal: int = 0
    """Frames with the same timestamp as the frame before."""
    num_decreasing: int = 0
    """Frames with an earlier timestamp than the frame before."""
    gaps: tuple[tuple[int, float], ...] = ()
    """Frame before each gap, and length of the gap in seconds; only gaps of at least `MIN_GAP_S`."""
    stated_fps: float | None = None
    """Implausible rate in the header, if it was needed."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Faults of the timestamps, one clause each; none if they are plausible."""
        return tuple(filter(None, (self._faults_text(), self._gaps_text(), self._rate_text())))

    @property
    def note(self) -> str:
        """Faults and which rate sampling follows instead, in one line; empty if the timestamps are plausible."""
        rate = fps_text(self.fps)
        remedy = {
            "timestamps": f"follow the usual rate of the timestamps, {rate}",
            "header": f"follow the rate in the header, {rate}",
            "assumption": f"follow an assumed rate of {rate}",
            "caller": f"follow the given rate, {rate}",
        }[self.basis]
        if not is_plausible(self.fps):
            remedy = "count frames, as if the video had the target rate of the clips"
        reasons = "; ".join(self.reasons)
        return reasons and f"{reasons}; dense clips {remedy}"

    def _faults_text(self) -> str:
        counts = {"missing": self.num_missing, "equal": self.num_equal, "decreasing": self.num_decreasing}
        return ", ".join(f"{fault} timestamps: {count}" for fault, count in counts.items() if count)

    def _gaps_text(self) -> str:
        if not self.gaps:
            return ""
        frame, length_s = max(self.gaps, key=lambda gap: gap[1])
        longest = f"{length_s:.4g} s after frame {frame}"
        count = len(self.gaps)
        return f"a gap of {longest}" if count == 1 else f"{count} gaps, the longest {longest}"

    def _rate_text(self) -> str:
        fps = self.fps if self.stated_fps is None else self.stated_fps
        if self.basis == "header" or is_plausible(fps):
            return ""
        source = {"timestamps": "by the timestamps", "assumption": "in the header", "caller": "as given"}[self.basis]
        return f"{fps_text(fps)} {source}, {f'above {MAX_FPS}' if fps > MAX_FPS else f'below {MIN_FPS}'}"


def fps_text(fps: float) -> str:
    """A rate for messages, with four significant digits or all before the decimal point."""
    return f"{fps:.0f} frames a second" if fps >= 1000 else f"{fps:.4g} frames a second"


def is_plausible(fps: float) -> bool:
    """True for a rate from `MIN_FPS` to `MAX_FPS`, with 1 % tolerance: phones miss 240 narrowly."""
    return MIN_FPS / 1.01 <= fps <= MAX_FPS * 1.01


def frame_timing(
    times: Sequence[int | None], *, time_base: Fraction, average: Fraction | None, guessed: Fraction | None
) -> FrameTiming:
    """Measure the rate of a video, or choose another if its timestamps do not give one.

    Strictly increasing timestamps give the rate, however implausible. If some are equal, decreasing or missing, the
    measured rate is used if it is plausible, else that of the header if it is plausible, else 30.

    Args:
        times: Presentation time of each frame, in units of `time_base`, in presentation order; empty if the format does
            not store it.
        time_base: Unit of the times, in seconds.
        average: Mean rate from the header. It replaces a measured rate that differs from it by rounding only.
        guessed: FFmpeg's guess from the stream itself; preferred to `average` if the timestamps give no rate.
    """
    if len(times) == 1:
        return FrameTiming(fps=float(average or _FFMPEG_FPS), basis="header")  # no interval to measure
    known = [time for time in times if time is not None]
    intervals = [after - before for before, after in pairwise(known)]
    faults = {
        "num_missing": len(times) - len(known) if known else 0,
        "num_equal": intervals.count(0),
        "num_decreasing": sum(interval < 0 for interval in intervals),
    }
    limit = _largest_usual(intervals)
    gaps = _gaps(intervals, limit=limit, time_base=time_base)
    measured = _measured_rate(intervals, limit=limit, time_base=time_base, average=average)
    is_exact = bool(measured) and not any(faults.values())
    if is_exact or (faults["num_missing"] == 0 and is_plausible(measured)):
        return FrameTiming(fps=measured, basis="timestamps", gaps=gaps, **faults)
    rates = [float(rate) for rate in (guessed, average) if rate]
    plausible = list(filter(is_plausible, rates))
    if plausible or not rates:
        return FrameTiming(fps=[*plausible, _FFMPEG_FPS][0], basis="header", gaps=gaps, **faults)
    return FrameTiming(fps=ASSUMED_FPS, basis="assumption", gaps=gaps, stated_fps=float(average or rates[0]), **faults)


def presentation_order(times: Sequence[int]) -> list[int]:
    """Reorder timestamps from decoding order to presentation order, as far as a decoder would.

    If few of them decrease, or most, no frames are reordered and they are returned unchanged. Otherwise they move by as
    much as a decoder may hold back; decreases beyond that remain.
    """
    num_decreasing = sum(after < before for before, after in pairwise(times))
    if not _MIN_REORDERED * len(times) <= num_decreasing <= _MAX_REORDERED * len(times):
        return list(times)
    shown: list[int] = []
    held: list[int] = []
    for time in times:
        if len(held) < _MAX_REORDER:
            heapq.heappush(held, time)
        else:
            shown.append(heapq.heappushpop(held, time))
    return shown + sorted(held)


def _largest_usual(intervals: Sequence[int]) -> int:
    """Longest interval that is not a gap. The median is the lower middle one, so that one of two can be a gap."""
    positive = sorted(interval for interval in intervals if interval > 0)
    if not positive:
        return 0
    limit = _GAP * positive[(len(positive) - 1) // 2]
    num_gaps = len(positive) - bisect_right(positive, limit)
    return limit if num_gaps <= max(1, _MAX_GAP_FRACTION * len(positive)) else positive[-1]


def _gaps(intervals: Sequence[int], *, limit: int, time_base: Fraction) -> tuple[tuple[int, float], ...]:
    found = ((frame, float(interval * time_base)) for frame, interval in enumerate(intervals) if interval > limit)
    return tuple((frame, length_s) for frame, length_s in found if length_s >= MIN_GAP_S)


def _measured_rate(intervals: Sequence[int], *, limit: int, time_base: Fraction, average: Fraction | None) -> float:
    """Frames over time, without decreases and gaps; 0 if no time passes."""
    kept = [interval for interval in intervals if 0 <= interval <= limit]
    span_s = sum(kept) * time_base
    if span_s == 0:
        return 0.0
    num_runs = len(intervals) - len(kept) + 1
    if average and abs(len(kept) / average - span_s) <= 2 * num_runs * time_base:
        return float(average)
    return float(len(kept) / span_s)
