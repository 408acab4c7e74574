"""Fingerprints of many files: decoded by all cores, and cached so that unchanged files are not read again.

The cache is a text file next to the data, with one JSON object per line. Lines are only appended, a batch at once, and
unreadable lines are skipped, so that interrupted or concurrent runs lose nothing but time.
"""

import base64
import hashlib
import json
import logging
import math
import os
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from timesformer.config.checks import MOST_WORKERS, check_count
from timesformer.data.check.fingerprint import THUMBNAILS_SHAPE, Fingerprint, from_scan
from timesformer.data.check.scan import scan_here
from timesformer.data.check.worker_process import scan_apart
from timesformer.data.video.codecs import allowed_codecs
from timesformer.data.video.file_stat import video_stamp
from timesformer.errors import ProcessError
from timesformer.files import replacing

logger = logging.getLogger(__name__)

CACHE_FILE = ".timesformer-check"
"""Name of the cache in the folder of the data."""

_FORMAT = 4
"""Version, incremented when the fingerprint of the same file changes."""
_BATCH = 32
"""Fingerprints written at once."""

_THUMBNAIL_BYTES = math.prod(THUMBNAILS_SHAPE)

_Key = tuple[int, int]


def cache_path(source: str | Path) -> Path:
    """Path of the cache of a data set: in its folder, or in the user's cache if that is read-only."""
    folder = Path(os.path.abspath(source))
    folder = next(path for path in (folder, *folder.parents) if path.is_dir())  # a part lies behind its file
    path = folder / CACHE_FILE
    if os.access(path if path.exists() else folder, os.W_OK):
        return path
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "timesformer" / f"check-{hashlib.blake2b(str(folder).encode(), digest_size=8).hexdigest()}"


@dataclass(slots=True)
class FingerprintCache:
    """Fingerprints by path, size and modification time of a file; use it in a `with`, which reads and writes it."""

    path: Path
    _cached: dict[str, tuple[_Key, Fingerprint]] = field(default_factory=dict)
    _unsaved: list[str] = field(default_factory=list)

    def __enter__(self) -> "FingerprintCache":
        lines = _read_lines(self.path)
        for name, key, cached in filter(None, map(_parse, lines)):
            self._cached[name] = key, cached
        if len(lines) > 2 * len(self._cached) + _BATCH:
            self._rewrite()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._save()

    def get(self, path: Path) -> Fingerprint | None:
        """Fingerprint of a file; None if it is not cached or the file has changed."""
        key, cached = self._cached.get(self._name(path), (None, None))
        return cached if key is not None and key == video_stamp(path) else None

    def add(self, path: Path, found: Fingerprint) -> None:
        """Store the fingerprint of a file in its present state."""
        key = video_stamp(path)
        if key is not None:
            self._cached[self._name(path)] = key, found
            self._unsaved.append(_format(self._name(path), key, found))
        if len(self._unsaved) >= _BATCH:
            self._save()

    def _name(self, path: Path) -> str:
        """Key of a file: its path relative to the cache, which stays valid when both move."""
        path = Path(os.path.abspath(path))
        return str(path.relative_to(self.path.parent) if path.is_relative_to(self.path.parent) else path)

    def _save(self) -> None:
        if not self._unsaved:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:  # the first line end closes a line that a crash left incomplete
                file.write("".join(["\n", *self._unsaved]).encode())
        except OSError as error:
            logger.warning("%s: results cannot be cached for the next run: %s", self.path, error.strerror)
        self._unsaved.clear()

    def _rewrite(self) -> None:
        """Drop the lines that newer ones replace."""
        try:
            with replacing(self.path) as partial:
                partial.write_text("".join(_format(name, *entry) for name, entry in self._cached.items()), "utf-8")
        except OSError:
            logger.debug("%s cannot be shortened", self.path, exc_info=True)


def fingerprint_all(
    paths: Sequence[Path],
    *,
    cache: FingerprintCache,
    num_workers: int = 0,
    allow_codecs: Collection[str] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Path, Fingerprint]:
    """Fingerprint files; those that are not cached are decoded.

    Args:
        paths: Files, each once.
        cache: Cache, inside its `with`; results are stored at once, so that an interrupted run keeps them.
        num_workers: Decoding processes, each of which may die at a file; 0 decodes in this process.
        allow_codecs: Codecs to decode in addition to `timesformer.data.video.codecs.DEFAULT_CODECS`.
        on_progress: Called with the numbers of finished files, including cached ones, and of all files.

    Raises:
        ConfigError: `num_workers` is negative, or a codec is unknown.
        ProcessError: No process can be started.
    """
    check_count("num_workers", num_workers, least=0, most=MOST_WORKERS)
    codecs = allowed_codecs(allow_codecs)
    found = {path: cached for path in paths if (cached := cache.get(path)) is not None and _is_valid(cached, codecs)}
    todo = [path for path in paths if path not in found]
    on_progress(len(found), len(paths))
    if num_workers == 0:
        scans = scan_here(todo, allow_codecs=allow_codecs)
    else:
        scans = scan_apart(todo, num_workers=num_workers, allow_codecs=allow_codecs)
    for path, scan in scans:
        if isinstance(scan, ProcessError):  # not cached: it may be the fault of a busy machine
            found[path] = Fingerprint(error=f"the decoder {scan}")
        else:
            found[path] = from_scan(scan)
            cache.add(path, found[path])
        on_progress(len(found), len(paths))
    return found


def _is_valid(cached: Fingerprint, codecs: frozenset[str]) -> bool:
    """Whether a file would again be decoded, or again be refused, with these codecs allowed."""
    return not cached.codec or (cached.codec in codecs) == (not cached.error)


def _read_lines(path: Path) -> list[bytes]:
    try:
        return [line for line in path.read_bytes().split(b"\n") if line]
    except OSError:
        return []


def _format(name: str, key: _Key, found: Fingerprint) -> str:
    pixels = zlib.compress(found.thumbnails.tobytes(), level=1)
    content = {each.name: getattr(found, each.name) for each in fields(found)}
    content["thumbnails"] = base64.b64encode(pixels).decode()
    return json.dumps({"format": _FORMAT, "path": name, "key": key, "found": content}) + "\n"


def _parse(line: bytes) -> tuple[str, _Key, Fingerprint] | None:
    """Parse a line; None if it is damaged or has another version."""
    try:
        content: dict[str, Any] = json.loads(line)
        if content["format"] != _FORMAT:
            return None
        found = dict(content["found"])
        pixels = zlib.decompressobj().decompress(base64.b64decode(found.pop("thumbnails")), _THUMBNAIL_BYTES)
        thumbnails = np.frombuffer(pixels, dtype=np.uint8).reshape(THUMBNAILS_SHAPE)
        size, mtime_ns = content["key"]
        return str(content["path"]), (int(size), int(mtime_ns)), Fingerprint(**found, thumbnails=thumbnails)
    except (ValueError, KeyError, TypeError, zlib.error):
        return None
