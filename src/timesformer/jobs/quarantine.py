"""The quarantine of a job: one line of JSON for each item without a row."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt64

from timesformer.errors import DataError
from timesformer.jobs.durable import append_lines
from timesformer.jobs.ids import item_id, shortened
from timesformer.jobs.item import Failure, Item


def quarantine_line(item: Item, failure: Failure, *, salt: bytes) -> bytes:
    """The line of an item, in ASCII; bytes of a path that are not UTF-8 are surrogates, as Python reads them."""
    entry = {
        "id": item_id(item, salt),
        "path": item.path,
        "start": item.start,
        "end": item.end,
        "reason": failure.reason,
        "signal": failure.signal,
        "attempts": failure.attempts,
        "stderr": failure.stderr,
    }
    return (json.dumps(entry) + "\n").encode("ascii")


def append_entries(path: Path, lines: Iterable[bytes]) -> None:
    """Append lines durably.

    Raises:
        TimeSformerError: The disk refused.
    """
    content = b"".join(lines)
    if content:
        append_lines(path, content)


def read_entries(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a file, without a last line that a kill has torn.

    Raises:
        DataError: A line is damaged.
    """
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                entry = json.loads(line)
                entry["id"], entry["path"]
            except (ValueError, TypeError, KeyError) as error:
                raise DataError(
                    f"{path}, line {number}: is damaged; delete this line, and its item is computed again"
                ) from error
            yield entry


def quarantined_ids(paths: Iterable[Path]) -> UInt64[np.ndarray, " entries"]:
    """First 8 bytes of the ids in files.

    Raises:
        DataError: A line is damaged.
    """
    return shortened([entry["id"] for path in paths for entry in read_entries(path)])
