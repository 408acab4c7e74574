"""`Supervised`: a worker process that is replaced when it dies or hangs, so that this costs one item."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from timesformer.errors import ProcessError
from timesformer.isolation.child import Child
from timesformer.isolation.limits import Limits as ProcessLimits
from timesformer.isolation.processes import Starter, starter_of
from timesformer.jobs.engine import Chunk, ChunkResult, Limits
from timesformer.jobs.item import Failure, Item, Row
from timesformer.jobs.task import Task
from timesformer.jobs.worker import MODEL_WORKER, WORKER

ATTEMPTS = 2
"""Attempts at an item by itself."""
_STARTS = 2
"""Attempts to start a process, in succession."""
_OPEN_FILES = 2**16


class StoppedError(Exception):
    """The worker was stopped."""


class Supervised:
    """Context manager of one worker process, in which a task is opened once.

    If the process dies, exceeds a limit or fails, another is started and the items of the chunk are computed one by
    one, to find which of them it cannot compute; the others are then computed together again. So the rows of a chunk
    are the same bits whether or not a process died.

    Args:
        task: What to compute.
        limits: Limits of the process.
        environment: Environment variables to add, such as `Workers.environment`.
        folder: Working folder of the process, at which relative paths start; by default that of this process.
        starter: Starter of the processes of several workers, from `starter_for`; None makes one.
    """

    def __init__(
        self,
        task: Task,
        *,
        limits: Limits,
        environment: Mapping[str, str] | None = None,
        folder: str | None = None,
        starter: Starter | None = None,
    ) -> None:
        self._setup = (task, dict(environment or {}), folder or os.getcwd())
        self._limits = ProcessLimits(
            call_s=limits.seconds_per_item, start_s=limits.seconds_to_start, memory=limits.memory, may_write=True,
            open_files=_OPEN_FILES,
        )  # fmt: skip
        self._own_starter = starter_for(task) if starter is None else None
        self._starter = starter
        self._stack = ExitStack()
        self._child: Child | None = None
        self._is_stopped = False
        self._waited_s = 0.0

    def __enter__(self) -> "Supervised":
        if self._own_starter is not None:
            self._starter = self._stack.enter_context(self._own_starter)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._stack.close()

    def stop(self) -> None:
        """End the process for good, from any thread; a running `run` raises `StoppedError`, and so do later ones."""
        self._is_stopped = True
        if (child := self._child) is not None:
            child.stop()

    def run_chunk(self, chunk: Chunk, *, upcoming: Chunk | None = None) -> ChunkResult:
        """`run`, with the times of the worker.

        Args:
            chunk: What to compute.
            upcoming: What comes next, if that is known: the worker may begin to decode it.
        """
        start, waited = time.monotonic(), self._waited_s
        results = self.run(chunk.items, upcoming=upcoming.items if upcoming else ())
        return ChunkResult(
            number=chunk.number,
            results=tuple(results),
            busy_s=time.monotonic() - start,
            waited_s=self._waited_s - waited,
        )

    def run(self, items: Sequence[Item], *, upcoming: Sequence[Item] = ()) -> list[Row | Failure]:
        """Compute the items of a chunk.

        Args:
            items: The items.
            upcoming: Those of the next chunk, if known.

        Returns:
            A result for each item, in their order.

        Raises:
            TimeSformerError: The task cannot be opened.
            ProcessError: The process dies before the task is open.
            StoppedError: `stop` was called.
        """
        together = self._attempt(items, upcoming=upcoming)
        if not isinstance(together, Failure):
            return together
        alone = [self._alone(item) for item in items]
        good = [item for item, result in zip(items, alone, strict=True) if not isinstance(result, Failure)]
        if len(good) < 2:
            return alone
        together = self._attempt(good)
        if isinstance(together, Failure):
            return alone
        rows = iter(together)
        return [result if isinstance(result, Failure) else next(rows) for result in alone]

    def _alone(self, item: Item) -> Row | Failure:
        """The result of an item by itself; `attempts` counts the one in its chunk, too."""
        failure = None
        for number in range(ATTEMPTS):
            results = self._attempt([item], attempts=number + 2)
            if not isinstance(results, Failure):
                return results[0]
            failure = results
        assert failure is not None
        return failure

    def _attempt(
        self, items: Sequence[Item], *, upcoming: Sequence[Item] = (), attempts: int = 1
    ) -> list[Row | Failure] | Failure:
        """The results of items, or what happened to the process."""
        child = self._started()
        try:
            *results, waited = child.stream(items, upcoming)
        except Exception as error:  # whatever a task raises costs one item
            self._end()  # after an error of a GPU, say, the process is of no use
            if self._is_stopped:
                raise StoppedError from None
            return _failure(error, attempts=attempts)
        self._waited_s += waited
        if len(results) != len(items):
            return Failure(reason=f"the task gave {len(results)} results for {len(items)} items", attempts=attempts)
        return results

    def _started(self) -> Child:
        for attempt in range(1, _STARTS + 1):
            if self._child is None:
                assert self._starter is not None
                self._child = Child(self._starter, setup=self._setup, limits=self._limits)
            if self._is_stopped:  # only now: `stop` finds each child that is made before it
                raise StoppedError
            try:
                self._child.start()
            except ProcessError as error:
                self._end()
                if self._is_stopped:
                    raise StoppedError from None
                if attempt == _STARTS:
                    raise _start_error(error) from error
            else:
                break
        assert self._child is not None
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.__exit__(None, None, None)


def starter_for(task: Task) -> Starter:
    """The starter of the worker processes of a task."""
    return starter_of(MODEL_WORKER if task.model_sha256 else WORKER)


def _failure(error: Exception, *, attempts: int) -> Failure:
    if isinstance(error, ProcessError):
        reason = f"the worker process {error}"
        return Failure(reason=reason, signal=error.signal, stderr=error.stderr, attempts=attempts)
    notes: Any = getattr(error, "__notes__", [])
    return Failure(reason=f"{type(error).__name__}: {error}", stderr="\n".join(notes)[-4096:], attempts=attempts)


def _start_error(error: ProcessError) -> ProcessError:
    last = error.stderr.strip().splitlines()[-1:]
    text = "".join(f": {line}" for line in last)
    return ProcessError(f"a worker process {error} before its task was open{text}", signal=error.signal)
