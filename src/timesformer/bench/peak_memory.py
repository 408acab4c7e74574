"""Peak of memory of one piece of work, in a process of its own.

    peak_above("timesformer.bench.train:prepare", way="ours", preset="base")

starts a fresh interpreter, calls `timesformer.bench.train.prepare(way="ours", preset="base")` in it, and runs what that
returned. All that `prepare` made and still holds, such as weights, is the base; the peak is counted above it.
"""

import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from timesformer.errors import TimeSformerError

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Peak:
    """Resident memory of a process, in bytes."""

    base: int
    """Just before the work, with all that it needs in place and freed memory given back to the system."""
    peak: int
    """The most during the work."""

    @property
    def above(self) -> int:
        """What the work took on top of its base at its height."""
        return self.peak - self.base


def peak_above(target: str, **arguments: Any) -> Peak:
    """Run a piece of work in a fresh process and measure the height of its memory above what it started from.

    The allocator and the number of threads are those of a plain run; nothing else runs in the process.

    Args:
        target: `module:function`; the function takes `arguments` and returns the work, a function without arguments.
        arguments: What JSON can say.

    Raises:
        TimeSformerError: The system does not tell a process its peak (only Linux does), or the work failed.
    """
    if not _CLEAR.exists():
        raise TimeSformerError("peaks of memory are measured on Linux only")
    command = [sys.executable, "-m", "timesformer.bench.peak_memory", target, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise TimeSformerError(f"{target} with {arguments} failed in its own process: {reason}")
    return Peak(**json.loads(done.stdout.splitlines()[-1]))


def measure(work: Callable[[], object]) -> Peak:
    """Run work in this process and read the height of its memory.

    Raises:
        OSError: The system does not let a process reset its peak.
    """
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # or what was freed earlier would hide as much of the peak
    _CLEAR.write_text("5")  # the peak starts anew
    base = _resident("VmRSS")
    work()
    return Peak(base=base, peak=_resident("VmHWM"))


def _resident(field: str) -> int:
    lines = _STATUS.read_text("utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _main(target: str, arguments: str) -> None:
    module, _, function = target.partition(":")
    work = getattr(import_module(module), function)(**json.loads(arguments))
    peak = measure(work)
    print(json.dumps({"base": peak.base, "peak": peak.peak}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
