"""All cores for a batch of small clips: its parts are computed at the same time, each by few threads of torch.

Threads of torch divide every single operation, and wait for each other after it. That costs little in large operations
on idle cores. In small ones, next to threads that decode the next videos, an operation often waits for the core that
decodes: a batch of 8 clips of the demo model takes 1.3 times as long as its two halves on one thread each, that of a
ViT-S with clips of 8 x 96 x 64 pixels 1.07 times (AMD EPYC, 2 cores; `benchmarks/throughput.py`).
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Lock, Thread
from typing import TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

Clips = Float[Tensor, "b 3 t h w"] | UInt8[Tensor, "b 3 t h w"]
Result = TypeVar("Result")

MOST_WORK = 2**32
"""Multiplications per clip up to which batches are computed in parts. Larger ones gain 3 to 5 % at most, and a Ctrl-C
would wait for the batch: it interrupts the main thread alone."""


def limit_threads(count: int, *, others: int) -> None:
    """Set the number of torch's threads for operations of this thread alone.

    `torch.set_num_threads` also sets the number for threads that are started later; `others` restores it.
    """
    torch.get_num_threads()  # the first call in a thread takes over the common number; a later one would undo this
    torch.set_num_threads(count)
    restoring = Thread(target=torch.set_num_threads, args=(others,))
    restoring.start()
    restoring.join()


def num_parts(num_clips: int, *, num_threads: int) -> int:
    """Number of parts of a batch that are computed at the same time: the least time, and of equal ones the most parts.

    A part of `c` clips on `n` threads is taken to need `c / n` of the time of a clip: 8 clips on 2 threads are 2 parts,
    3 clips are one, since of 2 parts one would have 2 clips on one thread.
    """
    counts = range(1, max(1, min(num_clips, num_threads)) + 1)
    return min(counts, key=lambda count: (-(-num_clips // count) / (num_threads // count), -count))


class PartThreads:
    """Computes the parts of batches on threads of its own, which start when they are first needed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._made_for = 0, 0

    def __reduce__(self) -> "tuple[type[PartThreads], tuple[()]]":
        return PartThreads, ()  # threads cannot be pickled

    def compute(self, compute: Callable[[Clips], Result], clips: Clips) -> list[Result]:
        """What a function gives for each part of a batch, in order, in inference mode.

        Args:
            compute: The function, which is called by several threads at the same time.
            clips: A batch.
        """
        total = torch.get_num_threads()
        count = num_parts(len(clips), num_threads=total)
        if count == 1:
            return [compute(clips)]

        @torch.inference_mode()
        def compute_part(part: Clips) -> Result:
            if torch.get_num_threads() != total // count:
                limit_threads(total // count, others=total)
            return compute(part)

        futures = [self._threads(total).submit(compute_part, part) for part in clips.tensor_split(count)]
        wait(futures)  # also after an error: a smaller batch is then tried, which must have the memory for itself
        return [future.result() for future in futures]

    def _threads(self, count: int) -> ThreadPoolExecutor:
        made_for = os.getpid(), count  # a forked process has none of the threads
        with self._lock:
            if self._pool is None or self._made_for != made_for:
                self._pool, self._made_for = ThreadPoolExecutor(count, thread_name_prefix="compute"), made_for
            return self._pool
