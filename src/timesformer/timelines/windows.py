"""Windows over a long video, and the frames that the model sees in each: pure functions of numbers.

Windows of `length` seconds are centered on the instants 0, `stride`, 2 `stride` and so on. The frames of a window are
those that the model would see of a clip cut there: `timesformer.data.clips.sampling` chooses them among the frames that
the window holds at the frame rate measured there, and the frame nearest to each of these times is taken. So frames are
chosen as they come, and neither the length of the video nor its mean rate must be known.

Windows that reach over an end of the video repeat its first or last frame. Cutting or shifting them instead would move
boundaries: half of a window that is centered on a boundary must show either side of it, also near the ends.

At a constant rate the frames equal those of a cut clip, unless an edge of the window lies within a 20th of a frame
interval, or a unit of the timestamps, of a frame. At a variable rate a cut clip counts frames; a window follows time.
Models that see several temporal views of a clip see one of a window, the first.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips import sampling
from timesformer.errors import ConfigError

_EDGE = 0.05
"""Frames that miss an edge by this fraction of a frame interval lie on it: timestamps are rounded."""
_MIN_LENGTH_S, _MAX_LENGTH_S = 1e-3, 86400.0
_MOST_STRIDES = 1000
"""Strides in a window: the scores of so many windows are kept at a time."""

ChooseFrames = Callable[[int, float], list[int]]
"""Maps the number of frames in a window and their rate to the frames to see, counted from the first in the window."""


class Window(NamedTuple):
    """A window and the numbers of the frames that the model sees in it."""

    center: float
    frames: tuple[int, ...]


class Windows(NamedTuple):
    """Length of the windows and the distance of their centers, in seconds."""

    length: float
    stride: float


def plan_windows(
    config: ModelConfig, info: ModelInfo, *, window: float | None = None, stride: float | None = None
) -> Windows:
    """Length and stride of the windows of a model.

    Args:
        config: Its frame count.
        info: Its sampling, and the usual length of its clips.
        window: Length in seconds; None takes the span of a dense clip, or the usual length of the clips for a model
            that samples whole clips.
        stride: Distance of the windows in seconds, from 1/1000 of the length to the length; None takes a quarter of it.

    Raises:
        ConfigError: A value is out of range, or the length of the windows is neither given nor known.
    """
    length = _default_length(config, info) if window is None else window
    if not _MIN_LENGTH_S <= length <= _MAX_LENGTH_S:
        raise ConfigError(f"window={length:g} must be from {_MIN_LENGTH_S:g} to {_MAX_LENGTH_S:g} seconds")
    stride = length / 4 if stride is None else stride
    if not 0 < stride <= length:
        raise ConfigError(f"stride={stride:g} must be greater than 0 and at most the window of {length:g} seconds")
    if length > _MOST_STRIDES * stride:
        raise ConfigError(f"stride={stride:g} must be at least 1/{_MOST_STRIDES} of the window of {length:g} seconds")
    return Windows(length, stride)


def _default_length(config: ModelConfig, info: ModelInfo) -> float:
    clip = info.clip
    if clip.sampling not in ("segment", "uniform"):
        return config.num_frames * clip.frame_stride / clip.target_fps
    if info.clip_seconds is None:
        raise ConfigError(
            f"the model samples whole clips (sampling={clip.sampling!r}) and does not say how long they are: "
            "pass their length in seconds as window=... (--window)"
        )
    return info.clip_seconds


def frames_of_windows(clip: ClipConfig, *, num_frames: int, length: float) -> ChooseFrames:
    """Which frames of a window a model sees; see `timesformer.data.clips.sampling.eval_clips`.

    Args:
        clip: Sampling of the model.
        num_frames: Frames of its clip, T.
        length: Length of a window in seconds: the span of a dense clip, whatever its own is.
    """
    count = num_frames * clip.frames_per_channel_group

    def choose(total: int, rate: float) -> list[int]:
        if clip.sampling == "segment":
            return sampling.segment_midpoints(total, num_frames=count)
        if clip.sampling == "uniform":
            return sampling.uniform_indices(total, num_frames=count)
        span = max(1.0, length * rate)
        start = sampling.center_start(total, span) if clip.sampling == "center" else 0.0
        return sampling.dense_indices(start, length=span, num_frames=count, total=total)

    return choose


@dataclass(slots=True)
class _Pending:
    center: float
    times: list[float]
    """Times at which a frame is wanted, ascending."""
    frames: list[int] = field(default_factory=list)
    """Frames chosen for the first of these times."""


class _Frame(NamedTuple):
    number: int
    time: float


class WindowPlanner:
    """Chooses the frames of windows while frames come one after another, without gaps between them.

    Args:
        windows: Length and stride.
        choose: Frames of a window, from `frames_of_windows`.
        start: Time of the first frame, the center of the first window.
        tick: Unit of the timestamps in seconds, to which times are rounded.
    """

    def __init__(self, windows: Windows, choose: ChooseFrames, *, start: float, tick: float) -> None:
        self._length, self._stride = windows
        self._choose = choose
        self._start = start
        self._tick = tick
        self._num_planned = 0
        self._pending: deque[_Pending] = deque()
        self._last: _Frame | None = None
        self._rate = 0.0

    def push(self, number: int, time: float, *, rate: float) -> Iterator[int]:
        """Take the next frame.

        Args:
            number: Its number.
            time: Its time in seconds, later than that of the frame before.
            rate: Frame rate around it, in frames a second.

        Yields:
            The frame before or this one, if a window wants it: its pixels are needed now. The same may come again.
        """
        self._rate = rate
        while self._next_edge() <= time + self._tolerance():
            self._plan(time)
        frame = _Frame(number, time)
        for window in self._pending:
            while len(window.frames) < len(window.times) and window.times[len(window.frames)] <= time:
                window.frames.append(self._nearest(window.times[len(window.frames)], frame))
                yield window.frames[-1]
        self._last = frame

    def complete(self) -> Iterator[Window]:
        """The windows whose frames are all chosen, in order; each is given once."""
        while self._pending and len(self._pending[0].frames) == len(self._pending[0].times):
            window = self._pending.popleft()
            yield Window(window.center, tuple(window.frames))

    def finish(self, end: float) -> Iterator[int]:
        """Choose the last frame wherever frames are missing; `complete` then gives the remaining windows.

        Args:
            end: End of the last frame in seconds; no window is centered there or later.
        """
        assert self._last is not None  # there is at least one frame
        while self._next_center() < end - 1e-9:
            self._plan(self._last.time)
        self._pending = deque(window for window in self._pending if window.center < end - 1e-9)
        for window in self._pending:
            missing = len(window.times) - len(window.frames)
            window.frames += [self._last.number] * missing
            if missing:
                yield self._last.number

    @property
    def oldest_needed(self) -> int:
        """Frames before this number are in no window to come."""
        last = 0 if self._last is None else self._last.number
        return min([window.frames[0] for window in self._pending if window.frames], default=last)

    def _next_center(self) -> float:
        return self._start + self._num_planned * self._stride

    def _next_edge(self) -> float:
        return self._next_center() - self._length / 2

    def _tolerance(self) -> float:
        return min(self._tick, _EDGE / self._rate)

    def _plan(self, time: float) -> None:
        """Plan the next window; `time` is that of the first frame in it, if it is close to the edge."""
        center, edge, interval = self._next_center(), self._next_edge(), 1 / self._rate
        if edge < self._start - self._tolerance():  # as if frames had come at this rate before
            first = self._start - math.floor((self._start - edge) / interval + _EDGE) * interval
        else:
            first = time if edge - self._tolerance() <= time <= edge + interval else edge
        total = max(1, math.ceil((edge + self._length - first - self._tolerance()) / interval - 1e-6))
        self._pending.append(_Pending(center, [first + i * interval for i in self._choose(total, self._rate)]))
        self._num_planned += 1

    def _nearest(self, wanted: float, frame: _Frame) -> int:
        """The frame shown at a time: the nearer one, or the one before during a pause."""
        after = frame.time - wanted
        if self._last is None or after <= min(wanted - self._last.time, 0.5 / self._rate) + 1e-9:
            return frame.number
        return self._last.number
