"""`Limits` of a child process, and how a child takes them on."""

import ctypes
import math
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from timesformer.errors import ConfigError

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_MIN_OPEN_FILES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a child process may use.

    On Linux all of it holds. Elsewhere only the times do, and on macOS `open_files` and `may_write`:
    the other systems let no process limit its own memory.

    Everywhere a child ends soon after its parent, even if that is killed: at the end of its requests or, on Linux, at
    the death of the process that forked it, in mid-call. On Linux it also gains no rights through programs that it
    starts, leaves no core dump, and is the first process that the kernel kills if the machine runs out of memory.

    Raises:
        ConfigError: A value is out of range.
    """

    memory: int = 0
    """Bytes that a child may allocate beyond those that it starts with; 0 means no limit. Private writable memory
    counts (RLIMIT_DATA), address space does not: importing torch reserves gigabytes of it and uses little."""
    call_s: float = 60.0
    """Seconds until a call gives a value or `timesformer.isolation.progress.report_progress` is called in it."""
    total_s: float = math.inf
    """Seconds until a call gives a value, whatever progress it reports."""
    cpu_s: float = math.inf
    """Seconds of processor time that a call may use in all threads together; the kernel ends the process after it."""
    start_s: float = 300.0
    """Seconds until a new child is ready: its imports, and its target."""
    open_files: int = 256
    """Number of open files, at least 16."""
    may_write: bool = False
    """Whether a child may write files; pipes and sockets are not files."""

    def __post_init__(self) -> None:
        if self.memory < 0:
            raise ConfigError(f"memory={self.memory} must be 0 (no limit) or more bytes")
        for name in ("call_s", "total_s", "cpu_s", "start_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}={getattr(self, name)} must be more than 0 seconds")
        if self.open_files < _MIN_OPEN_FILES:
            raise ConfigError(f"open_files={self.open_files} must be at least {_MIN_OPEN_FILES}")


def apply_limits(limits: Limits) -> None:
    """Put this process under limits, for good."""
    if sys.platform == "win32":
        return
    import resource

    if sys.platform == "linux":
        with suppress(OSError):  # a read-only /proc
            Path("/proc/self/oom_score_adj").write_text("1000")
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if limits.memory:
            _lower(resource.RLIMIT_DATA, _data_bytes() + limits.memory)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, limits.open_files)
    if not limits.may_write:
        _lower(resource.RLIMIT_FSIZE, 0)


def limit_processor_time(seconds: float) -> None:
    """Have the kernel end this process by SIGXCPU once it has used so much more processor time, rounded up to whole
    seconds; the next call begins a new period."""
    if sys.platform == "win32" or seconds == math.inf:
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    end = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (end if hard == resource.RLIM_INFINITY else min(end, hard), hard))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that forked it ends; on Linux only.

    Args:
        parent: Process that forked this one. If it is already dead, this process ends.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


def _lower(kind: int, value: int) -> None:
    import resource

    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _data_bytes() -> int:
    """Private writable memory of this process, as the kernel counts it for RLIMIT_DATA."""
    pages = int(Path("/proc/self/statm").read_text().split()[5])  # includes the stack
    return pages * os.sysconf("SC_PAGE_SIZE")
