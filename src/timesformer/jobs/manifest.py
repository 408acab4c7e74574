"""The manifest of a job: its items in order, compact in memory, and as a file."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt64

from timesformer.errors import ConfigError, DataError
from timesformer.jobs.ids import short_id
from timesformer.jobs.item import Item
from timesformer.jobs.parquet import arrow, read_table, write_table

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 10_000
_FROM_MANIFEST = ("label", "group")


@dataclass(frozen=True, slots=True, eq=False)
class JobManifest:
    """The items of a job, each once."""

    table: "pa.Table"
    """Columns `path` (bytes, as the file system has them), `start` and `end`; `label` and `group` if any item has one.
    """
    ids: UInt64[np.ndarray, " items"]
    """First 8 bytes of the id of each item."""
    sha256: str
    """Hash of the items in their order, whatever the task."""
    num_repeated: int = 0
    """Items that were given again, and are left out."""

    def __len__(self) -> int:
        return len(self.ids)

    def items(self, start: int, stop: int) -> list[Item]:
        """A range of the items."""
        return _items(self.table.slice(start, stop - start))

    def has_relative_paths(self) -> bool:
        """Whether a path depends on the working folder."""
        compute = arrow().compute
        return compute.any(compute.invert(compute.starts_with(self.table["path"], pattern=b"/"))).as_py() or False

    def write(self, path: Path) -> None:
        """Write the manifest as Parquet.

        Raises:
            TimeSformerError: The disk refused.
        """
        write_table(self.table, path)


def make_manifest(items: Iterable[Item], *, salt: bytes) -> JobManifest:
    """The manifest of items; an item that comes again is left out.

    Args:
        items: The items, drawn once.
        salt: That of the task.

    Raises:
        ConfigError: A path cannot be that of a file.
    """
    pa = arrow()
    texts = [(name, pa.string()) for name in _FROM_MANIFEST]
    schema = pa.schema([("path", pa.binary()), ("start", pa.float64()), ("end", pa.float64()), *texts])
    ids, batches = [], []
    for batch in _batches(items):
        columns = [[_encoded(item.path) for item in batch],
                   *([getattr(item, name) for item in batch] for name in schema.names[1:])]  # fmt: skip
        batches.append(pa.record_batch(columns, schema=schema))
        ids.append(np.array([short_id(item, salt) for item in batch], dtype=np.uint64))
    table = pa.Table.from_batches(batches, schema=schema).combine_chunks()
    table = table.drop_columns([name for name in _FROM_MANIFEST if table[name].null_count == len(table)])
    every = np.concatenate([*ids, np.empty(0, dtype=np.uint64)])
    first = np.sort(np.unique(every, return_index=True)[1])
    if len(first) < len(every):
        table = table.take(first)
    return JobManifest(table, every[first], _hash(table), len(every) - len(first))


def read_manifest(path: Path, *, salt: bytes) -> JobManifest:
    """Read what `JobManifest.write` wrote.

    Raises:
        DataError: The file is missing or damaged.
    """
    try:
        table = read_table(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: is missing, and the job cannot be compared with this command") from error
    return make_manifest(_items(table), salt=salt)


def _items(table: "pa.Table") -> list[Item]:
    paths, *others = (table[name].to_pylist() for name in table.schema.names)
    names = table.schema.names[1:]
    return [
        Item(path=os.fsdecode(path), **dict(zip(names, values, strict=True)))
        for path, *values in zip(paths, *others, strict=True)
    ]


def _encoded(path: str) -> bytes:
    """A path as the file system has it."""
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError:
        encoded = b""
    if not encoded or b"\0" in encoded:
        raise ConfigError(f"path={path!r} cannot be the path of a file")
    return encoded


def _hash(table: "pa.Table") -> str:
    digest = hashlib.sha256()
    for batch in table.to_batches(_BATCH):
        for path, *others in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            digest.update(b"\0".join((path, *(repr(value).encode() for value in others), b"")))
    return digest.hexdigest()


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    remaining = iter(items)
    while batch := [*islice(remaining, _BATCH)]:
        yield batch
