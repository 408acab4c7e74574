"""Writes that survive a kill or a power cut at any moment."""

import os
from pathlib import Path

from timesformer.files import replacing_durably, sync_folder
from timesformer.outputs import writing


def write_durably(path: Path, content: bytes | memoryview) -> None:
    """Replace a file with its content as a whole, and flush it.

    Raises:
        TimeSformerError: The disk refused.
    """
    with writing(path), replacing_durably(path) as partial:
        partial.write_bytes(content)
    sync_folder(path.parent)


def append_lines(path: Path, lines: bytes) -> None:
    """Append whole lines to a file, and flush it.

    Raises:
        TimeSformerError: The disk refused.
    """
    with writing(path), open(path, "ab", buffering=0) as file:
        content = memoryview(lines)
        while content:
            content = content[file.write(content) :]
        os.fsync(file.fileno())


def drop_torn_line(path: Path) -> None:
    """Remove what stands after the last line end of a file, which a kill left there.

    Raises:
        TimeSformerError: The disk refused.
    """
    if not path.exists():
        return
    with writing(path), open(path, "rb+") as file:
        content = file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            file.truncate(whole)
            os.fsync(file.fileno())
