"""How many files a second the driver of a batch job hands out and writes down, with a worker that computes nothing."""

import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from timesformer.jobs.item import Item, Row
from timesformer.jobs.run import run_job
from timesformer.jobs.task import Compute
from timesformer.jobs.workers import Workers

_NUM_FILES = 20_000


@dataclass(frozen=True, kw_only=True)
class NothingTask:
    """Rows as `predict` writes them, with constant content."""

    verb: str = "nothing"
    model_sha256: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    chunk_size: int = 8

    @property
    def schema(self) -> pa.Schema:
        """Five classes and their probabilities."""
        return pa.schema([("labels", pa.list_(pa.string())), ("probabilities", pa.list_(pa.float32()))])

    @contextmanager
    def open(self) -> Generator[Compute]:
        """Nothing to load."""
        yield self.compute

    def compute(self, items: Sequence[Item]) -> list[Row]:
        """The same row for each item."""
        return [{"labels": ["one", "two", "three", "four", "five"], "probabilities": [0.2] * 5} for _ in items]


def driver_rates(*, rounds: int) -> dict[str, float]:
    """Files a second of elapsed time, with one worker process: median, lowest and highest."""
    rates = sorted(_rate() for _ in range(rounds))
    return {"median": rates[len(rates) // 2], "low": rates[0], "high": rates[-1]}


def _rate() -> float:
    items = [Item(path=f"/data/{number:07d}.mp4") for number in range(_NUM_FILES)]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        summary = run_job(NothingTask(), items, Path(folder) / "job", workers=Workers(count=1))
        if summary.num_rows != _NUM_FILES:
            raise RuntimeError(f"{summary.num_rows} of {_NUM_FILES} rows were written")
        return _NUM_FILES / (time.perf_counter() - start)
