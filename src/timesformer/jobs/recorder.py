"""The writer of results: rows in parts, and failures in the quarantine."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from timesformer.jobs.engine import Chunk, ChunkResult
from timesformer.jobs.folder import JobFolder, Shard
from timesformer.jobs.ids import salt
from timesformer.jobs.item import Failure
from timesformer.jobs.parts import row_schema, stored_row, write_rows
from timesformer.jobs.quarantine import append_entries, quarantine_line
from timesformer.jobs.task import Task

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """When rows are written: a kill costs those that are not."""

    rows: int = 1000
    """Number of rows from which a part is written."""
    seconds: float = 30.0
    """Time since the last part from which another is written."""


class Recorder:
    """Context manager that writes the results of one driver; rows that are left are written at its end.

    All rows of a chunk are in one part, and its failures are in the quarantine before.

    Args:
        folder: Folder of the job.
        shard: Share of the driver, which names its files.
        task: Task of the rows.
        flush: When rows are written.
    """

    def __init__(self, folder: JobFolder, *, shard: Shard, task: Task, flush: Flush) -> None:
        self._folder = folder
        self._shard = shard
        self._flush = flush
        self._salt = salt(task)
        self._schema: pa.Schema = row_schema(task)
        self._rows: list[dict[str, Any]] = []
        self._written = time.monotonic()
        self._next = self._first_free()
        self.num_rows = 0
        """Rows that were recorded."""
        self.num_failures = 0
        """Failures that were recorded."""

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.write()

    def record(self, chunk: Chunk, result: ChunkResult) -> None:
        """Record the results of a chunk.

        Raises:
            TimeSformerError: The disk refused.
        """
        pairs = [*zip(chunk.items, result.results, strict=True)]
        failures = [(item, found) for item, found in pairs if isinstance(found, Failure)]
        lines = [quarantine_line(item, failure, salt=self._salt) for item, failure in failures]
        append_entries(self._folder.quarantine_of(self._shard), lines)
        self._rows += [
            stored_row(item, found, salt=self._salt) for item, found in pairs if not isinstance(found, Failure)
        ]
        self.num_failures += len(failures)
        self.num_rows += len(pairs) - len(failures)
        if len(self._rows) >= self._flush.rows or time.monotonic() - self._written >= self._flush.seconds:
            self.write()

    def write(self) -> None:
        """Write the rows that are waiting as a part.

        Raises:
            TimeSformerError: The disk refused.
        """
        if self._rows:
            write_rows(self._rows, self._path(self._next), schema=self._schema)
            self._next += 1
            self._rows = []
        self._written = time.monotonic()

    def _path(self, number: int) -> Path:
        return self._folder.parts / f"part{self._shard.suffix}-{number:06d}.parquet"

    def _first_free(self) -> int:
        prefix = f"part{self._shard.suffix}-"
        numbers = [path.stem.removeprefix(prefix) for path in self._folder.part_files()]
        return max((int(number) + 1 for number in numbers if number.isdecimal()), default=0)
