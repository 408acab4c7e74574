"""Paths of videos as written in a list."""

import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from timesformer.errors import DataError
from timesformer.files import is_address
from timesformer.names import as_stored

logger = logging.getLogger(__name__)

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_WINDOWS = re.compile(r"[a-z]:[\\/]|\\\\", re.IGNORECASE)


def listed_path(text: str, *, root: Path, where: str) -> Path:
    """Path of a video that a file names.

    If the literal path does not exist, backslashes may be read as slashes, and accents in the other form (NFC, NFD).

    Args:
        text: Text in the file.
        root: Folder at which relative paths start, that of the file.
        where: File and line, for messages.

    Raises:
        DataError: The text is a URL or a path on another system.
    """
    refuse_non_local(text, where=where)
    path = as_stored(root / text)
    if "\\" in text and not os.path.lexists(path):
        other = as_stored(root / text.replace("\\", "/"))
        return other if os.path.lexists(other) else path
    return path


def refuse_non_local(text: str, *, where: str) -> None:
    """Refuse a text that cannot name a file on this machine.

    Raises:
        DataError: The text is a URL, or a Windows path on another system.
    """
    if _URL.match(text) or is_address(text):
        raise DataError(f"{where}: {text!r} is a URL: download the video first, and list the file")
    if os.name != "nt" and _WINDOWS.match(text):
        raise DataError(
            f"{where}: {text!r} is a path on a Windows machine: write the path on this machine, preferably relative to "
            "the folder of the list"
        )


def is_commented_out(text: str, *, has: Callable[[str], bool]) -> bool:
    """Whether a leading `#` starts a comment: space follows it, or only the name without it occurs.

    Args:
        text: The name, with the `#`.
        has: Whether a name occurs elsewhere: as an existing video, or as a label of other lines.
    """
    return not has(text) and (text[1:2] in ("", " ", "\t", "#") or has(text.lstrip("#").strip()))


OnComments = Callable[[Path, Sequence[int]], None]
"""Called with a list and the numbers of its comment lines that look like a video."""


def report_comments(path: Path, lines: Sequence[int]) -> None:
    """Log the numbers of comment lines that look like a video."""
    if lines:
        numbers = ", ".join(map(str, lines[:5])) + (", ..." if len(lines) > 5 else "")
        logger.warning("%s: skipped %d videos that a '#' makes comments (line %s)", path, len(lines), numbers)
