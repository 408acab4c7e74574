"""The process of a worker: started at its first call, and again after it died."""

import ctypes
import os
import pickle
import select
import signal
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import IO, Any, BinaryIO

from timesformer.errors import TimeSformerError
from timesformer.isolation.progress import on_progress
from timesformer.jobs.engine import Limits
from timesformer.jobs.item import Failure, Item, Row
from timesformer.jobs.task import Task

_PROGRAM = """
import os, pickle, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the parent handles Ctrl-C
responses = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # prints of a library must not mix with the responses
sys.path[:] = pickle.load(sys.stdin.buffer)
from timesformer.jobs.worker_process import serve
serve(sys.stdin.buffer, responses)
"""
_LENGTH = struct.Struct("<Q")
_TAIL = 2000
"""Length of the end of stderr that is kept, in bytes."""
_MOST_STDERR = 2**20
"""Length of stderr, in bytes, from which it is emptied between calls."""
_POLL_S = 1.0
_ALIVE = "alive"
"""Kind of a message that a call makes progress."""
_PR_SET_PDEATHSIG = 1


class Died(Exception):
    """A process died, was ended for its limits, or could not compute a call.

    Args:
        reason: What happened.
        signal: Name of the signal that ended it; empty if none did.
        stderr: The end of its stderr.
    """

    def __init__(self, reason: str, *, signal: str = "", stderr: str = "") -> None:
        super().__init__(reason)
        self.reason, self.signal, self.stderr = reason, signal, stderr


class Stopped(Exception):
    """The process was stopped on purpose."""


class WorkerProcess:
    """A process in which a task is opened, and which computes items.

    Args:
        task: The pickled task.
        limits: Limits of the process.
        environment: Environment variables to add.
        folder: Working folder.
    """

    def __init__(self, task: bytes, *, limits: Limits, environment: Mapping[str, str], folder: str) -> None:
        self._task = task
        self._limits = limits
        self._environment = dict(environment)
        self._folder = folder
        self._process: Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._is_stopped = threading.Event()
        self.waited_s = 0.0
        """Time that calls waited for videos to be decoded, in seconds."""

    def call(self, items: Sequence[Item], *, within_s: float) -> list[Row | Failure]:
        """Compute items.

        Raises:
            Died: The process died, took longer or needed more memory than allowed, or raised an error.
            Stopped: `stop` was called.
            TimeSformerError: The task cannot be opened.
        """
        process = self._started()
        try:
            kind, value = self._exchange(process, pickle.dumps(tuple(items)), within_s=within_s)
        except OSError:
            raise self._end() from None
        if kind == "failed":
            raise Died(value)
        results, waited = value
        self.waited_s += waited
        return results

    def stop(self) -> None:
        """End the process for good, from any thread."""
        self._is_stopped.set()
        if (process := self._process) is not None:
            process.kill()

    def close(self) -> None:
        """End the process, and wait for its end."""
        if self._process is not None:
            self._end()

    def _started(self) -> Popen[bytes]:
        if self._process is None:
            for attempt in (1, 2):
                try:
                    return self._start()
                except (OSError, Died) as error:
                    died = error if isinstance(error, Died) else self._end()
                    if attempt == 2:
                        detail = f": {died.stderr.strip().splitlines()[-1]}" if died.stderr.strip() else ""
                        raise TimeSformerError(f"a worker could not be started: {died.reason}{detail}") from error
        self._forget_stderr()
        assert self._process is not None
        return self._process

    def _start(self) -> Popen[bytes]:
        self._refuse_stopped()
        self._stderr = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        # -P: otherwise a pickle.py in the working folder would be imported
        process = self._process = Popen(
            [sys.executable, "-P", "-c", _PROGRAM], stdin=PIPE, stdout=PIPE, stderr=self._stderr or DEVNULL,
            env=os.environ | self._environment, cwd=self._folder, process_group=0,
        )  # fmt: skip
        self._send(process, pickle.dumps(sys.path), framed=False)
        kind, value = self._exchange(process, self._task, within_s=self._limits.seconds_to_start)
        if kind == "refused":
            self._end()
            raise value
        if kind == "failed":
            raise Died(value, stderr=self._tail())
        return process

    def _exchange(self, process: Popen[bytes], request: bytes, *, within_s: float) -> tuple[str, Any]:
        """Send a request and wait for its answer; the time limit starts again at each sign of progress."""
        self._send(process, request)
        kind, value, late = _ALIVE, None, f"took longer than {within_s:.6g} s"
        while kind == _ALIVE:
            deadline = time.monotonic() + within_s
            (length,) = _LENGTH.unpack(self._receive(process, _LENGTH.size, deadline=deadline, late=late))
            kind, value = pickle.loads(self._receive(process, length, deadline=deadline, late=late))
            late = f"made no progress for {within_s:.6g} s"
        return kind, value

    def _send(self, process: Popen[bytes], content: bytes, *, framed: bool = True) -> None:
        assert process.stdin is not None
        process.stdin.write(_LENGTH.pack(len(content)) + content if framed else content)
        process.stdin.flush()

    def _receive(self, process: Popen[bytes], length: int, *, deadline: float, late: str) -> bytes:
        assert process.stdout is not None
        content = bytearray()
        while len(content) < length:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._kill(late)
            if select.select([process.stdout], [], [], min(left, _POLL_S))[0]:
                read = os.read(process.stdout.fileno(), min(length - len(content), 2**20))
                if not read:
                    raise self._end()
                content += read
            elif self._limits.memory and _resident(process.pid) > self._limits.memory:
                raise self._kill(f"needed more than {self._limits.memory / 2**30:.3g} GiB of memory")
        return bytes(content)

    def _kill(self, reason: str) -> Died:
        died = self._end()
        return Died(reason, signal="SIGKILL", stderr=died.stderr)

    def _end(self) -> Died:
        """End the process if it has not ended, and say how it did."""
        process, self._process = self._process, None
        assert process is not None
        for stream in filter(None, (process.stdin, process.stdout)):
            with suppress(OSError):
                stream.close()
        status = _wait_briefly(process)
        died = _death(status, stderr=self._tail())
        if self._stderr is not None:
            self._stderr.close()
            self._stderr = None
        self._refuse_stopped()
        return died

    def _refuse_stopped(self) -> None:
        if self._is_stopped.is_set():
            raise Stopped

    def _tail(self) -> str:
        if self._stderr is None:
            return ""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _TAIL))
        return self._stderr.read().decode("utf-8", "backslashreplace")

    def _forget_stderr(self) -> None:
        if self._stderr is not None and os.fstat(self._stderr.fileno()).st_size > _MOST_STDERR:
            os.ftruncate(self._stderr.fileno(), 0)


