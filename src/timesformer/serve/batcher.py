"""`Batcher`: groups the items of concurrent requests for one compute thread.

A batch leaves when it is full, when its first item has waited long enough, or when the server is stopping. Items whose
request was cancelled are left out. If a batch fails, its items are computed one by one, so that an item that cannot be
computed costs its own request alone.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

Reason = Literal["full", "wait", "drain"]
"""Why a batch left the queue: no further item fits, its first item waited long enough, or the server is stopping."""


class FullError(Exception):
    """The queue is full."""


class ClosedError(Exception):
    """The batcher takes no more items."""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A batch that left the queue."""

    reason: Reason
    size: int
    """Sum of the sizes of its items."""
    waited_s: tuple[float, ...]
    """Time that each item waited, in seconds."""


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    size: int
    answer: "asyncio.Future[Result]"
    since_s: float = field(default_factory=time.monotonic)


class Batcher(Generic[Item, Result]):
    """Computes items in batches; used by the tasks of one event loop while `run` runs in another task of it.

    Args:
        compute: Gives the result of each item, in order; called in one thread, one call at a time.
        max_batch: Largest sum of sizes in a batch; an item that is larger by itself is computed alone.
        max_wait_s: Longest time in seconds that an item waits for others.
        max_queue: Largest number of items that wait.
        on_dispatch: Called for each batch that leaves the queue.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        max_batch: int,
        max_wait_s: float,
        max_queue: int,
        on_dispatch: Callable[[Dispatch], object] = lambda dispatch: None,
    ) -> None:
        self._compute = compute
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._max_queue = max_queue
        self._on_dispatch = on_dispatch
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._changed = asyncio.Event()
        self._is_draining = False

    async def submit(self, item: Item, *, size: int = 1) -> Result:
        """The result of an item; a cancelled call takes the item out of the queue.

        Raises:
            FullError: Too many items wait.
            ClosedError: The batcher is draining.
            Exception: The error of `compute` for this item alone.
        """
        if self._is_draining:
            raise ClosedError
        if len(self._queue) >= self._max_queue:
            raise FullError
        waiting: _Waiting[Item, Result] = _Waiting(item, size, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._changed.set()
        try:
            return await waiting.answer
        finally:
            if waiting.answer.cancelled():
                self._forget(waiting)

    def drain(self) -> None:
        """Take no more items, and compute those that wait without waiting for others; `run` then returns."""
        self._is_draining = True
        self._changed.set()

    async def run(self) -> None:
        """Compute batches until `drain` is called and the queue is empty."""
        with ThreadPoolExecutor(1, thread_name_prefix="compute") as thread:
            while self._queue or not self._is_draining:
                if not self._queue:
                    await self._until_changed(None)
                    continue
                reason = await self._reason()
                if batch := self._take():
                    self._report(batch, reason)
                    await self._answer(batch, thread)

    async def _reason(self) -> Reason:
        """Wait until a batch should leave."""
        while self._queue:
            if self._is_draining:
                return "drain"
            if self._size() >= self._max_batch:
                return "full"
            left_s = self._queue[0].since_s + self._max_wait_s - time.monotonic()
            if left_s <= 0:
                return "wait"
            await self._until_changed(left_s)
        return "wait"  # all items were cancelled

    async def _until_changed(self, timeout_s: float | None) -> None:
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()

    def _size(self) -> int:
        return sum(waiting.size for waiting in self._queue)

    def _take(self) -> list[_Waiting[Item, Result]]:
        batch: list[_Waiting[Item, Result]] = []
        size = 0
        while self._queue and (not batch or size + self._queue[0].size <= self._max_batch):
            batch.append(self._queue.popleft())
            size += batch[-1].size
        return batch

    def _forget(self, waiting: _Waiting[Item, Result]) -> None:
        with suppress(ValueError):  # its batch has left
            self._queue.remove(waiting)
            self._changed.set()

    def _report(self, batch: Sequence[_Waiting[Item, Result]], reason: Reason) -> None:
        now_s = time.monotonic()
        waited_s = tuple(now_s - waiting.since_s for waiting in batch)
        self._on_dispatch(Dispatch(reason, sum(waiting.size for waiting in batch), waited_s))

    async def _answer(self, batch: Sequence[_Waiting[Item, Result]], thread: ThreadPoolExecutor) -> None:
        """Compute a batch; after a failure, each item that is still wanted by itself."""
        call = asyncio.wrap_future(thread.submit(self._compute, [waiting.item for waiting in batch]))
        await asyncio.wait([call])
        error = call.exception()
        if error is None:
            for waiting, result in zip(batch, call.result(), strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(result)
        elif len(batch) > 1:
            for waiting in batch:
                if not waiting.answer.done():
                    await self._answer([waiting], thread)
        elif not batch[0].answer.done():
            batch[0].answer.set_exception(error)
