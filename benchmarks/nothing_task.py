"""A task of a batch job that computes nothing, to measure what the job itself costs."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from timesformer.jobs.item import Item, Row
from timesformer.jobs.task import Compute


@dataclass(frozen=True, kw_only=True)
class NothingTask:
    """Rows as those of `predict`, computed from nothing."""

    chunk_size: int = 32
    model_sha256: str = ""

    @property
    def verb(self) -> str:
        return "nothing"

    @property
    def settings(self) -> dict[str, Any]:
        return {}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("labels", pa.list_(pa.string())), ("probabilities", pa.list_(pa.float64()))])

    @contextmanager
    def open(self) -> Generator[Compute]:
        yield lambda items: [_nothing(item) for item in items]


def _nothing(item: Item) -> Row:
    return {"labels": [f"class {number}" for number in range(5)], "probabilities": [0.2] * 5}
