"""Faults for a process that is about to run the command line; arguments are texts."""

import os
import resource
import signal
from collections.abc import Callable
from importlib import import_module
from typing import Any


def kill_at(moment: str, number: str) -> None:
    """Kill this process at a moment: the call with a number, from 1, of a function `module:Class.function`."""
    at(moment, int(number), lambda: os.kill(os.getpid(), signal.SIGKILL))


def at(moment: str, number: int, action: Callable[[], object]) -> None:
    """Call an action before the call with a number, from 1, of a function `module:Class.function`."""
    owner, name = _find(moment)
    function, count = getattr(owner, name), 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == number:
            action()
        return function(*arguments, **options)

    setattr(owner, name, call)


STEP = "timesformer.training.lightning_module:ClipClassifier.training_step"


def signal_at(moment: str, number: str, name: str) -> None:
    """Send this process a signal at a moment."""
    at(moment, int(number), lambda: os.kill(os.getpid(), getattr(signal, name)))


def kill_worker_at(moment: str, number: str) -> None:
    """Kill the first child process at a moment."""
    at(moment, int(number), lambda: os.kill(int(_children()[0]), signal.SIGKILL))


def _children() -> list[str]:
    return [pid for task in os.listdir("/proc/self/task") for pid in _read(f"/proc/self/task/{task}/children").split()]


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def no_memory_for(moment: str, clips: str) -> None:
    """Raise what torch raises on a GPU that is full, in a method that gets more than a number of clips."""
    import torch

    owner, name = _find(moment)
    function = getattr(owner, name)

    def call(self: Any, batch: Any, *arguments: Any) -> Any:
        if len(batch[0] if isinstance(batch, tuple) else batch) > int(clips):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return function(self, batch, *arguments)

    setattr(owner, name, call)


def limit_memory(megabytes: str) -> None:
    """Let this process have no more than some megabytes besides what it has."""
    pages = int(_read("/proc/self/statm").split()[0])
    limit = pages * resource.getpagesize() + int(megabytes) * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _find(moment: str) -> tuple[Any, str]:
    """The owner and the name of a function `module:Class.function`."""
    module, _, path = moment.partition(":")
    *owners, name = path.split(".")
    owner: Any = import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    return owner, name
