"""The path of a video as a list writes it."""

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
    """Where a video lies that a file names.

    Where nothing is called exactly so, backslashes may stand for slashes, and accents have the other form (NFC, NFD).

    Args:
        text: What the file says.
        root: Folder at which relative paths start, that of the file.
        where: File and line, for messages.

    Raises:
        DataError: It is a URL or a path of another system.
    """
    refuse_elsewhere(text, where=where)
    path = as_stored(root / text)
    if "\\" in text and not os.path.lexists(path):
        other = as_stored(root / text.replace("\\", "/"))
        return other if os.path.lexists(other) else path
    return path


def refuse_elsewhere(text: str, *, where: str) -> None:
    """Refuse what names no file of this machine.

    Raises:
        DataError: It is a URL, or a path with a drive where there are no drives.
    """
    if _URL.match(text) or is_address(text):
        raise DataError(f"{where}: {text!r} is a URL: download the video first, and list the file")
    if os.name != "nt" and _WINDOWS.match(text):
        raise DataError(
            f"{where}: {text!r} is a path on a Windows machine: write where the video is on this one, best relative to "
            "the folder of the list"
        )


def is_commented_out(text: str, *, has: Callable[[str], bool]) -> bool:
    """Whether a `#` in front of a name starts a comment: it is followed by space, or the name occurs without it only.

    Args:
        text: The name, with the `#`.
        has: Says whether a name occurs elsewhere: a video that is there, or a label of other lines.
    """
    return not has(text) and (text[1:2] in ("", " ", "\t", "#") or has(text.lstrip("#").strip()))


OnComments = Callable[[Path, Sequence[int]], None]
"""Called with a list and the numbers of its lines that look like a video, but are comments."""


def report_comments(path: Path, lines: Sequence[int]) -> None:
    """Log the numbers of the lines that are taken for comments, but look like a video that was commented out."""
    if lines:
        numbers = ", ".join(map(str, lines[:5])) + (", ..." if len(lines) > 5 else "")
        logger.warning(
            "%s: videos passed over, since a '#' makes them comments: %d (line %s)", path, len(lines), numbers
        )
