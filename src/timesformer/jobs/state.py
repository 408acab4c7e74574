"""What is done of a job, read from its folder."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress

import numpy as np
from jaxtyping import Bool

from timesformer.jobs.engine import Chunk
from timesformer.jobs.folder import JobFolder, Shard
from timesformer.jobs.manifest import JobManifest
from timesformer.jobs.parts import read_stored
from timesformer.jobs.quarantine import quarantined_ids


@dataclass(frozen=True, slots=True, eq=False)
class JobState:
    """Which items of a job have a result."""

    has_row: Bool[np.ndarray, " items"]
    is_quarantined: Bool[np.ndarray, " items"]
    """Without a row of their own."""

    @property
    def is_done(self) -> Bool[np.ndarray, " items"]:
        """Items with a result of any kind."""
        return self.has_row | self.is_quarantined


def read_state(folder: JobFolder, manifest: JobManifest, *, has_error_rows: bool = False) -> JobState:
    """Read what all drivers have done.

    Args:
        folder: Folder of the job.
        manifest: Its items.
        has_error_rows: See `read_stored`; items with such a row alone are in quarantine.

    Raises:
        DataError: A file is damaged.
    """
    while True:
        with suppress(FileNotFoundError):  # another driver has compacted meanwhile
            return _read(folder, manifest, has_error_rows=has_error_rows)


def _read(folder: JobFolder, manifest: JobManifest, *, has_error_rows: bool) -> JobState:
    # parts before rows: a compaction makes the rows first, and then removes the parts
    stored = read_stored([*folder.part_files(), *folder.row_files()], has_error_rows=has_error_rows)
    has_row = np.isin(manifest.ids, stored.ids[~stored.is_error])
    quarantined = np.isin(manifest.ids, quarantined_ids(folder.quarantines()))
    return JobState(has_row, quarantined & ~has_row)


def in_shard(manifest: JobManifest, *, shard: Shard, chunk_size: int) -> Bool[np.ndarray, " items"]:
    """The items of a shard."""
    return np.arange(len(manifest)) // chunk_size % shard.count == shard.index


def chunks_of(manifest: JobManifest, todo: Bool[np.ndarray, " items"], *, chunk_size: int) -> Iterator[Chunk]:
    """The chunks with items to compute, and these items alone."""
    for number in np.unique(np.flatnonzero(todo) // chunk_size).tolist():
        start = number * chunk_size
        wanted = todo[start : start + chunk_size]
        items = manifest.items(start, start + len(wanted))
        yield Chunk(number=number, items=tuple(compress(items, wanted)))
