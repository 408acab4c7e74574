"""Rows as Parquet files: `id`, `path`, `start`, `end`, then the columns of the task."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt64

from timesformer.errors import DataError
from timesformer.files import printable
from timesformer.jobs.ids import item_id, settings_text, shortened
from timesformer.jobs.item import Item, Row
from timesformer.jobs.parquet import arrow, read_table, write_table
from timesformer.jobs.task import Task

if TYPE_CHECKING:
    import pyarrow as pa

IDENTITY = ("id", "path", "start", "end")
"""Columns that say which item a row belongs to."""


def row_schema(task: Task) -> "pa.Schema":
    """Columns of the rows of a task, with verb, model and settings as metadata."""
    pa = arrow()
    identity = [("id", pa.string()), ("path", pa.string()), ("start", pa.float64()), ("end", pa.float64())]
    metadata = {
        "timesformer.verb": task.verb,
        "timesformer.model_sha256": task.model_sha256,
        "timesformer.settings": settings_text(task.settings),
    }
    return pa.schema([*(pa.field(*pair) for pair in identity), *task.schema], metadata=metadata)


def stored_row(item: Item, row: Row, *, salt: bytes) -> dict[str, Any]:
    """A row as it is stored; bytes of a path that are not UTF-8 are escaped, such as `caf\\xe9`."""
    times = {name: None if time is None else float(time) for name, time in (("start", item.start), ("end", item.end))}
    return {**row, "id": item_id(item, salt), "path": printable(item.path), **times}


def write_rows(rows: list[dict[str, Any]], path: Path, *, schema: "pa.Schema") -> None:
    """Write rows as a file.

    Raises:
        TimeSformerError: The disk refused.
    """
    pa = arrow()
    try:
        table = pa.Table.from_pylist(rows, schema=schema)
    except UnicodeEncodeError:  # names of files in other columns than `path`
        table = pa.Table.from_pylist(_printable(rows), schema=schema)
    write_table(table, path)


def _printable(value: Any) -> Any:
    """The same with all texts printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {key: _printable(each) for key, each in value.items()}
    return [_printable(each) for each in value] if isinstance(value, list | tuple) else value


def read_part(path: Path, *, columns: list[str] | None = None) -> "pa.Table":
    """Read a file of rows.

    Raises:
        DataError: The file is damaged; the message says what to do.
    """
    try:
        return read_table(path, columns=columns)
    except DataError as error:
        raise DataError(f"{error}; delete this file, and its rows are computed again") from error


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """Which rows lie where."""

    files: tuple[Path, ...]
    ids: UInt64[np.ndarray, " rows"]
    """First 8 bytes of the id of each row, file after file."""
    starts: UInt64[np.ndarray, " files1"]
    """Place in `ids` of the first row of each file, and the number of rows."""


def read_stored(files: Iterable[Path]) -> Stored:
    """The ids of the rows in files.

    Raises:
        DataError: A file is damaged; the message says what to do.
    """
    kept, ids = [], [np.empty(0, dtype=np.uint64)]
    for path in files:
        column = read_part(path, columns=["id"])["id"].to_pylist()
        kept.append(path)
        ids.append(shortened(column))
    starts = np.cumsum([len(each) for each in ids], dtype=np.uint64)
    return Stored(tuple(kept), np.concatenate(ids), starts)
