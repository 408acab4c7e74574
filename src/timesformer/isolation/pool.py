"""Work on many items in several child processes, of which each may die."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from timesformer.errors import ProcessError
from timesformer.isolation.child import Child
from timesformer.isolation.limits import Limits
from timesformer.isolation.processes import starter_of

_MAX_BATCH = 16
"""Largest number of items in one request."""

_Result = tuple[Any, Any]
_Results = SimpleQueue[_Result | BaseException | None]


def map_apart(
    target: str,
    items: Sequence[Any],
    *,
    num_children: int,
    setup: tuple[Any, ...] = (),
    limits: Limits | None = None,
) -> Iterator[tuple[Any, Any]]:
    """The value of each item, in order of completion; a `ProcessError` for an item at which a child died.

    Args:
        target: As for `timesformer.isolation.child.isolated`; the function of the calls takes a list of items and
            yields their values.
        items: The items.
        num_children: Number of processes, at least 1.
        setup: As for `isolated`.
        limits: As for `isolated`; `call_s` holds for each item.

    Raises:
        ProcessError: No process can be started.
        Exception: The first error that the target or its function raises.
    """
    size = max(1, min(_MAX_BATCH, len(items) // (8 * num_children)))
    todo = _Batches(items, size=size)
    results: _Results = SimpleQueue()
    with ExitStack() as stack:
        starter = stack.enter_context(starter_of(target))
        num_running = min(num_children, -(-len(items) // size))
        for _ in range(num_running):
            child = stack.enter_context(Child(starter, setup=setup, limits=limits))
            thread = Thread(target=_work, args=(child, todo, results), daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(child.stop)
        while num_running:
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            if result is None:
                num_running -= 1
            else:
                yield result


class _Batches:
    """Runs of items, given to any thread that asks."""

    def __init__(self, items: Sequence[Any], *, size: int) -> None:
        self._items = iter(items)
        self._size = size
        self._lock = Lock()

    def next(self) -> list[Any]:
        """The next items; empty after the last."""
        with self._lock:
            return list(islice(self._items, self._size))


def _work(child: Child, todo: _Batches, results: _Results) -> None:
    """Put the results of one child, then None, or the error that ends all."""
    try:
        while batch := todo.next():
            while batch:
                child.start()  # a failure to start is not the fault of an item
                batch = batch[_work_on(child, batch, results) :]
    except BaseException as error:  # whatever it is, the main thread waits for it
        results.put(error)
    else:
        results.put(None)


def _work_on(child: Child, batch: list[Any], results: _Results) -> int:
    """Put the values of a batch up to the item at which the child dies, included: the number of items."""
    done = 0
    try:
        for value in child.stream(batch):
            results.put((batch[done], value))
            done += 1
    except ProcessError as error:
        results.put((batch[done], error))
        done += 1
    return done
