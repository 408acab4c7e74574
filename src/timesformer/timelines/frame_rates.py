"""The frame rate around each frame of a feed, and the pieces into which gaps cut it."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from timesformer.data.video.feed import Clock, FrameGap, TimedFrame
from timesformer.data.video.timing import MIN_GAP_S, frame_timing
from timesformer.timelines.timeline import Gap

_NUM_FRAMES = 64
"""Frames over which the rate is measured."""
_NUM_AHEAD = 16
"""Frames that are read before the first one of a piece is passed on, so that a rate is known; also the number of frames
after which the rate is measured again."""


class Rated(NamedTuple):
    """A frame and the rate around it, in frames a second."""

    frame: TimedFrame
    rate: float


def cuts(gap: FrameGap | Gap) -> bool:
    """Whether a gap is long enough to cut a timeline; a few lost frames are not."""
    return gap.end - gap.start >= MIN_GAP_S


def with_rates(items: Iterable[TimedFrame | FrameGap], *, clock: Clock) -> Iterator[Rated | FrameGap]:
    """The same items, each frame with the rate of the last 64 frames since the last gap that cuts the timeline.

    Args:
        items: Frames and gaps of a feed.
        clock: Unit of its timestamps and the rate in its header, which replaces a measured one that differs from it by
            rounding only.
    """
    meter = _Meter(clock)
    for item in items:
        if isinstance(item, TimedFrame):
            yield from meter.add(item)
        elif cuts(item):
            yield from meter.flush()
            yield item
            meter = _Meter(clock)
        else:
            yield item
    yield from meter.flush()


class _Meter:
    """Measures the rate of one piece."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: list[TimedFrame] = []
        self._ticks: deque[int] = deque(maxlen=_NUM_FRAMES)
        self._rate: float | None = None
        self._num_since = 0

    def add(self, frame: TimedFrame) -> Iterator[Rated]:
        self._ticks.append(round(frame.time / self._clock.time_base))
        self._num_since += 1
        if self._rate is None:
            self._held.append(frame)
            if len(self._held) == _NUM_AHEAD:
                yield from self.flush()
            return
        if self._num_since == _NUM_AHEAD:
            self._measure()
        yield Rated(frame, self._rate)

    def flush(self) -> Iterator[Rated]:
        """The frames that are held back, if any."""
        if not self._held:
            return
        rate = self._measure()
        held, self._held = self._held, []
        yield from (Rated(frame, rate) for frame in held)

    def _measure(self) -> float:
        base, average, guessed, _ = self._clock
        self._rate = frame_timing(list(self._ticks), time_base=base, average=average, guessed=guessed).fps
        self._num_since = 0
        return self._rate
