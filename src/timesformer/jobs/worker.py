"""What runs in a worker process: a task is opened once, and computes chunks."""

import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from timesformer.jobs.item import Item
from timesformer.jobs.task import Task

ComputeChunk = Callable[[Sequence[Item], Sequence[Item]], Generator[Any]]
"""Called with the items of a chunk and of the next."""

WORKER = "timesformer.jobs.worker:open_task"
"""Target of `timesformer.isolation` for tasks without a model."""
MODEL_WORKER = "timesformer.jobs.model_worker:open_task"
"""The same for tasks with a model: torch is imported once for all workers of a machine."""


def open_task(task: Task, environment: Mapping[str, str], folder: str) -> ComputeChunk:
    """Open a task in this process.

    Args:
        task: The task.
        environment: Environment variables to set.
        folder: Folder at which relative paths start.

    Returns:
        A generator function of the items of a chunk and of the next: the result of each item of the chunk, then the
        seconds that were waited for videos.

    Raises:
        TimeSformerError: As the task.
    """
    os.environ.update(environment)
    os.chdir(folder)
    _set_threads(environment)
    stack = ExitStack()  # never closed: the process is killed
    compute = stack.enter_context(task.open())

    def results(items: Sequence[Item], upcoming: Sequence[Item]) -> Generator[Any]:
        waited = getattr(compute, "waited_s", 0.0)
        ahead = getattr(compute, "ahead", None)
        yield from compute(items) if ahead is None else ahead(items, upcoming)
        yield getattr(compute, "waited_s", 0.0) - waited
        assert stack

    return results


def _set_threads(environment: Mapping[str, str]) -> None:
    """Set the threads of torch, which has read the environment if it was imported before."""
    count = environment.get("OMP_NUM_THREADS", "")
    if count.isdecimal() and (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(int(count))
