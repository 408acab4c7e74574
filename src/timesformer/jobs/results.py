"""Results of a finished job, read from its folder."""

from collections.abc import Iterator
from typing import Any

from timesformer.jobs.folder import JobFolder
from timesformer.jobs.item import Row
from timesformer.jobs.parquet import read_table
from timesformer.jobs.quarantine import read_entries


def iter_rows(folder: JobFolder) -> Iterator[Row]:
    """The rows of a finished job in the order of its items, with `id`, `path`, `start` and `end`; one file at a time.

    Raises:
        DataError: A file is damaged.
    """
    for file in folder.row_files():
        yield from read_table(file).to_pylist()


def iter_quarantine(folder: JobFolder) -> Iterator[dict[str, Any]]:
    """The entries of the items without a row.

    Raises:
        DataError: A line is damaged.
    """
    for file in folder.quarantines():
        yield from read_entries(file)
