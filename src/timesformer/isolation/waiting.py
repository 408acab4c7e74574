"""Read from a child process for a limited time."""

import math
import os
import select
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from threading import TIMEOUT_MAX, Event, Timer
from typing import Protocol

from timesformer.isolation.messages import fill, read_some
from timesformer.isolation.processes import Process

_BLOCK = 2**16
_CAN_POLL = sys.platform != "win32"


class LateError(Exception):
    """The time is over."""


class Reader(Protocol):
    """Reads the responses of a process."""

    stderr: bytes
    """What it wrote to stderr meanwhile."""

    def fill(self, view: memoryview) -> None:
        """Fill a buffer with the next bytes.

        Raises:
            EOFError: The process closed its end.
            LateError: The time is over.
        """
        ...


@contextmanager
def reading(process: Process, *, within_s: float) -> Generator[Reader]:
    """Read responses within a time; it begins here.

    Raises:
        LateError: The time is over.
    """
    if _CAN_POLL:
        yield PollingReader(process, within_s=within_s)
    else:
        with _killing(process, within_s):
            yield BlockingReader(process)


class PollingReader:
    """`Reader` that keeps the pipe of stderr from filling up, which would block the process."""

    def __init__(self, process: Process, *, within_s: float) -> None:
        self._process = process
        self._end_s = time.monotonic() + within_s
        self._poll = select.poll()
        self._poll.register(process.responses.fileno(), select.POLLIN)
        if process.stderr is not None:
            self._poll.register(process.stderr.fileno(), select.POLLIN)
        self.stderr = b""

    def fill(self, view: memoryview) -> None:
        """See `Reader`."""
        while view.nbytes:
            self._wait()
            view = read_some(self._process.responses, view)

    def _wait(self) -> None:
        while True:
            left_s = self._end_s - time.monotonic()
            ready = self._poll.poll(None if left_s == math.inf else max(0.0, min(1000 * left_s, 1e9)))
            if not ready and left_s <= 0:
                raise LateError
            for descriptor, _ in ready:
                if descriptor == self._process.responses.fileno():
                    return
                self._read_stderr(descriptor)

    def _read_stderr(self, descriptor: int) -> None:
        content = os.read(descriptor, _BLOCK)
        self.stderr += content
        if not content:
            self._poll.unregister(descriptor)


class BlockingReader:
    """`Reader` for systems that cannot wait for a pipe."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.stderr = b""

    def fill(self, view: memoryview) -> None:
        """See `Reader`."""
        fill(self._process.responses, view)


@contextmanager
def _killing(process: Process, within_s: float) -> Generator[None]:
    """Kill a process after a time, unless the block ends earlier."""
    is_late = Event()

    def kill() -> None:
        is_late.set()
        process.kill()

    timer = Timer(min(within_s, TIMEOUT_MAX), kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    except EOFError as error:
        if is_late.is_set():
            raise LateError from error
        raise
    finally:
        timer.cancel()


def read_rest(process: Process) -> bytes:
    """What a process wrote to stderr and nobody read; the process may still run."""
    if process.stderr is None:
        return b""
    os.set_blocking(process.stderr.fileno(), False)
    return b"".join(_blocks(process.stderr.fileno()))


def _blocks(descriptor: int) -> Iterator[bytes]:
    try:
        while content := os.read(descriptor, _BLOCK):
            yield content
    except BlockingIOError:
        return
