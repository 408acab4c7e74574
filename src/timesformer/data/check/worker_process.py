"""Scan files in child processes: a file at which the decoder dies is unreadable, and the others are scanned."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from timesformer.data.check.scan import Scan
from timesformer.errors import ProcessError
from timesformer.isolation.limits import Limits
from timesformer.isolation.pool import map_apart

_TARGET = "timesformer.data.check.scan:open_scans"
SCAN_LIMITS = Limits(memory=3 * 2**30, call_s=60)
"""Memory for the largest frames that are decoded, and the longest time in which no packet is read or decoded."""


def scan_apart(
    paths: Sequence[Path], *, num_workers: int, allow_codecs: Collection[str] = (), limits: Limits = SCAN_LIMITS
) -> Iterator[tuple[Path, Scan | ProcessError]]:
    """Scan files, each once, in order of completion; a file at which the decoder dies has an error instead.

    Args:
        paths: The files.
        num_workers: Processes, at least 1.
        allow_codecs: Codecs to decode in addition to the default ones.
        limits: What a process may use.

    Raises:
        ProcessError: No process can be started.
    """
    return map_apart(_TARGET, paths, num_children=num_workers, setup=(tuple(allow_codecs),), limits=limits)
