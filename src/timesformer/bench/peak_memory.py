"""Peak memory of one function call, measured in a separate process.

    peak_above("timesformer.bench.train:prepare", candidate="ours", preset="base")

starts a new interpreter, calls `timesformer.bench.train.prepare(candidate="ours", preset="base")` in it, and runs the
function that it returned. Everything that `prepare` allocated and still holds, such as weights, is the base; the peak
is counted above it.
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
    """Just before the work, with its inputs in memory and freed memory returned to the system."""
    peak: int
    """Maximum during the work."""

    @property
    def above(self) -> int:
        """The peak minus the base."""
        return self.peak - self.base


def peak_above(target: str, **arguments: Any) -> Peak:
    """Run work in a new process and measure its peak memory above the memory before it.

    Allocator and number of threads are the defaults; nothing else runs in the process.

    Args:
        target: `module:function`; called with `arguments`, it returns the work, a function without arguments.
        arguments: Values that JSON can express.

    Raises:
        TimeSformerError: The system is not Linux, the only one that reports a process its peak, or the work failed.
    """
    if not _CLEAR.exists():
        raise TimeSformerError("peak memory can be measured on Linux only")
    command = [sys.executable, "-m", "timesformer.bench.peak_memory", target, json.dumps(arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise TimeSformerError(f"{target} with {arguments} failed in a separate process: {reason}")
    return Peak(**json.loads(done.stdout.splitlines()[-1]))


def measure_peak(work: Callable[[], object]) -> Peak:
    """Run work in this process and read its peak memory.

    Raises:
        OSError: The system does not let a process reset its peak.
    """
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # otherwise memory freed earlier would hide part of the peak
    _CLEAR.write_text("5")  # resets the peak
    base = _resident("VmRSS")
    work()
    return Peak(base=base, peak=_resident("VmHWM"))


def peak_on_gpu(work: Callable[[], object]) -> Peak:
    """Run work in this process and read the peak memory of its tensors from the allocator of the GPU."""
    import torch  # not by the processes that measure something else

    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    work()
    return Peak(base=before, peak=torch.cuda.max_memory_allocated())


def _resident(field: str) -> int:
    lines = _STATUS.read_text("utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def _main(target: str, arguments: str) -> None:
    module, _, function = target.partition(":")
    work = getattr(import_module(module), function)(**json.loads(arguments))
    peak = measure_peak(work)
    print(json.dumps({"base": peak.base, "peak": peak.peak}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
