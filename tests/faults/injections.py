"""Faults for a process that is about to run the command line; arguments are texts."""

import os
import signal
from collections.abc import Callable
from importlib import import_module
from typing import Any


def kill_at(moment: str, number: str) -> None:
    """Kill this process at a moment: the call with a number, from 1, of a function `module:Class.function`."""
    at(moment, int(number), lambda: os.kill(os.getpid(), signal.SIGKILL))


def at(moment: str, number: int, action: Callable[[], object]) -> None:
    """Call an action before the call with a number, from 1, of a function `module:Class.function`."""
    module, _, path = moment.partition(":")
    *owners, name = path.split(".")
    owner: Any = import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    function, count = getattr(owner, name), 0

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == number:
            action()
        return function(*arguments, **options)

    setattr(owner, name, call)
