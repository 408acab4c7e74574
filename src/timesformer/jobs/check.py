"""Rows of `check --job`: the scan of each file of a data set, from which the findings are made."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from timesformer.data.check.fingerprint import THUMBNAILS_SHAPE, Fingerprint, from_scan
from timesformer.data.check.scan import Scanner
from timesformer.data.manifest.durations import FrameTimes, frame_times
from timesformer.data.video.file_stat import video_stamp
from timesformer.errors import DecodeError
from timesformer.jobs.item import Failure, Item, Row
from timesformer.jobs.parquet import arrow
from timesformer.jobs.task import Compute

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 8
_TEXTS = ("digest", "error", "codec", "timing")
_COUNTS = ("num_frames", "num_missing", "num_damaged", "height", "width")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckTask:
    """Scans of whole files; an unreadable file is a row with its `error`, since it is a finding."""

    allow_codecs: tuple[str, ...] = ()
    """Codecs to decode in addition to the default ones."""
    with_times: bool = False
    """Whether to read the times of all frames, which the faults of segments are found by."""

    @property
    def verb(self) -> str:
        """The verb."""
        return "check"

    @property
    def model_sha256(self) -> str:
        """No model."""
        return ""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides the rows."""
        return {"allow_codecs": sorted(self.allow_codecs), "with_times": self.with_times}

    @property
    def schema(self) -> "pa.Schema":
        """Columns of `Fingerprint`, of the state of the file, and of the times of frames."""
        pa = arrow()

        return pa.schema(
            [
                *((name, pa.string()) for name in _TEXTS),
                *((name, pa.int64()) for name in _COUNTS),
                ("fps", pa.float64()),
                ("thumbnails", pa.binary()),
                ("size", pa.int64()),
                ("mtime_ns", pa.int64()),
                ("frame_times", pa.list_(pa.float64())),
                ("video_end", pa.float64()),
            ]
        )

    @property
    def chunk_size(self) -> int:
        """Files scanned together."""
        return _CHUNK

    @contextmanager
    def open(self) -> Generator[Compute]:
        """A scanner."""
        scanner = Scanner(allow_codecs=self.allow_codecs)

        def compute(items: Sequence[Item]) -> Iterator[Row | Failure]:
            return (self._row(scanner, Path(item.path)) for item in items)

        yield compute

    def _row(self, scanner: Scanner, path: Path) -> Row:
        size, mtime_ns = video_stamp(path) or (None, None)  # before the scan: a file that changes later is noticed
        found = from_scan(scanner.scan(path))
        values = {each.name: getattr(found, each.name) for each in fields(found)}
        times = self._times(path) if not found.error else None
        return values | {
            "thumbnails": None if found.error else found.thumbnails.tobytes(),
            "size": size,
            "mtime_ns": mtime_ns,
            "frame_times": None if times is None else times.starts.tolist(),
            "video_end": None if times is None else times.end,
        }

    def _times(self, path: Path) -> FrameTimes | None:
        if not self.with_times:
            return None
        try:
            return frame_times(path, allow_codecs=self.allow_codecs)
        except DecodeError:  # the file changed since it was scanned
            return None


@dataclass(frozen=True, slots=True, eq=False)
class Scans:
    """Rows of a check as its findings need them."""

    fingerprints: dict[Path, Fingerprint]
    frame_times: dict[Path, FrameTimes]
    changed: list[Path]
    """Files that changed since they were scanned."""


def scans_of(paths: Mapping[str, Path], *, rows: Iterable[Row], quarantined: Iterable[Mapping[str, Any]]) -> Scans:
    """The scans of a job.

    Args:
        paths: Path of each item by its id.
        rows: Rows of the job, with their `id`.
        quarantined: Entries of its quarantine, each with `id` and `reason`.
    """
    scans = Scans({}, {}, [])
    for row in rows:
        path = paths[row["id"]]
        scans.fingerprints[path] = _fingerprint(row)
        if row["frame_times"] is not None:
            scans.frame_times[path] = FrameTimes(np.array(row["frame_times"]), row["video_end"])
        if (video_stamp(path) or (None, None)) != (row["size"], row["mtime_ns"]):
            scans.changed.append(path)
    for entry in quarantined:
        scans.fingerprints[paths[entry["id"]]] = Fingerprint(error=entry["reason"])
    return scans


def _fingerprint(row: Row) -> Fingerprint:
    values = {each.name: row[each.name] for each in fields(Fingerprint)}
    pixels = values.pop("thumbnails")
    if pixels is None:
        return Fingerprint(**values)
    return Fingerprint(**values, thumbnails=np.frombuffer(pixels, dtype=np.uint8).reshape(THUMBNAILS_SHAPE))
