"""Read-ahead: the next items are read on threads while the caller works on one."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Source = TypeVar("Source")
Item = TypeVar("Item")


_WAIT_S = 1.0


def read_ahead(
    read: Callable[[Source], Item],
    sources: Iterable[Source],
    *,
    num_threads: int = 2,
    num_ahead: int = 4,
    on_wait: Callable[[], None] = lambda: None,
) -> Generator[Item]:
    """`map(read, sources)`, in order, with up to `num_ahead` items read in advance.

    Sources may be endless. An error of `read` is raised instead of its item; reading stops when the caller stops.
    `on_wait` is called once a second while an item is waited for.
    """
    remaining = iter(sources)
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="read-ahead")
    try:
        pending = deque(pool.submit(read, source) for source in islice(remaining, num_ahead))
        while pending:
            item = _wait(pending.popleft(), on_wait)
            pending.extend(pool.submit(read, source) for source in islice(remaining, 1))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)


def _wait(pending: Future[Item], on_wait: Callable[[], None]) -> Item:
    while True:
        try:
            return pending.result(timeout=_WAIT_S)
        except TimeoutError:
            if pending.done():  # an error of `read`
                raise
            on_wait()
