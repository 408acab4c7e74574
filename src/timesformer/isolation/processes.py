"""Start and end of child processes: forked from a process that has imported the target, or new ones."""

import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE, Popen
from threading import Lock
from types import TracebackType
from typing import IO, Protocol

from timesformer.errors import ProcessError
from timesformer.isolation.program import FORK, PROGRAM


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A started child process, and the parent's ends of its channels; all files are unbuffered."""

    requests: IO[bytes]
    responses: IO[bytes]
    stderr: IO[bytes] | None
    """None if the process shares that of the parent."""
    kill: Callable[[], None]
    """Kill the process if it runs."""
    wait: Callable[[], int]
    """Wait for its end: the exit code, or the negative number of the signal that ended it."""

    def close(self) -> None:
        """Kill the process and close its channels."""
        self.kill()
        self.wait()
        for file in filter(None, (self.requests, self.responses, self.stderr)):
            with suppress(OSError):  # requests that a dead process did not read
                file.close()


class Starter(Protocol):
    """Context manager that starts child processes, from any thread."""

    def __enter__(self) -> "Starter":
        """Prepare."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clean up; no child outlives this."""
        ...

    def start(self) -> Process:
        """Start a child process.

        Raises:
            ProcessError: None can be started.
        """
        ...


def starter_of(target: str) -> Starter:
    """The fastest starter that is safe on this system.

    Args:
        target: Function as `module:function`.
    """
    return ForkServer(target) if sys.platform == "linux" else NewProcesses(target)


class ForkServer:
    """Forks children from a process that has imported the target once, in about 10 ms each; on Linux.

    The fork server is a new process that has never run anything but imports: a process that has decoded a video or used
    threads must not fork. If it was killed, the next start starts another one.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._lock = Lock()

    def __enter__(self) -> "ForkServer":
        self._importer = _Importer(self._target)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._importer.close()

    def start(self) -> Process:
        """See `Starter`."""
        importer = self._importer
        try:
            return importer.fork()
        except ProcessError:
            with self._lock:
                if self._importer is importer:
                    importer.close()
                    self._importer = _Importer(self._target)
            return self._importer.fork()


class _Importer:
    """A process that has imported a target, and forks."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._lock = Lock()
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with control:
            number = control.fileno()
            self._process = _start(
                "serve_forks", target, str(number), stdin=DEVNULL, stdout=DEVNULL, pass_fds=(number,)
            )

    def close(self) -> None:
        self._control.close()  # the end of its requests ends the process, and that its children
        self._process.wait()

    def fork(self) -> Process:
        ours, channel = socket.socketpair()
        read_end, write_end = os.pipe()
        try:
            with channel:
                child = int(self._ask(FORK, (channel.fileno(), write_end)))
        except BaseException:
            ours.close()
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        running = _Forked(child, self._ask)
        descriptor = ours.detach()
        return Process(
            requests=open(descriptor, "wb", buffering=0),
            responses=open(os.dup(descriptor), "rb", buffering=0),
            stderr=open(read_end, "rb", buffering=0),
            kill=running.kill,
            wait=running.wait,
        )

    def _ask(self, request: bytes, descriptors: tuple[int, ...] = ()) -> bytes:
        with self._lock:
            try:
                socket.send_fds(self._control, [request], descriptors)
                response = self._control.recv(64)
            except OSError:
                response = b""
        if not response:
            raise ProcessError(f"the process that imports {self._target} died")
        return response


class _Forked:
    """A child of the fork server, which alone can wait for it."""

    def __init__(self, child: int, ask: Callable[[bytes], bytes]) -> None:
        self._child = child
        self._ask = ask
        self._lock = Lock()
        self._code: int | None = None

    def kill(self) -> None:
        with self._lock:  # once waited for, the number may belong to another process
            if self._code is None:
                with suppress(ProcessLookupError):
                    os.kill(self._child, 9)

    def wait(self) -> int:
        if self._code is None:
            code = self._wait()
            with self._lock:
                self._code = code
        return self._code

    def _wait(self) -> int:
        try:
            return int(self._ask(str(self._child).encode()))
        except ProcessError:  # the server is dead, and so is its child
            return -9


class NewProcesses:
    """Starts each child as a new process that imports the target itself."""

    def __init__(self, target: str) -> None:
        self._target = target

    def __enter__(self) -> "NewProcesses":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def start(self) -> Process:
        """See `Starter`."""
        stderr = None if sys.platform == "win32" else PIPE  # there, nothing would keep the pipe from filling up
        process = _start("serve_alone", self._target, stderr=stderr)
        assert process.stdin is not None
        assert process.stdout is not None
        return Process(
            requests=process.stdin,
            responses=process.stdout,
            stderr=process.stderr,
            kill=process.kill,
            wait=process.wait,
        )


def _start(
    function: str, *arguments: str, stdin: int = PIPE, stdout: int = PIPE, stderr: int | None = None,
    pass_fds: tuple[int, ...] = (),
) -> "Popen[bytes]":  # fmt: skip
    program = PROGRAM.format(path=[os.fspath(path) for path in sys.path])
    # -P: otherwise a module in the working folder would be imported
    command = [sys.executable, "-P", "-c", program, function, *arguments]
    return Popen(command, bufsize=0, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=pass_fds)
