"""`Child`: a function in a child process under limits."""

import signal
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from timesformer.errors import ProcessError
from timesformer.isolation.limits import Limits
from timesformer.isolation.messages import GarbledError, Kind, read_message, write_message
from timesformer.isolation.processes import Process, Starter, starter_of
from timesformer.isolation.waiting import LateError, read_rest, reading

_TAIL_BYTES = 4096
"""Length of the end of stderr that is kept."""


@contextmanager
def isolated(target: str, *, setup: tuple[Any, ...] = (), limits: Limits | None = None) -> Generator["Child"]:
    """One child process of a target: see `Child`.

    Args:
        target: Function as `module:function`. It is called with the setup in each new process and returns the function
            of the calls; a process imports its module and what that imports.
        setup: Arguments of the target; they are pickled.
        limits: What the process may use; None for the defaults.
    """
    with starter_of(target) as starter, Child(starter, setup=setup, limits=limits) as child:
        yield child


class Child:
    """Context manager that calls a function in a child process, one call at a time.

    The process starts at the first call. If it dies, hangs or needs too much memory, the call raises `ProcessError`,
    and the next call starts another process.

    Args:
        starter: Starts the processes, possibly of several children: see `timesformer.isolation.processes.starter_of`.
        setup: As for `isolated`.
        limits: As for `isolated`.
    """

    def __init__(self, starter: Starter, *, setup: tuple[Any, ...] = (), limits: Limits | None = None) -> None:
        self._starter = starter
        self._setup = setup
        self._limits = limits or Limits()
        self._process: Process | None = None
        self._is_stopped = self._is_interrupted = False
        self._stderr = b""

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function.

        Raises:
            ProcessError: The process died, or was killed for its limits.
            Exception: The error of the function; an unexpected one, which is not a `TimeSformerError`, has the
                traceback of the child as a note.
        """
        with self._running() as process:
            write_message(process.requests, Kind.CALL, (args, kwargs))
            kind, value = self._receive_value(process)
            if kind is Kind.VALUE:
                raise GarbledError("a generator must be read by stream()")
            return value

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Call a generator function: its values, each as soon as it is there. `Limits.call_s` holds for each value.

        An iterator that is not read to its end ends the process.

        Raises:
            ProcessError, Exception: As `call`.
        """
        with self._running() as process:
            write_message(process.requests, Kind.CALL, (args, kwargs))
            while (received := self._receive_value(process))[0] is Kind.VALUE:
                yield received[1]

    def start(self) -> None:
        """Start the process and call the target in it, unless that is done; otherwise the next call does so.

        Raises:
            ProcessError: The process cannot be started, or died.
            Exception: The error of the target.
        """
        with self._running():
            pass

    def stop(self) -> None:
        """Kill the process for good, from any thread: a running call and all later ones raise `ProcessError`."""
        self._is_stopped = True
        if (process := self._process) is not None:
            process.kill()

    def interrupt(self) -> None:
        """Kill the process, from any thread: a running call raises `ProcessError`, unless it is over by now, and the
        next one starts another process."""
        self._is_interrupted = True
        if (process := self._process) is not None:
            process.kill()

    @contextmanager
    def _running(self) -> Generator[Process]:
        """The process of a call. It goes on after a value or an error of the function, and ends after anything else."""
        is_usable = False
        try:
            yield self._started()
            is_usable = True
        except _ReportedError as reported:
            is_usable = not isinstance(reported.error, MemoryError)
            raise self._told(reported.error) from reported.error.__cause__
        except LateError as error:
            raise ProcessError(str(error), stderr=self._tail()) from None
        except (EOFError, OSError) as error:
            raise self._death(error) from error
        except GarbledError as error:
            raise ProcessError(f"gave a result that cannot be read ({error})", stderr=self._tail()) from error
        finally:
            if not is_usable:
                self._close()

    def _started(self) -> Process:
        """The process, with a function that is ready."""
        if self._is_interrupted:  # perhaps after the call was over
            self._is_interrupted = False
            self._close()
        if self._process is None:
            self._stderr = b""
            self._process = self._starter.start()
            if self._is_stopped:  # only now: `stop` finds each process that is started before it
                raise ProcessError("was stopped")
            write_message(self._process.requests, Kind.CALL, (self._limits, self._setup))
            try:
                self._receive(self._process, within_s=self._limits.start_s)
            except _ReportedError as reported:
                self._close()
                raise self._told(reported.error) from reported.error.__cause__
            except LateError:
                raise ProcessError(f"did not start within {self._limits.start_s:g} s", stderr=self._tail()) from None
        return self._process

    def _receive_value(self, process: Process) -> tuple[Kind, Any]:
        """The next message of a call that is more than a sign of life."""
        end_s, kind, value = time.monotonic() + self._limits.total_s, Kind.ALIVE, None
        while kind is Kind.ALIVE:
            left_s = end_s - time.monotonic()
            try:
                kind, value = self._receive(process, within_s=min(left_s, self._limits.call_s))
            except LateError:
                if left_s > self._limits.call_s:
                    raise LateError(f"gave no result for {self._limits.call_s:g} s") from None
                raise LateError(f"took more than {self._limits.total_s:g} s") from None
        return kind, value

    def _receive(self, process: Process, *, within_s: float) -> tuple[Kind, Any]:
        with reading(process, within_s=within_s) as reader:
            try:
                kind, value = read_message(reader.fill)
            finally:
                self._stderr = (self._stderr + reader.stderr)[-_TAIL_BYTES:]
        if kind is Kind.ERROR:
            raise _ReportedError(value)
        return kind, value

    def _told(self, error: Exception) -> Exception:
        """The error as the caller gets it."""
        if isinstance(error, MemoryError) and self._limits.memory:
            return ProcessError(f"needed more than {_size(self._limits.memory)} of memory", stderr=self._tail())
        return error

    def _death(self, error: Exception) -> ProcessError:
        """How a process ended that closed its end of the channels."""
        if self._process is None:
            return ProcessError(f"could not be started ({error})")
        self._process.kill()  # in case that it closed them and goes on
        code = self._process.wait()
        if code >= 0:
            return ProcessError(f"ended with exit code {code}", stderr=self._tail())
        name = signal.Signals(-code).name if -code in iter(signal.Signals) else f"signal {-code}"
        if name == "SIGXCPU":
            return ProcessError(f"used more than {self._limits.cpu_s:g} s of processor time", stderr=self._tail())
        how = "was killed" if name in ("SIGKILL", "SIGTERM") else "crashed"
        return ProcessError(f"{how} ({name})", signal=name, stderr=self._tail())

    def _tail(self) -> str:
        """Last lines of stderr."""
        if self._process is not None:
            self._stderr += read_rest(self._process)
        return self._stderr[-_TAIL_BYTES:].decode(errors="replace").strip()

    def _close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.close()


class _ReportedError(Exception):
    """Carries an error of the function, as distinct from those of the channel."""

    def __init__(self, error: Any) -> None:
        super().__init__()
        self.error = error


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.3g} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:.3g} MiB"
