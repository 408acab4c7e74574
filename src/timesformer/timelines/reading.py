"""From a feed to windows with pixels: each frame is decoded once, and converted once if a window shows it."""

from array import array
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import repeat
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, UInt8
from torch import Tensor

from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.video.feed import Feed, FrameGap, TimedFrame
from timesformer.inference.read_ahead import read_ahead
from timesformer.timelines.frame_rates import Rated, cuts, with_rates
from timesformer.timelines.frame_views import kept_frame, window_views
from timesformer.timelines.windows import ChooseFrames, Window, WindowPlanner, Windows, frames_of_windows


@dataclass(frozen=True, slots=True, eq=False)
class ReadWindow:
    """A window with the views of its frames."""

    piece: int
    """Number of the piece of the video, between gaps, that it lies in."""
    window: Window
    views: Mapping[int, UInt8[Tensor, "crops c 1 s1 s2"]]
    """By frame number; views of frames that windows share are the same tensors."""


@dataclass(slots=True)
class Read:
    """What is known of a video after its frames were read."""

    times: array = field(default_factory=lambda: array("d"))
    """Time of each frame; those of lost frames lie evenly between their neighbors."""
    gaps: list[FrameGap] = field(default_factory=list)
    end: float = 0.0
    """End of the last frame, in seconds."""

    def add(self, frame: TimedFrame) -> None:
        """Note the time of a frame."""
        if frame.number > len(self.times):
            before, start = len(self.times) - 1, self.times[-1] if self.times else 0.0
            step = (frame.time - start) / (frame.number - before)
            self.times.extend(max(start + i * step, 0.0) for i in range(1, frame.number - before))
        self.times.append(frame.time)

    def frame_times(self) -> Float64[np.ndarray, " n"]:
        """The times as an array."""
        return np.array(self.times, dtype=np.float64)


@runtime_checkable
class WindowSource(Protocol):
    """Windows of a video, which something reads in order, and what is known of the video meanwhile."""

    read: Read

    def each(self) -> Generator[ReadWindow]:
        """The windows; closed before anything that they are read from."""
        ...


class WindowReader:
    """Reads the windows of a feed, in order, within bounded memory.

    Kept are the frames at which the rate is measured, the frame before the current one, and small views of the frames
    that windows show which are not complete; whole frames, if crops follow what moves in a window.

    Args:
        feed: The video; open.
        windows: Length and stride.
        config: Frame count and image size of the model.
        clip: Sampling and crops.
    """

    def __init__(self, feed: Feed, windows: Windows, *, config: ModelConfig, clip: ClipConfig) -> None:
        self._feed = feed
        self._windows = windows
        self._config = config
        self._clip = clip
        self._choose: ChooseFrames = frames_of_windows(clip, num_frames=config.num_frames, length=windows.length)
        self._kept: dict[int, UInt8[Tensor, "crops c 1 s1 s2"] | UInt8[Tensor, "h w 3"]] = {}
        self.read = Read()
        """What is known of the video so far."""

    def each(self) -> Generator[ReadWindow]:
        """The windows, read on a thread while the caller works on earlier ones.

        Close it before the feed: until then the thread may read.
        """
        windows = self.windows()
        with closing(read_ahead(lambda _: next(windows, None), repeat(None), num_threads=1, num_ahead=8)) as ahead:
            for window in ahead:
                if window is None:
                    break
                yield window

    def windows(self) -> Generator[ReadWindow]:
        """The windows, read in the caller's thread."""
        piece, planner, last, rate = -1, None, None, 1.0
        for item in with_rates(self._feed, clock=self._feed.clock()):
            if isinstance(item, FrameGap):
                self.read.gaps.append(item)
                if planner is not None and cuts(item):
                    yield from self._finish(planner, piece, last, end=item.start)
                    planner = None
                continue
            frame, rate = item
            if planner is None:
                piece, planner = piece + 1, self._planner(frame.time)
            self.read.add(frame)
            yield from self._push(planner, piece, item, last)
            last = frame
        self._close(last, rate)
        if planner is not None:
            yield from self._finish(planner, piece, last, end=self.read.end)

    def _planner(self, start: float) -> WindowPlanner:
        return WindowPlanner(self._windows, self._choose, start=start, tick=float(self._feed.clock().time_base))

    def _push(self, planner: WindowPlanner, piece: int, rated: Rated, last: TimedFrame | None) -> Iterator[ReadWindow]:
        frame, rate = rated
        for number in planner.push(frame.number, frame.time, rate=rate):
            self._keep(frame if last is None or number == frame.number else last)
        yield from self._complete(planner, piece)

    def _finish(
        self, planner: WindowPlanner, piece: int, last: TimedFrame | None, *, end: float
    ) -> Iterator[ReadWindow]:
        for _ in planner.finish(end):
            assert last is not None  # a planner has seen a frame
            self._keep(last)
        yield from self._complete(planner, piece)
        self._kept.clear()

    def _complete(self, planner: WindowPlanner, piece: int) -> Iterator[ReadWindow]:
        for window in planner.complete():
            views = window_views(self._kept, window.frames, self._clip, image_size=self._config.image_size)
            yield ReadWindow(piece, window, views)
        for number in [number for number in self._kept if number < planner.oldest_needed]:
            del self._kept[number]

    def _keep(self, frame: TimedFrame) -> None:
        if frame.number not in self._kept:
            self._kept[frame.number] = kept_frame(frame.pixels(), self._clip, image_size=self._config.image_size)

    def _close(self, last: TimedFrame | None, rate: float) -> None:
        if last is not None:
            self.read.end = max([last.time + 1 / rate, *(gap.end for gap in self.read.gaps[-1:])])
