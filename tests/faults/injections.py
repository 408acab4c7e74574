"""Faults for a process that is about to run the command line; arguments are texts."""

import ctypes
import errno
import io
import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

STEP = "timesformer.training.lightning_module:ClipClassifier.training_step"
"""Before a micro-batch of training."""


def nothing() -> None:
    """No fault."""


def kill_at_moment(number: str, record: str) -> None:
    """Kill this process at the moment with a number, from 1, and write its kind into a file.

    Moments are: before a micro-batch, in the middle of a checkpoint, and before a file or a folder gets its name.
    """
    import torch

    from timesformer.weights import model_folder

    count = 0

    def tick(kind: str) -> None:
        nonlocal count
        count += 1
        if count == int(number):
            Path(record).write_text(kind)
            os.kill(os.getpid(), signal.SIGKILL)

    save = torch.save

    def save_in_halves(state: Any, file: io.BufferedWriter) -> None:
        buffer = io.BytesIO()
        save(state, buffer)
        content = buffer.getvalue()
        file.write(content[: len(content) // 2])
        file.flush()
        tick("amid-checkpoint")
        file.write(content[len(content) // 2 :])

    torch.save = save_in_halves
    _before(_find(STEP), lambda: tick("step"))
    _before((model_folder, "save_file"), lambda: tick("before-model"))
    _before((Path, "replace"), lambda: tick("before-replace"))
    _before((os, "rename"), lambda: tick("before-rename"))


def kill_at(moment: str, number: str) -> None:
    """Kill this process."""
    at(moment, number, lambda: os.kill(os.getpid(), signal.SIGKILL))


def signal_at(moment: str, number: str, name: str) -> None:
    """Send a signal to this process and its children, as a scheduler does."""

    def send() -> None:
        pids = (*_children(), str(os.getpid()))
        os.waitpid(os.spawnvp(os.P_NOWAIT, "kill", ["kill", f"-{name.removeprefix('SIG')}", *pids]), 0)

    at(moment, number, send)


def kill_worker_at(moment: str, number: str) -> None:
    """Kill the first child process."""
    at(moment, number, lambda: os.kill(int(_children()[0]), signal.SIGKILL))


def fill_at(moment: str, number: str, folder: str) -> None:
    """Fill the disk of a folder."""
    at(moment, number, lambda: _fill(folder))


def run_at(moment: str, number: str, *command: str) -> None:
    """Run a command and wait for its end."""
    at(moment, number, lambda: os.waitpid(os.spawnvp(os.P_NOWAIT, command[0], command), 0))


def deny_at(moment: str, number: str, folder: str) -> None:
    """Take the permission to write in a folder, also from the superuser."""

    def deny() -> None:
        for path, _, _ in os.walk(folder):
            os.chmod(path, 0o555)
        _obey_permissions()

    at(moment, number, deny)


def stale_at(moment: str, number: str, folder: str) -> None:
    """Let every file in a folder be a stale handle of a network share."""
    stat = os.stat

    def stale(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(folder + os.sep):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), os.fspath(path))
        return stat(path, *arguments, **options)

    at(moment, number, lambda: setattr(os, "stat", stale))


def no_memory_for(moment: str, clips: str) -> None:
    """Raise what torch raises on a full GPU, in a method that gets more than a number of clips."""
    import torch

    owner, name = _find(moment)
    function = getattr(owner, name)

    def call(self: Any, batch: Any, *arguments: Any) -> Any:
        if len(batch[0] if isinstance(batch, tuple) else batch) > int(clips):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return function(self, batch, *arguments)

    setattr(owner, name, call)


def limit_memory_at(moment: str, number: str, megabytes: str) -> None:
    """Let this process have no more than some megabytes besides what it has, as `ulimit -d` does."""
    at(moment, number, lambda: _limit_memory(int(megabytes)))


def _limit_memory(megabytes: int) -> None:
    pages = int(_read("/proc/self/statm").split()[5])
    limit = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def serve_with(folder: str, *traps: str) -> None:
    """Let the server have its uploads in a folder, and set traps of `trapped_serve.py`."""
    import tempfile

    from trapped_serve import set_traps

    tempfile.tempdir = folder
    set_traps(traps)


def jump_clock() -> None:
    """Let the wall clock jump by an hour, back and forward in turn, at every call."""
    now, count = time.time, 0

    def jumping() -> float:
        nonlocal count
        count += 1
        return now() + 3600 * (-1) ** count * count

    time.time = jumping
    time.time_ns = lambda: int(jumping() * 1e9)


def print_to(path: str) -> None:
    """Let stdout be another file."""
    os.dup2(os.open(path, os.O_WRONLY), 1)


def at(moment: str, number: str, action: Callable[[], object]) -> None:
    """Call an action before the call with a number, from 1, of a function `module:Class.function`."""
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1
        if count == int(number):
            action()

    _before(_find(moment), tick)


def _before(function: tuple[Any, str], tick: Callable[[], None]) -> None:
    owner, name = function
    original = getattr(owner, name)

    def call(*arguments: Any, **options: Any) -> Any:
        tick()
        return original(*arguments, **options)

    setattr(owner, name, call)


def _find(moment: str) -> tuple[Any, str]:
    """The owner and the name of a function `module:Class.function`."""
    module, _, path = moment.partition(":")
    *owners, name = path.split(".")
    owner: Any = import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    return owner, name


def _fill(folder: str) -> None:
    with open(Path(folder) / ".filler", "ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(2**12)):
            pass


def _obey_permissions() -> None:
    """Give up the capabilities with which the superuser ignores permissions."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0
    for index in (0, 1):  # effective and permitted; CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
        sets[index] &= ~0b110
    assert libc.capset(header, sets) == 0


def _children() -> list[str]:
    return [pid for task in os.listdir("/proc/self/task") for pid in _read(f"/proc/self/task/{task}/children").split()]


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()
