"""Read-ahead: the next items are read on threads while the caller works on one."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Source = TypeVar("Source")
Item = TypeVar("Item")


def read_ahead(
    read: Callable[[Source], Item], sources: Iterable[Source], *, num_threads: int = 2, num_ahead: int = 4
) -> Generator[Item]:
    """`map(read, sources)`, in order, with up to `num_ahead` items read in advance.

    Sources may be endless. An error of `read` is raised instead of its item; reading stops when the caller stops.
    """
    remaining = iter(sources)
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="read-ahead")
    try:
        pending = deque(pool.submit(read, source) for source in islice(remaining, num_ahead))
        while pending:
            item = pending.popleft().result()
            pending.extend(pool.submit(read, source) for source in islice(remaining, 1))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
