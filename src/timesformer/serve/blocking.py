"""Blocking work in a thread, which ends soon after nobody wants it any more."""

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Executor
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

from timesformer.isolation.child import Child

Result = TypeVar("Result")


class StoppedError(Exception):
    """Nobody wants the result of this work."""


class Stop:
    """Says a thread that its work is not wanted."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._child: Child | None = None
        self._is_set = False

    def set(self) -> None:
        """Stop the work: its next `check` raises, and the child it waits for is killed."""
        with self._lock:
            self._is_set = True
            if self._child is not None:
                self._child.stop()

    def check(self) -> None:
        """Go on, or not.

        Raises:
            StoppedError: The work is not wanted.
        """
        if self._is_set:
            raise StoppedError

    @contextmanager
    def stopping(self, child: Child) -> Generator[Child]:
        """Kill a child if the work is stopped in the block."""
        with self._lock:
            self._child = child
        try:
            self.check()
            yield child
        finally:
            with self._lock:
                self._child = None


async def run_blocking(threads: Executor, work: Callable[[Stop], Result]) -> Result:
    """The result of some work in a thread; if this call is cancelled, the work is stopped and waited for.

    Args:
        threads: Where it runs.
        work: Called with what may stop it.
    """
    stop = Stop()
    running = threads.submit(work, stop)
    try:
        return await asyncio.wrap_future(running)
    except asyncio.CancelledError:
        if not running.cancel():
            stop.set()
            await asyncio.wait([asyncio.wrap_future(running)])
        raise
