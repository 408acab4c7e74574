"""`Supervised`: a worker process that is replaced when it dies or hangs, so that this costs one item."""

import os
import pickle
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from timesformer.errors import TimeSformerError
from timesformer.jobs.engine import Chunk, ChunkResult, Limits
from timesformer.jobs.item import Failure, Item, Row
from timesformer.jobs.task import Task
from timesformer.jobs.worker_process import Died, WorkerProcess

ATTEMPTS = 2
"""Attempts at an item by itself."""


class Supervised:
    """Context manager of one worker process, in which a task is opened once.

    If the process dies, exceeds a limit or fails, another is started and the items of the chunk are computed one by
    one, to find which of them it cannot compute; the others are then computed together again. So the rows of a chunk
    are the same bits whether or not a process died.

    The process ends with the thread that started it.

    Args:
        task: What to compute.
        limits: Limits of the process.
        environment: Environment variables to add, such as `Workers.environment`.
        folder: Working folder of the process, at which relative paths start; by default that of this process.
    """

    def __init__(
        self,
        task: Task,
        *,
        limits: Limits,
        environment: Mapping[str, str] | None = None,
        folder: str | None = None,
    ) -> None:
        self._limits = limits
        self._process = WorkerProcess(
            pickle.dumps(task), limits=limits, environment=environment or {}, folder=folder or os.getcwd()
        )

    def __enter__(self) -> "Supervised":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.close()

    def stop(self) -> None:
        """End the process, from any thread; a running `run` raises `Stopped`."""
        self._process.stop()

    def run_chunk(self, chunk: Chunk) -> ChunkResult:
        """`run`, with the times of the worker."""
        start, waited = time.monotonic(), self._process.waited_s
        results = self.run(chunk.items)
        return ChunkResult(
            number=chunk.number,
            results=tuple(results),
            busy_s=time.monotonic() - start,
            waited_s=self._process.waited_s - waited,
        )

    def run(self, items: Sequence[Item]) -> list[Row | Failure]:
        """Compute the items of a chunk.

        Returns:
            A result for each item, in their order.

        Raises:
            TimeSformerError: The task cannot be opened.
            Stopped: `stop` was called.
        """
        together = self._attempt(items)
        if not isinstance(together, Died):
            return together
        alone = [self._alone(item) for item in items]
        good = [item for item, result in zip(items, alone, strict=True) if not isinstance(result, Failure)]
        if len(good) < 2:
            return alone
        together = self._attempt(good)
        if isinstance(together, Died):
            return alone
        rows = iter(together)
        return [result if isinstance(result, Failure) else next(rows) for result in alone]

    def _alone(self, item: Item) -> Row | Failure:
        """The result of an item by itself; `attempts` counts the one in its chunk, too."""
        died: Died | None = None
        for _ in range(ATTEMPTS):
            results = self._attempt([item])
            if not isinstance(results, Died):
                return results[0]
            died = results
        assert died is not None
        return Failure(reason=died.reason, signal=died.signal, attempts=1 + ATTEMPTS, stderr=died.stderr)

    def _attempt(self, items: Sequence[Item]) -> list[Row | Failure] | Died:
        try:
            results = self._process.call(items, within_s=self._limits.seconds_per_item * len(items))
        except Died as died:
            return died
        if len(results) != len(items):
            raise TimeSformerError(f"a task gave {len(results)} results for {len(items)} items")
        return results
