"""How fast a video is by the times of its frames, and what is odd about these times: pure functions, no numpy.

The rate is that of the usual distance between frames. A *gap*, a distance of more than ten times the usual one, is left
out: a pause of a minute, or a first frame an hour before the others, does not change how fast things move in between.
Distances of that size that are more than a quarter of all are no gaps but a rate that varies, and count.
"""

import heapq
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal

MIN_FPS, MAX_FPS = 1, 240
"""Frames a second beyond which a rate is not plausible for a recording."""
MIN_GAP_S = 1.0
"""A gap of less than this many seconds is left out of the rate, but nothing worth telling."""
ASSUMED_FPS = 30.0
"""Taken where what is stated cannot be: the rate for which clips are usually specified, so frames count as they are."""

_GAP = 10
"""Times the usual distance. What a dropped frame, a phone in the dark or telecine make is 3 or less."""
_MAX_GAP_FRACTION = 0.25
_FFMPEG_FPS = 25.0
"""Taken by FFmpeg, too, where a stream has no rate at all."""
_MAX_REORDER = 16
"""Frames that a decoder holds back at most to bring them into the order in which they are shown."""
_MIN_REORDERED, _MAX_REORDERED = 0.1, 0.7
"""Shares of times that fall where frames are stored in another order than shown: 0.5 and less where others are kept."""

