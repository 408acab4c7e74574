"""Numbers and times of frames in the order in which a decoder returns them, without an index of the whole file.

For a file whose timestamps increase they equal those of `timesformer.data.video.file_reader.VideoReader`, which has
seen all packets before the first frame. If a clock is set back, as in joined recordings, time goes on at the usual
interval instead.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from statistics import median

from timesformer.data.video.feed import FrameGap
from timesformer.data.video.timing import MIN_GAP_S

_GAP = 10
"""In usual intervals, as in `timesformer.data.video.timing`."""
_NUM_INTERVALS = 64
"""Intervals whose median is the usual one."""


@dataclass(slots=True)
class _Run:
    """Timestamps of packets whose frames have not come yet, up to a reset of the clock."""

    pending: list[int] = field(default_factory=list)
    """A heap."""
    known: set[int] = field(default_factory=set)

    def add(self, pts: int) -> None:
        if pts not in self.known:
            heapq.heappush(self.pending, pts)
            self.known.add(pts)

    def pop(self) -> int:
        pts = heapq.heappop(self.pending)
        self.known.remove(pts)
        return pts


class FrameClock:
    """Numbers and times of frames.

    Args:
        time_base: Unit of the timestamps, in seconds.
        usual_s: Frame interval until some are known, in seconds.
    """

    def __init__(self, *, time_base: Fraction, usual_s: float) -> None:
        self._base = time_base
        self._runs = deque([_Run()])
        self._last_dts: int | None = None
        self._origin: int | None = None
        self._offset_s = 0.0
        self._intervals: deque[float] = deque(maxlen=_NUM_INTERVALS)
        self._stated_s = usual_s
        self.number = -1
        """Number of the last frame."""
        self.time = 0.0
        """Its time, in seconds from the first."""

    @property
    def usual_s(self) -> float:
        """The usual frame interval so far, in seconds."""
        return median(self._intervals) if self._intervals else self._stated_s

    def add_packet(self, pts: int | None, dts: int | None) -> None:
        """Note a packet whose frame is shown."""
        if dts is not None:
            if self._last_dts is not None and dts < self._last_dts:
                self._runs.append(_Run())
            self._last_dts = dts
        if pts is not None:
            self._runs[-1].add(pts)

    def take(self, pts: int | None) -> Iterator[FrameGap]:
        """Advance to the next decoded frame; `number` and `time` are then its own.

        Yields:
            The gap before it, if frames are missing or none came for a while.
        """
        before, is_first = self.time, self.number < 0
        lost_s = self._advance(pts)
        if lost_s:
            yield FrameGap(lost_s[0], self.time, f"frames that cannot be decoded: {len(lost_s)}")
        interval = self.time - before
        if not is_first and not lost_s:
            if interval >= max(MIN_GAP_S, _GAP * self.usual_s):
                yield FrameGap(before + self.usual_s, self.time, f"no frame for {interval:.4g} s")
            else:
                self._intervals.append(interval)

    def finish(self) -> Iterator[FrameGap]:
        """The gap at the end, if the last frames cannot be decoded; `number` and `time` are then those of the last."""
        rest = [self._runs[-1].pop() for _ in range(len(self._runs[-1].pending))]
        times = [time for pts in rest if (time := self._time_of(pts)) > self.time]
        if times:
            self.number += len(times)
            self.time = times[-1]
            yield FrameGap(times[0], self.time + self.usual_s, f"frames that cannot be decoded: {len(times)}")

    def knows(self, pts: int | None) -> bool:
        """Whether a frame is one of the packets; False for one that an edit list cuts."""
        return pts is None or any(pts in run.known for run in self._runs)

    def _advance(self, pts: int | None) -> list[float]:
        """Number and time of the next frame; the times of the lost ones before it."""
        lost: list[int] = []
        if pts is not None:
            while pts not in self._runs[0].known:
                self._runs.popleft()
                self._origin = None
            while (first := self._runs[0].pop()) != pts:
                lost.append(first)
            if self._origin is None:
                self._set_origin(lost[0] if lost else pts)
        lost_s = [self._time_of(each) for each in lost]
        self.number += 1 + len(lost)
        time = self._time_of(pts) if pts is not None else self.time + self.usual_s
        if self.number > 0 and time <= self.time:
            self._offset_s += self.time + self.usual_s - time
            time = self.time + self.usual_s
        self.time = time
        return lost_s

    def _set_origin(self, pts: int) -> None:
        self._origin = pts
        self._offset_s = 0.0 if self.number < 0 else self.time + self.usual_s

    def _time_of(self, pts: int) -> float:
        assert self._origin is not None
        return (pts - self._origin) * self._base.numerator / self._base.denominator + self._offset_s
