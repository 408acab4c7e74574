"""Items of a job, and their results."""

from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
"""Values of an item by column, without those that identify the item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A video, or a segment of one, for which a job writes one row."""

    path: str
    start: float | None = None
    """Start of the segment in seconds; None for a whole video."""
    end: float | None = None
    """End of the segment in seconds; None for a whole video."""
    label: str | None = None
    """Class that a manifest gives; None without one. It is no part of the id."""
    group: str | None = None
    """Person, camera or recording that a manifest gives; None without one. It is no part of the id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An item without a row."""

    reason: str
    """Message of the error, or how the process ended."""
    signal: str = ""
    """Name of the signal that ended the process, such as `SIGSEGV`; empty if none did."""
    attempts: int = 1
    """Number of attempts, the last one included."""
    stderr: str = ""
    """Last lines of stderr of a process that died."""
