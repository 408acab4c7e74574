"""How many videos a second go through a model, and whether decoding or the model limits that."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from timesformer.inference.view_batches import ReadVideo

Item = TypeVar("Item")

FEW = 10
"""Fewer videos say nothing about the rate."""


class Meter:
    """Counts videos, and the time in which the model waited for them."""

    def __init__(self) -> None:
        self.num_videos = 0
        """Videos so far, unreadable ones included."""
        self.waited_s = 0.0
        """Time in seconds that was waited for videos."""
        self._start: float | None = None
        self._end: float | None = None

    @property
    def seconds(self) -> float:
        """Time since the first video was asked for, until `stop` if that was called."""
        if self._start is None:
            return 0.0
        return (time.monotonic() if self._end is None else self._end) - self._start

    def stop(self) -> None:
        """Stop the clock: the last video is done."""
        self._end = time.monotonic()

    def watch(self, videos: Iterable[Item]) -> Iterator[Item | ReadVideo]:
        """The same videos, counted and timed, with the later views of long ones."""
        for video in self._timed(videos):
            self.num_videos += 1
            yield video._replace(rest=self._timed(video.rest)) if isinstance(video, ReadVideo) else video

    def _timed(self, items: Iterable[Item]) -> Iterator[Item]:
        iterator = iter(items)
        while True:
            start = time.monotonic()
            self._start = start if self._start is None else self._start
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.waited_s += time.monotonic() - start
            yield item


def describe_rate(num_videos: int, *, seconds: float, waiting: float) -> str:
    """Videos a second, and what limits them, as a line; empty for fewer than `FEW` videos.

    Args:
        num_videos: Number of videos.
        seconds: Time for all of them.
        waiting: Share of the time in which the model waited for videos, from 0 to 1; from one half on, decoding limits.
    """
    if num_videos < FEW or seconds <= 0:
        return ""
    limit = f"decoding: the model waited for videos {waiting:.0%} of the time"
    if waiting < 0.5:
        limit = f"the model, which waited for videos {waiting:.0%} of the time"
    return f"{num_videos} videos in {_short(seconds)} s, {_short(num_videos / seconds)} a second; limited by {limit}"


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 10 else f"{number:.2g}"
