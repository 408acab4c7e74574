"""Windows on their way from the thread that reads to the one that computes: the newest win."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor

from timesformer.timelines.reading import ReadWindow


class NewestWindows:
    """A queue that forgets its oldest window when it is full; whole windows, never frames of one.

    Args:
        capacity: Most windows that wait.
        keep_all: Make the writer wait instead, and the reader wait for whole batches, whose rounding is that of a file.
    """

    def __init__(self, capacity: int, *, keep_all: bool) -> None:
        self._capacity = capacity
        self._keep_all = keep_all
        self._windows: deque[ReadWindow] = deque()
        self._changed = threading.Condition()
        self._is_complete = self._is_abandoned = False
        self.num_put = 0
        """Number of windows so far."""
        self.num_skipped = 0
        """Number of windows that were forgotten."""

    def put(self, window: ReadWindow) -> bool:
        """Add a window; False if the reader has left."""
        with self._changed:
            if self._keep_all:
                self._changed.wait_for(lambda: self._is_abandoned or len(self._windows) < self._capacity)
            if self._is_abandoned:
                return False
            if len(self._windows) == self._capacity:
                self._windows.popleft()
                self.num_skipped += 1
            self._windows.append(window)
            self.num_put += 1
            self._changed.notify_all()
        return True

    def take(self, most: int) -> list[ReadWindow]:
        """The oldest windows, at least one, or `most` if all are kept; none after the last one."""
        least = most if self._keep_all else 1
        with self._changed:
            self._changed.wait_for(lambda: len(self._windows) >= least or self._is_complete)
            taken = [self._windows.popleft() for _ in range(min(most, len(self._windows)))]
            self._changed.notify_all()
        return taken

    def complete(self) -> None:
        """Tell the reader that no window follows."""
        with self._changed:
            self._is_complete = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Tell the writer that nobody reads."""
        with self._changed:
            self._is_abandoned = True
            self._windows.clear()
            self._changed.notify_all()


def in_batches(
    windows: Iterable[ReadWindow], queue: NewestWindows, *, most: int, stop: Callable[[], None]
) -> Generator[list[ReadWindow]]:
    """Read windows on a thread; gives those that wait, at most `most` at a time.

    An error of the reading is raised after the windows before it. Close the generator before the feed.

    Args:
        windows: The windows.
        queue: An empty queue.
        most: Most windows of a batch.
        stop: Called if the caller leaves early, so that the reading ends.
    """

    def read() -> None:
        try:
            for window in windows:
                if not queue.put(window):
                    break
        finally:
            queue.complete()

    with ThreadPoolExecutor(1, thread_name_prefix="live") as pool:
        reading = pool.submit(read)
        try:
            while batch := queue.take(most):
                yield batch
        finally:
            queue.abandon()
            if not reading.done():
                stop()
        reading.result()
