"""The folder of a job: its files, its lock, and whether it is that of this job."""

import json
import os
import platform
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from timesformer._version import __version__
from timesformer.errors import ConfigError, DataError
from timesformer.files import sync_folder
from timesformer.jobs.durable import append_lines, write_durably
from timesformer.outputs import check_folder, locked, writing

FORMAT_VERSION = 1
_OURS = (
    "manifest",
    "job",
    "runs",
    "quarantine",
    "rows",
    "parts",
    "staged",
    "compacting",
    "lock",
    "patches",
    "approximate",
)
"""Beginnings of the names of a job's files, without a dot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The share of a driver in a job: each chunk whose number modulo `count` is `index`.

    Raises:
        ConfigError: The index is not from 0 to `count` - 1.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.index < self.count:
            last = max(0, self.count - 1)
            raise ConfigError(f"shard={self.index}/{self.count}: shards count from 0, here to {last}")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def suffix(self) -> str:
        """Part of the names of its own files; empty for a single driver."""
        return f"-{self.index}-of-{self.count}" if self.count > 1 else ""


@dataclass(frozen=True, slots=True)
class JobFolder:
    """Paths of the files of a job."""

    root: Path

    @property
    def job(self) -> Path:
        """Verb, model, settings, and hash of the manifest."""
        return self.root / "job.json"

    @property
    def manifest(self) -> Path:
        """The items in order."""
        return self.root / "manifest.parquet"

    @property
    def runs(self) -> Path:
        """One line for each start of a driver: time, machine, versions, workers."""
        return self.root / "runs.jsonl"

    @property
    def rows(self) -> Path:
        """Folder of the rows in the order of the manifest, once all are computed."""
        return self.root / "rows"

    @property
    def parts(self) -> Path:
        """Folder of the rows in the order of their computation, until then."""
        return self.root / "parts"

    @property
    def staged(self) -> Path:
        """Folder of a compaction that is complete and is being moved to its place."""
        return self.root / "staged"

    @property
    def patches(self) -> Path:
        """Folder of the files of patches that `embed --level patch` writes next to its rows."""
        return self.root / "patches"

    @property
    def quarantine(self) -> Path:
        """The items without a row."""
        return self.root / "quarantine.jsonl"

    def quarantine_of(self, shard: Shard) -> Path:
        """The quarantine that a driver writes."""
        return self.root / f"quarantine{shard.suffix}.jsonl"

    def quarantines(self) -> list[Path]:
        """The quarantine files of all drivers, oldest content first."""
        of_shards = sorted(self.root.glob("quarantine-*-of-*.jsonl"))  # first: a compaction may move them meanwhile
        return [*filter(Path.exists, [self.quarantine]), *of_shards]

    def part_files(self) -> list[Path]:
        """Files of rows in the order of computation."""
        return sorted(self.parts.glob("part-*.parquet"))

    def row_files(self) -> list[Path]:
        """Files of rows in the order of the manifest."""
        return sorted(self.rows.glob("part-*.parquet"))


def create(folder: JobFolder) -> None:
    """Create the folders of a job.

    Raises:
        ConfigError: The folder cannot be written to, or holds files that are not those of a job.
    """
    check_folder(folder.root)
    if folder.root.is_dir() and not folder.job.exists():
        others = [path.name for path in folder.root.iterdir() if not path.name.lstrip(".").startswith(_OURS)]
        if others:
            raise ConfigError(
                f"job={str(folder.root)!r}: the folder is not empty and is not that of a job (such as {others[0]}): "
                "name another folder"
            )
    with writing(folder.root, error=ConfigError):
        for path in (folder.root, folder.rows, folder.parts):
            path.mkdir(parents=True, exist_ok=True)


def tidy(folder: JobFolder) -> None:
    """Remove what killed drivers left half-written.

    Raises:
        TimeSformerError: The disk refused.
    """
    with writing(folder.root):
        for pattern in (".*.part", ".job-*", "parts/.*.part"):
            for leftover in folder.root.glob(pattern):
                leftover.unlink(missing_ok=True)
        for leftover in folder.root.glob(".compacting-*"):
            shutil.rmtree(leftover, ignore_errors=True)


def clear(folder: JobFolder) -> None:
    """Remove the files of a job, its identity last: killed in between, it is still the old job.

    Raises:
        ConfigError: The folder is not that of a job, or a file cannot be removed.
    """
    with writing(folder.root, error=ConfigError):
        for tree in (folder.staged, folder.parts, folder.rows, folder.patches, *folder.root.glob(".compacting-*")):
            if tree.exists():
                shutil.rmtree(tree)
        derived = folder.root.glob("approximate.*")
        for path in (*derived, *folder.quarantines(), folder.runs, folder.job, folder.manifest):
            path.unlink(missing_ok=True)


def alone_in(folder: JobFolder, shard: Shard) -> AbstractContextManager[None]:
    """Lock a folder against other drivers of the same shard, until this process ends in any way.

    Raises:
        ConfigError: Another process computes it.
    """
    which = f", shard {shard}" if shard.count > 1 else ""
    message = f"job={str(folder.root)!r}{which}: another process is computing it: wait for it, or name another folder"
    return locked(folder.root / f".lock{shard.suffix}", message=message)


def read_job(folder: JobFolder) -> dict[str, Any] | None:
    """The identity of the job in a folder; None if there is none.

    Raises:
        DataError: The file is damaged, or of another version.
    """
    try:
        content = json.loads(folder.job.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{folder.job}: cannot be read: {error}; pass overwrite=True (--overwrite)") from error
    found = content.get("format_version") if isinstance(content, dict) else None
    if found != FORMAT_VERSION:
        raise DataError(f"{folder.job}: format_version={found}, this release reads {FORMAT_VERSION}")
    return content


def write_job(folder: JobFolder, identity: Mapping[str, Any]) -> bool:
    """Write the identity of a job, unless another driver was first.

    Returns:
        Whether this one was first.

    Raises:
        TimeSformerError: The disk refused.
    """
    text = json.dumps({"format_version": FORMAT_VERSION, **identity}, indent=1, sort_keys=True) + "\n"
    own = folder.root / f".job-{platform.node()}-{os.getpid()}.json"
    write_durably(own, text.encode())
    try:
        os.link(own, folder.job)
    except FileExistsError:
        return False
    except OSError:  # a disk without links
        if folder.job.exists():
            return False
        own.replace(folder.job)
    finally:
        own.unlink(missing_ok=True)
    sync_folder(folder.root)
    return True


def record_run(folder: JobFolder, run: Mapping[str, Any]) -> None:
    """Append a line about the start of a driver."""
    append_lines(folder.runs, (json.dumps({**run, "versions": versions()}) + "\n").encode())


def versions() -> dict[str, str]:
    """Versions of what computes and writes rows."""
    found = {"timesformer": __version__, "python": platform.python_version()}
    for name in ("torch", "av", "pyarrow"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
