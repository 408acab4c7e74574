"""The engine `local`: worker processes on this machine."""

from collections.abc import Generator, Iterator
from contextlib import suppress
from queue import Empty, Queue
from threading import Lock, Thread

from timesformer.jobs.engine import Chunk, ChunkResult, Limits
from timesformer.jobs.supervised import StoppedError, Supervised, starter_for
from timesformer.jobs.task import Task
from timesformer.jobs.workers import Workers

_Message = ChunkResult | BaseException | None
"""A result; an error; None when a worker is done."""


def run_local(task: Task, chunks: Iterator[Chunk], *, workers: Workers, limits: Limits) -> Generator[ChunkResult]:
    """Compute chunks in worker processes; see `Engine`."""
    with starter_for(task) as starter:
        crew = [
            Supervised(task, limits=limits, environment=workers.environment(number), starter=starter)
            for number in range(workers.count)
        ]
        yield from _results(crew, chunks)


def _results(crew: list[Supervised], chunks: Iterator[Chunk]) -> Generator[ChunkResult]:
    messages: Queue[_Message] = Queue(maxsize=2 * len(crew))
    lock = Lock()
    threads = [Thread(target=_work, args=(worker, chunks, lock, messages), daemon=True) for worker in crew]
    try:
        for thread in threads:
            thread.start()
        running = len(threads)
        while running:
            message = messages.get()
            if isinstance(message, BaseException):
                raise message
            if message is None:
                running -= 1
            else:
                yield message
    finally:
        for worker in crew:
            worker.stop()
        _join(threads, messages)


def _work(worker: Supervised, chunks: Iterator[Chunk], lock: Lock, messages: "Queue[_Message]") -> None:
    """Compute chunks until there are none; run in the thread of a worker."""
    try:
        with worker:
            chunk = _next(chunks, lock)
            while chunk is not None:
                upcoming = _next(chunks, lock)
                messages.put(worker.run_chunk(chunk, upcoming=upcoming))
                chunk = upcoming
        messages.put(None)
    except StoppedError:
        return
    except BaseException as error:  # any error must reach the main thread, which waits for a message
        messages.put(error)


def _next(chunks: Iterator[Chunk], lock: Lock) -> Chunk | None:
    with lock:
        return next(chunks, None)


def _join(threads: list[Thread], messages: "Queue[_Message]") -> None:
    """Wait for threads, which may wait for room in the queue."""
    for thread in threads:
        while thread.is_alive():
            with suppress(Empty):
                messages.get_nowait()
            thread.join(0.05)
