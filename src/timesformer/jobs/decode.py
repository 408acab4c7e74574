"""Decoding ahead in child processes, so that a decoder that dies, hangs or needs too much memory costs one video."""

import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips.pieces import read_piece
from timesformer.data.video.file_reader import VideoInfo
from timesformer.data.video.file_stat import video_sha256, video_stamp
from timesformer.data.video.reader import open_reader
from timesformer.data.video.segment import Segment, segment_name
from timesformer.errors import DecodeError, ProcessError, TimeSformerError
from timesformer.inference.view_batches import ReadVideo
from timesformer.isolation.child import Child
from timesformer.isolation.limits import Limits
from timesformer.isolation.processes import starter_of
from timesformer.isolation.progress import report_progress
from timesformer.jobs.item import Failure, Item

ATTEMPTS = 2
"""Attempts at a video whose decoder dies."""
MEMORY = 8 * 2**30
"""Bytes that a decoder may allocate: a minute of 8K frames in a clip fits, a bomb does not."""
_TARGET = "timesformer.jobs.decode:open_decoder"

_WAIT_S = 1.0

Views = tuple[UInt8[np.ndarray, "views 3 t s1 s2"], VideoInfo, str, int]
"""Some views of a video, what is known of it, its SHA-256, and the number of its pieces."""


def open_decoder(
    model: ModelConfig, clip: ClipConfig, allow_codecs: Collection[str], has_sha256: bool
) -> Callable[[str, Segment | None, int], Views]:
    """The function of a decoding process: a piece of the views of a video, 0 to 255, and with the first piece the
    SHA-256, if that is wanted."""
    torch.set_num_threads(1)
    hashed = lru_cache(maxsize=1)(_sha256)  # segments of a video come one after the other

    def decode(path: str, segment: Segment | None, number: int) -> Views:
        reader = open_reader(path, segment=segment, allow_codecs=allow_codecs)
        views, info, count = read_piece(reader, model, clip, name=segment_name(path, segment), number=number)
        sha256 = hashed(path, video_stamp(Path(path))) if has_sha256 and number == 0 else ""
        return views.numpy(), info, sha256, count

    return decode


def _sha256(path: str, stamp: tuple[int, int] | None) -> str:
    """SHA-256 of a video in its present state, of which the stamp is part of the key of a cache."""
    try:
        return video_sha256(Path(path))
    except OSError as error:
        raise DecodeError(f"{path}: cannot be read: {error.strerror or error}") from error


@contextmanager
def decoding(
    model: ModelConfig,
    clip: ClipConfig,
    *,
    allow_codecs: Collection[str],
    num_children: int,
    call_s: float,
    has_sha256: bool = False,
) -> Generator["DecodeAhead"]:
    """Processes that decode videos ahead of their use.

    Args:
        model: Frame count and image size of the views.
        clip: Sampling and crops.
        allow_codecs: Codecs to decode besides the default ones.
        num_children: Number of processes.
        call_s: Longest time in seconds that a decoder may take for a video.
        has_sha256: Whether the file of each video is hashed.
    """
    limits, setup = Limits(call_s=call_s, memory=MEMORY), (model, clip, tuple(allow_codecs), has_sha256)
    with ExitStack() as stack:
        starter = stack.enter_context(starter_of(_TARGET))
        free: SimpleQueue[Child] = SimpleQueue()
        for _ in range(num_children):
            free.put(stack.enter_context(Child(starter, setup=setup, limits=limits)))
        pool = stack.enter_context(ThreadPoolExecutor(num_children, thread_name_prefix="decode"))
        yield DecodeAhead(partial(_read, free=free), pool, num_ahead=2 * num_children)


class DecodeAhead:
    """Reads the videos of a chunk, and meanwhile the first ones of the next.

    Args:
        read: Reads a piece of a video, given its number; called in the threads of `pool`. `rest` of the first piece
            has the numbers of the others.
        pool: The threads.
        num_ahead: Videos that are read in advance, at most.
    """

    def __init__(self, read: Callable[[Item, int], ReadVideo | Failure], pool: ThreadPoolExecutor, *, num_ahead: int):
        self._read = read
        self._pool = pool
        self._num_ahead = num_ahead
        self._pending: dict[Item, Future[ReadVideo | Failure]] = {}
        self.waited_s = 0.0
        """Time that was waited for videos, in seconds."""

    def __call__(self, items: Sequence[Item], upcoming: Sequence[Item] = ()) -> Iterator[ReadVideo | Failure]:
        """The videos of a chunk in order, each as it was read or the reason why it cannot be read.

        Args:
            items: The items of the chunk.
            upcoming: Those of the next one, as far as known.
        """
        self._forget_all_but({*items, *upcoming})
        todo = iter([item for item in (*items, *upcoming) if item not in self._pending])
        for item in items:
            while len(self._pending) < self._num_ahead and (following := next(todo, None)) is not None:
                self._pending[following] = self._pool.submit(self._read, following, 0)
            found = self._wait(self._pending.pop(item, None) or self._pool.submit(self._read, item, 0))
            yield found._replace(rest=self._later(item, found.rest)) if isinstance(found, ReadVideo) else found

    def _later(self, item: Item, numbers: Iterable[Any]) -> Iterator[Tensor | Failure]:
        """The views of the other pieces of a video; a failure ends them."""
        remaining = iter(numbers)
        pending = deque(
            self._pool.submit(self._read, item, number) for number in islice(remaining, max(1, self._num_ahead // 2))
        )
        try:
            while pending:
                found = self._wait(pending.popleft())
                if isinstance(found, Failure):
                    yield found
                    return
                pending.extend(self._pool.submit(self._read, item, number) for number in islice(remaining, 1))
                yield found.views
        finally:
            for each in pending:
                each.cancel()

    def _forget_all_but(self, wanted: set[Item]) -> None:
        for item in [item for item in self._pending if item not in wanted]:
            self._pending.pop(item).cancel()

    def _wait(self, pending: "Future[ReadVideo | Failure]") -> ReadVideo | Failure:
        start = time.monotonic()
        while not wait([pending], timeout=_WAIT_S).done:
            report_progress()  # the decoders have limits of their own
        self.waited_s += time.monotonic() - start
        report_progress()
        return pending.result()


def _read(item: Item, number: int, *, free: "SimpleQueue[Child]") -> ReadVideo | Failure:
    child = free.get()
    try:
        views, info, sha256, count = _decode(child, item, number)
    except ProcessError as error:
        reason = f"{item.path}: the decoder {error}"
        return Failure(reason=reason, signal=error.signal, stderr=error.stderr, attempts=ATTEMPTS)
    except TimeSformerError as error:
        return Failure(reason=str(error))
    finally:
        free.put(child)
    return ReadVideo(item.path, torch.from_numpy(views), info, sha256, rest=range(1, count))


def _decode(child: Child, item: Item, number: int) -> Views:
    segment = None if item.start is None or item.end is None else Segment(item.start, item.end)
    for _ in range(ATTEMPTS - 1):
        try:
            return child.call(item.path, segment, number)
        except ProcessError:
            child.start()  # or raise the error of a process that cannot be started
    return child.call(item.path, segment, number)
