"""Tasks of batch jobs for tests: they compute next to nothing, and fail, die or hang at items whose names say so."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from timesformer.data.video.segment import Segment
from timesformer.errors import ConfigError, TimeSformerError
from timesformer.inference.view_batches import ReadVideo
from timesformer.jobs.decode import Views, open_decoder
from timesformer.jobs.engine import Chunk, ChunkResult, Limits
from timesformer.jobs.item import Failure, Item, Row
from timesformer.jobs.task import Compute, ErrorRow, Task
from timesformer.jobs.workers import Workers


@dataclass(frozen=True, kw_only=True)
class NameTask:
    """Rows with the length of each name, and what was computed together with it.

    Names with `bad` fail, those with `die` end the process by SIGSEGV, `exit` by `os._exit`, `raise` raises a
    RuntimeError, `hang` never ends, `full` takes all memory. An item is logged as a line in `log` when it is computed.
    """

    log: str = ""
    chunk_size: int = 3
    model_sha256: str = "0" * 64
    settings: dict[str, Any] = field(default_factory=lambda: {"top_k": 2})
    refuses: str = ""
    """Message of the error of `open`."""
    has_error_rows: bool = False
    """Whether items in quarantine have rows, too."""
    dies_once: str = ""
    """A file: the first process that finds none writes it and dies at its first chunk."""

    @property
    def verb(self) -> str:
        return "names"

    @property
    def schema(self) -> pa.Schema:
        errors = [("error", pa.string())] if self.has_error_rows else []
        return pa.schema([("length", pa.int64()), ("together", pa.list_(pa.string())), *errors])

    @property
    def error_row(self) -> ErrorRow | None:
        return (lambda item, reason: {"error": reason}) if self.has_error_rows else None

    @contextmanager
    def open(self) -> Generator[Compute]:
        if self.refuses:
            raise ConfigError(self.refuses)
        yield self.compute

    def compute(self, items: Sequence[Item]) -> list[Row | Failure]:
        if self.dies_once and not os.path.exists(self.dies_once):
            Path(self.dies_once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        names = [os.path.basename(item.path) for item in items]
        together = [name for name in names if "bad" not in name]
        return [self._result(name, item, together) for name, item in zip(names, items, strict=True)]

    def _result(self, name: str, item: Item, together: list[str]) -> Row | Failure:
        if self.log:
            with open(self.log, "a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(f"{item.path}\n")
        if "bad" in name:
            return Failure(reason=f"{item.path}: is bad")
        _misbehave(name)
        return {"length": len(name), "together": together}


def _misbehave(name: str) -> None:
    if "die" in name:
        print("about to die", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if "exit" in name:
        os._exit(3)
    if "raise" in name:
        raise RuntimeError("out of something")
    while "hang" in name:
        time.sleep(1)
    if "full" in name:
        hoard = [bytes([1]) * 2**24 for _ in range(10_000)]
        raise AssertionError(len(hoard))


def items_of(*names: str, folder: str = "/data") -> list[Item]:
    """Items of names in a folder."""
    return [Item(path=f"{folder}/{name}") for name in names]


def run_here(task: Task, chunks, *, workers: Workers, limits: Limits):
    """An engine that computes in this process."""
    with task.open() as compute:
        for chunk in chunks:
            yield ChunkResult(number=chunk.number, results=tuple(compute(chunk.items)))


class DecodeHere:
    """Stands in for `timesformer.jobs.decode.DecodeAhead`: reads videos in this process."""

    waited_s = 0.0

    def __init__(self, decode: Callable[[str, Segment | None, int], Views]) -> None:
        self._decode = decode

    def __call__(self, items: Sequence[Item], upcoming: Sequence[Item] = ()) -> Iterator[ReadVideo | Failure]:
        for item in items:
            segment = None if item.start is None or item.end is None else Segment(item.start, item.end)
            try:
                views, info, sha256, _ = self._decode(item.path, segment, 0)
            except TimeSformerError as error:
                yield Failure(reason=str(error))
            else:
                yield ReadVideo(item.path, torch.from_numpy(views), info, sha256)


@contextmanager
def decoding_here(model, clip, *, allow_codecs, num_children: int, call_s: float, has_sha256: bool = False):
    """`timesformer.jobs.decode.decoding` without processes."""
    yield DecodeHere(open_decoder(model, clip, allow_codecs, has_sha256))


def run_backwards(task: Task, chunks, *, workers: Workers, limits: Limits):
    """An engine that computes in this process, and gives the results of each four chunks in reverse."""
    waiting: list[Chunk] = []
    with task.open() as compute:
        for chunk in [*chunks, None]:
            waiting += [] if chunk is None else [chunk]
            if chunk is None or len(waiting) == 4:
                for each in reversed(waiting):
                    yield ChunkResult(number=each.number, results=tuple(compute(each.items)))
                waiting = []


def rows_of(folder: Path) -> list[Row]:
    """The rows of a job, in the order of their files."""
    return pq.read_table(folder / "rows").to_pylist()


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Content of each file of rows."""
    return {path.name: path.read_bytes() for path in sorted((folder / "rows").iterdir())}


def quarantine_of(folder: Path) -> list[dict[str, Any]]:
    """Entries of the quarantine."""
    path = folder / "quarantine.jsonl"
    return [json.loads(line) for line in path.read_text("ascii").splitlines()] if path.exists() else []


def computed(log: Path) -> list[str]:
    """Paths that were computed, one for each time."""
    return log.read_text("utf-8", errors="surrogateescape").splitlines() if log.exists() else []


def die_at_start(*setup: object) -> None:
    """A target of a worker that cannot start."""
    print("no mood", file=sys.stderr, flush=True)
    os._exit(5)
