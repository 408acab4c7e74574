"""Compaction: the rows of a finished job in the order of its manifest, in files that are equal to the byte for every
engine, number of workers and course of the work.

The new files are written into a folder of their own, which is then renamed to `staged`: from here on the new files are
the truth, and they are moved to their places and the parts removed. A kill before the rename leaves everything as it
was; after it, whoever comes next goes on with the move.
"""

import errno
import json
import os
import platform
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int64

from timesformer.errors import TimeSformerError
from timesformer.files import printable, sync_folder
from timesformer.jobs.durable import write_durably
from timesformer.jobs.folder import JobFolder
from timesformer.jobs.ids import salt, shortened
from timesformer.jobs.manifest import JobManifest
from timesformer.jobs.parquet import arrow, write_table
from timesformer.jobs.parts import Stored, read_part, read_stored, row_schema, rows_table, stored_row
from timesformer.jobs.quarantine import quarantined_ids, read_entries
from timesformer.jobs.state import read_state
from timesformer.jobs.task import Task, error_row_of
from timesformer.outputs import writing

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_PER_FILE = 10_000
_MERGED = "merged.json"
"""File in `staged` that lists the files whose content it replaces."""


def compact(folder: JobFolder, manifest: JobManifest, *, task: Task, rows_per_file: int = ROWS_PER_FILE) -> None:
    """Put all rows in the order of the manifest, and the quarantine as well; safe if two do it at once.

    Items in quarantine have a row if the task makes one.

    Args:
        folder: Folder of a job, in which every item has a result.
        manifest: Its items.
        task: Its task.
        rows_per_file: Rows of each file but the last.

    Raises:
        DataError: A file is damaged.
        TimeSformerError: The disk refused.
    """
    finish_compaction(folder)
    while not _is_compact(folder, manifest, has_error_rows=error_row_of(task) is not None):
        own = folder.root / f".compacting-{platform.node()}-{os.getpid()}"
        try:
            with writing(folder.root):
                shutil.rmtree(own, ignore_errors=True)
                own.mkdir()
            _stage(folder, manifest, own, task=task, rows_per_file=rows_per_file)
            _commit(own, folder)
        except (FileNotFoundError, TimeSformerError) as error:
            if not isinstance(error.__cause__ or error, FileNotFoundError):
                raise
            # another driver has compacted meanwhile, and removed what this one was reading or writing
        finally:
            shutil.rmtree(own, ignore_errors=True)
        finish_compaction(folder)


def _is_compact(folder: JobFolder, manifest: JobManifest, *, has_error_rows: bool) -> bool:
    files = [*folder.part_files(), *folder.quarantines()]
    if files not in ([], [folder.quarantine]):
        return False
    missing = read_state(folder, manifest, has_error_rows=has_error_rows).is_quarantined
    if not np.array_equal(quarantined_ids(files), manifest.ids[missing]):
        return False
    return not has_error_rows or np.array_equal(read_stored(folder.row_files()).ids, manifest.ids)


def _commit(own: Path, folder: JobFolder) -> None:
    sync_folder(own)
    with writing(folder.staged):
        try:
            own.rename(folder.staged)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another driver was first, with the same files
                raise
    sync_folder(folder.root)


def finish_compaction(folder: JobFolder) -> None:
    """Move the files of a complete compaction to their places, if there is one.

    Raises:
        TimeSformerError: The disk refused.
    """
    merged = folder.staged / _MERGED
    if not merged.exists():
        with suppress(OSError):
            folder.staged.rmdir()  # the last step of a move was not reached
        return
    with writing(folder.root), suppress(FileNotFoundError):  # another driver is doing the same
        replaced = json.loads(merged.read_bytes())
        for path in sorted(folder.staged.iterdir()):
            if path.suffix == ".parquet":
                path.replace(folder.rows / path.name)
            elif path.name == folder.quarantine.name:
                path.replace(folder.quarantine)
        sync_folder(folder.rows)
        for name in replaced:
            (folder.root / name).unlink(missing_ok=True)
        merged.unlink(missing_ok=True)
        folder.staged.rmdir()
    sync_folder(folder.root)


