"""Rows as Parquet files: `id`, `path`, `start`, `end`, then the columns of the task."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, UInt64

from timesformer.errors import DataError
from timesformer.files import printable
from timesformer.jobs.ids import item_id, settings_text, shortened
from timesformer.jobs.item import Item, Row
from timesformer.jobs.parquet import arrow, read_table, write_table
from timesformer.jobs.task import Task

if TYPE_CHECKING:
    import pyarrow as pa

ERROR = "error"
"""Column of the reason in the row of an item in quarantine; see `timesformer.jobs.task.ErrorRow`."""
IDENTITY = ("id", "path", "start", "end")
"""Columns that say which item a row belongs to."""


def row_schema(task: Task) -> "pa.Schema":
    """Columns of the rows of a task, with verb, model, settings and what its own schema says as metadata."""
    pa = arrow()
    identity = [("id", pa.string()), ("path", pa.string()), ("start", pa.float64()), ("end", pa.float64())]
    metadata = {
        "timesformer.verb": task.verb,
        "timesformer.model_sha256": task.model_sha256,
        "timesformer.settings": settings_text(task.settings),
    }
    own = {key.decode(): value.decode() for key, value in (task.schema.metadata or {}).items()}
    return pa.schema([*(pa.field(*pair) for pair in identity), *task.schema], metadata=metadata | own)


def stored_row(item: Item, row: Row, *, salt: bytes) -> dict[str, Any]:
    """A row as it is stored; bytes of a path that are not UTF-8 are escaped, such as `caf\\xe9`."""
    times = {name: None if time is None else float(time) for name, time in (("start", item.start), ("end", item.end))}
    return {**row, "id": item_id(item, salt), "path": printable(item.path), **times}


def write_rows(rows: list[dict[str, Any]], path: Path, *, schema: "pa.Schema") -> None:
    """Write rows as a file.

    Raises:
        TimeSformerError: The disk refused.
    """
    write_table(rows_table(rows, schema=schema), path)


def rows_table(rows: list[dict[str, Any]], *, schema: "pa.Schema") -> "pa.Table":
    """Rows as a table."""
    pa = arrow()
    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except UnicodeEncodeError:  # names of files in other columns than `path`
        return pa.Table.from_pylist(_printable(rows), schema=schema)


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
    is_error: Bool[np.ndarray, " rows"]
    """Whether a row stands for an item in quarantine."""


def read_stored(files: Iterable[Path], *, has_error_rows: bool = False) -> Stored:
    """The ids of the rows in files.

    Args:
        files: The files.
        has_error_rows: Whether rows with a value in the column `error` stand for items in quarantine.

    Raises:
        DataError: A file is damaged; the message says what to do.
    """
    kept, ids, is_error = [], [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.bool_)]
    for path in files:
        table = read_part(path, columns=["id", ERROR] if has_error_rows else ["id"])
        kept.append(path)
        ids.append(shortened(table["id"].to_pylist()))
        is_error.append(table[ERROR].is_valid().to_numpy() if has_error_rows else np.zeros(len(table), dtype=np.bool_))
    starts = np.cumsum([len(each) for each in ids], dtype=np.uint64)
    return Stored(tuple(kept), np.concatenate(ids), starts, np.concatenate(is_error))