Basis = Literal["timestamps", "header", "assumption", "caller"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTiming:
    """The rate of a video, and what is odd about its times."""

    fps: float
    """Frames a second, greater than 0."""
    basis: Basis
    """Where `fps` comes from."""
    num_missing: int = 0
    """Frames without a timestamp, in a file where others have one."""
    num_equal: int = 0
    """Frames with the timestamp of the frame before."""
    num_falling: int = 0
    """Frames with a timestamp before that of the frame before."""
    gaps: tuple[tuple[int, float], ...] = ()
    """Frame before each gap, and the gap's length in seconds; only gaps of `MIN_GAP_S` or more."""
    stated_fps: float | None = None
    """A rate in the header that was not plausible, where it would have been needed."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is odd, a clause each; none for plausible times."""
        return tuple(filter(None, (self._order(), self._gaps(), self._rate())))

    @property
    def note(self) -> str:
        """What is odd, and what sampling does about it, in one line; empty for plausible times."""
        rate = fps_text(self.fps)
        done = {
            "timestamps": f"follow the usual rate of the timestamps, {rate}",
            "header": f"follow the rate in the header, {rate}",
            "assumption": f"follow an assumed rate of {rate}",
            "caller": f"follow the given rate, {rate}",
        }[self.basis]
        if not is_plausible(self.fps):
            done = "count frames, as if the video had the target rate of the clips"
        reasons = "; ".join(self.reasons)
        return reasons and f"{reasons}; dense clips {done}"

    def _order(self) -> str:
        counts = {"missing": self.num_missing, "equal": self.num_equal, "falling": self.num_falling}
        return ", ".join(f"{what} timestamps: {count}" for what, count in counts.items() if count)

    def _gaps(self) -> str:
        if not self.gaps:
            return ""
        frame, length_s = max(self.gaps, key=lambda gap: gap[1])
        longest = f"{length_s:.4g} s after frame {frame}"
        count = len(self.gaps)
        return f"a gap of {longest}" if count == 1 else f"{count} gaps, the longest {longest}"

    def _rate(self) -> str:
        fps = self.fps if self.stated_fps is None else self.stated_fps
        if self.basis == "header" or is_plausible(fps):
            return ""
        where = {"timestamps": "by the timestamps", "assumption": "in the header", "caller": "as given"}[self.basis]
        return f"{fps_text(fps)} {where}, {f'above {MAX_FPS}' if fps > MAX_FPS else f'below {MIN_FPS}'}"


def fps_text(fps: float) -> str:
    """A rate in words, of four digits or all before the point."""
    return f"{fps:.0f} frames a second" if fps >= 1000 else f"{fps:.4g} frames a second"


def is_plausible(fps: float) -> bool:
    """Whether a rate lies from `MIN_FPS` to `MAX_FPS`, with a hundredth to spare: phones meet 240 nearly."""
    return MIN_FPS / 1.01 <= fps <= MAX_FPS * 1.01


def frame_timing(
    times: Sequence[int | None], *, time_base: Fraction, average: Fraction | None, guessed: Fraction | None
) -> FrameTiming:
    """Measure the rate of a video, or find another where its times cannot give one.

    Times that rise from frame to frame give the rate, however odd it is. Where they do not (equal, falling or missing
    ones), they still do if it is plausible; otherwise the header does if that is plausible, otherwise it is 30.

    Args:
        times: When each frame is shown, in units of `time_base`, in the order of presentation; empty where the format
            does not say.
        time_base: Unit of the times, in seconds.
        average: Mean rate by the header. It is taken where only the rounding of times parts it from the measured one.
        guessed: FFmpeg's guess, which looks at the stream itself; it goes before `average` where times do not rise.
    """
    if len(times) == 1:
        return FrameTiming(fps=float(average or _FFMPEG_FPS), basis="header")  # no distance to judge
    known = [time for time in times if time is not None]
    distances = [after - before for before, after in pairwise(known)]
    faults = {
        "num_missing": len(times) - len(known) if known else 0,
        "num_equal": distances.count(0),
        "num_falling": sum(distance < 0 for distance in distances),
    }
    limit = _largest_usual(distances)
    gaps = _gaps(distances, limit=limit, time_base=time_base)
    measured = _measured_rate(distances, limit=limit, time_base=time_base, average=average)
    is_sure = bool(measured) and not any(faults.values())
    if is_sure or (faults["num_missing"] == 0 and is_plausible(measured)):
        return FrameTiming(fps=measured, basis="timestamps", gaps=gaps, **faults)
    rates = [float(rate) for rate in (guessed, average) if rate]
    plausible = list(filter(is_plausible, rates))
    if plausible or not rates:
        return FrameTiming(fps=[*plausible, _FFMPEG_FPS][0], basis="header", gaps=gaps, **faults)
    return FrameTiming(fps=ASSUMED_FPS, basis="assumption", gaps=gaps, stated_fps=float(average or rates[0]), **faults)


def presentation_order(times: Sequence[int]) -> list[int]:
    """Bring times of frames in the order of decoding into that of presentation, as far as a decoder would.

    Where times seldom fall, or mostly, no decoder moves frames, and they are taken as they are. Others are moved by as
    much as a decoder may hold back; those that fall by more stay falling.
    """
    num_falling = sum(after < before for before, after in pairwise(times))
    if not _MIN_REORDERED * len(times) <= num_falling <= _MAX_REORDERED * len(times):
        return list(times)
    shown: list[int] = []
    held: list[int] = []
    for time in times:
        if len(held) < _MAX_REORDER:
            heapq.heappush(held, time)
        else:
            shown.append(heapq.heappushpop(held, time))
    return shown + sorted(held)


def _largest_usual(distances: Sequence[int]) -> int:
    """Distance beyond which a distance is a gap; the median is the lower one of two, so that one of two can be."""
    rising = sorted(distance for distance in distances if distance > 0)
    if not rising:
        return 0
    limit = _GAP * rising[(len(rising) - 1) // 2]
    num_gaps = len(rising) - bisect_right(rising, limit)
    return limit if num_gaps <= max(1, _MAX_GAP_FRACTION * len(rising)) else rising[-1]


def _gaps(distances: Sequence[int], *, limit: int, time_base: Fraction) -> tuple[tuple[int, float], ...]:
    found = ((frame, float(distance * time_base)) for frame, distance in enumerate(distances) if distance > limit)
    return tuple((frame, length_s) for frame, length_s in found if length_s >= MIN_GAP_S)


def _measured_rate(distances: Sequence[int], *, limit: int, time_base: Fraction, average: Fraction | None) -> float:
    """Frames over time, without what falls and without gaps; 0 where no time passes."""
    kept = [distance for distance in distances if 0 <= distance <= limit]
    span_s = sum(kept) * time_base
    if span_s == 0:
        return 0.0
    num_runs = len(distances) - len(kept) + 1
    if average and abs(len(kept) / average - span_s) <= 2 * num_runs * time_base:
        return float(average)
    return float(len(kept) / span_s)