def _stage(folder: JobFolder, manifest: JobManifest, target: Path, *, task: Task, rows_per_file: int) -> None:
    parts, quarantines = folder.part_files(), folder.quarantines()
    error_row, schema = error_row_of(task), row_schema(task)
    stored = read_stored([*parts, *folder.row_files()], has_error_rows=error_row is not None)
    place = _places(manifest, stored)
    entries = _last_entries(quarantines, manifest, place < 0)
    written = np.flatnonzero(place >= 0) if error_row is None else np.arange(len(manifest))
    for number, start in enumerate(range(0, len(written), rows_per_file)):
        items = written[start : start + rows_per_file]
        table = _gather(stored, place[items[place[items] >= 0]], schema=schema)
        if error_row is not None:
            table = _with_error_rows(table, _error_rows(manifest, items, entries, task=task), place[items] >= 0)
        write_table(table, target / f"part-{number:05d}.parquet")
    if quarantines:
        lines = ((json.dumps(entry) + "\n").encode("ascii") for entry in entries.values())
        write_durably(target / folder.quarantine.name, b"".join(lines))
    replaced = [*parts, *(path for path in quarantines if path != folder.quarantine)]
    write_durably(target / _MERGED, json.dumps([os.path.relpath(path, folder.root) for path in replaced]).encode())


def _places(manifest: JobManifest, stored: Stored) -> Int64[np.ndarray, " items"]:
    """Place of the row of each item in the stored ids; -1 without one, and the first if there are several."""
    rows = np.flatnonzero(~stored.is_error)
    order = rows[np.argsort(stored.ids[rows], kind="stable")]
    if not len(order):
        return np.full(len(manifest), -1)
    at = np.minimum(np.searchsorted(stored.ids[order], manifest.ids), len(order) - 1)
    return np.where(stored.ids[order[at]] == manifest.ids, order[at], -1)


def _gather(stored: Stored, places: Int64[np.ndarray, " rows"], *, schema: "pa.Schema") -> "pa.Table":
    """Rows at places, in their order; each file is read once if the places are nearly in order."""
    pa = arrow()
    if not len(places):
        return schema.empty_table()
    starts = stored.starts.astype(np.int64)
    files = np.searchsorted(starts, places, side="right") - 1
    tables, positions = [], np.empty(len(places), dtype=np.int64)
    offset = 0
    for file in np.unique(files):
        rows = np.flatnonzero(files == file)
        tables.append(read_part(stored.files[file]).take(places[rows] - starts[file]))
        positions[rows] = offset + np.arange(len(rows))
        offset += len(rows)
    table = pa.concat_tables(tables).combine_chunks().take(positions)
    return table.cast(schema).replace_schema_metadata(schema.metadata)


def _error_rows(
    manifest: JobManifest, items: Int64[np.ndarray, " rows"], entries: Mapping[int, Mapping[str, Any]], *, task: Task
) -> "pa.Table":
    """The rows of those items that have an entry in the quarantine."""
    error_row = error_row_of(task)
    assert error_row is not None
    rows, salted = [], salt(task)
    for number in items.tolist():
        entry = entries.get(int(manifest.ids[number]))
        if entry is not None:
            (item,) = manifest.items(number, number + 1)
            rows.append(stored_row(item, error_row(item, printable(entry["reason"])), salt=salted))
    return rows_table(rows, schema=row_schema(task))


def _with_error_rows(table: "pa.Table", errors: "pa.Table", is_row: Bool[np.ndarray, " rows"]) -> "pa.Table":
    """Rows and those of items in quarantine, in the order of the items."""
    positions = np.empty(len(is_row), dtype=np.int64)
    positions[is_row] = np.arange(len(table))
    positions[~is_row] = len(table) + np.arange(len(errors))
    joined = arrow().concat_tables([table, errors]).combine_chunks().take(positions)
    return joined.replace_schema_metadata(table.schema.metadata)


def _last_entries(
    paths: Sequence[Path], manifest: JobManifest, is_missing: Bool[np.ndarray, " items"]
) -> dict[int, dict[str, Any]]:
    """The last entry of each item without a row by the start of its id, in the order of the manifest."""
    entries = [entry for path in paths for entry in read_entries(path)]
    by_id = dict(zip(shortened([entry["id"] for entry in entries]).tolist(), entries, strict=True))
    return {number: by_id[number] for number in manifest.ids[is_missing].tolist() if number in by_id}