def _wait_briefly(process: Popen[bytes]) -> int:
    """The exit status of a process, which is killed if it does not end by itself at the end of its input."""
    deadline = time.monotonic() + 0.2
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if process.poll() is None:
        process.kill()
    return process.wait()


def _death(status: int, *, stderr: str) -> Died:
    if status >= 0:
        return Died(f"the worker process ended with status {status}", stderr=stderr)
    name = signal.Signals(-status).name
    return Died(f"the worker process was ended by {name}", signal=name, stderr=stderr)


def _resident(pid: int) -> int:
    """Resident memory of a process in bytes; 0 if the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def serve(requests: BinaryIO, responses: BinaryIO) -> None:
    """Run in the worker process: open the task, and compute calls until the input ends."""
    _end_with_parent()
    task: Task = pickle.loads(_read(requests))
    try:
        opened = task.open()
        compute = opened.__enter__()
    except TimeSformerError as error:
        _write(responses, ("refused", error))
        return
    _write(responses, ("ready", None))
    on_progress(_Reporter(responses).report)
    with suppress(EOFError):
        while True:
            items = pickle.loads(_read(requests))
            _write(responses, _answer(compute, items))
    opened.__exit__(None, None, None)


def _answer(compute: Any, items: Sequence[Item]) -> tuple[str, Any]:
    waited = getattr(compute, "waited_s", 0.0)
    try:
        results = list(compute(items))
    except (MemoryError, RuntimeError, TimeSformerError) as error:  # of torch, most often out of memory
        return "failed", f"{type(error).__name__}: {error}"
    return "done", (results, getattr(compute, "waited_s", 0.0) - waited)


class _Reporter:
    """Tells the driver that a call makes progress, at most once a second."""

    def __init__(self, responses: BinaryIO) -> None:
        self._responses = responses
        self._reported = time.monotonic()

    def report(self) -> None:
        """Report progress, unless that was done a moment ago."""
        if time.monotonic() >= self._reported + _POLL_S:
            self._reported = time.monotonic()
            _write(self._responses, (_ALIVE, None))


def _read(requests: BinaryIO) -> bytes:
    header = requests.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError
    return requests.read(_LENGTH.unpack(header)[0])


def _write(responses: BinaryIO, content: tuple[str, Any]) -> None:
    data = pickle.dumps(content)
    responses.write(_LENGTH.pack(len(data)) + data)
    responses.flush()


def _end_with_parent() -> None:
    """End when the parent does, however it ends."""
    parent = os.getppid()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os._exit(1)
