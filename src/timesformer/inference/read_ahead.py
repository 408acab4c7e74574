"""Read-ahead: the next items are read on threads while the caller works on one."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import TypeVar

import torch

from timesformer.inference.threads import limit_threads
from timesformer.processes import num_cores

Source = TypeVar("Source")
Item = TypeVar("Item")

_MOST_READERS = 16
"""More readers would take memory for frames rather than time: one decodes hundreds of short clips a second."""


def num_readers() -> int:
    """Number of threads that read videos: one for each core, since decoding may take longer than the model."""
    return min(num_cores(), _MOST_READERS)


def read_ahead(
    read: Callable[[Source], Item], sources: Iterable[Source], *, num_threads: int = 2, num_ahead: int = 4
) -> Generator[Item]:
    """`map(read, sources)`, in order, with up to `num_ahead` items read in advance.

    Sources may be endless. An error of `read` is raised instead of its item; reading stops when the caller stops.
    With several threads, each uses one of torch's threads for an operation: all of them would fight for the cores.
    """
    remaining = iter(sources)
    limit = partial(limit_threads, 1, others=torch.get_num_threads()) if num_threads > 1 else None
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="read-ahead", initializer=limit)
    try:
        pending = deque(pool.submit(read, source) for source in islice(remaining, num_ahead))
        while pending:
            item = pending.popleft().result()
            pending.extend(pool.submit(read, source) for source in islice(remaining, 1))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
