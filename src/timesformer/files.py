"""Files that are written whole or not at all, and what a text can be that names one."""

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_ADDRESS = re.compile(
    r"(^|.*/)(https?|ftps?|sftp|s3a?|gs|gcs|az|abfss?|hdfs|hf|file|rtsps?|rtmps?|mms|udp|srt|ssh|scp|magnet):/.*"
    r"|(www\.|m\.)?(youtube\.com|youtu\.be|vimeo\.com|bilibili\.com|tiktok\.com|drive\.google\.com)/.*|www\.[\w-]+\..*",
    re.IGNORECASE | re.DOTALL,
)


def is_address(path: str | os.PathLike[str]) -> bool:
    """Whether a path that is not there is one of the web or of a storage: `https://...`, `s3://...`, `youtu.be/...`.

    Also after `Path` took one of its slashes, or put a folder before it.
    """
    text = os.fspath(path)
    return _ADDRESS.fullmatch(text) is not None and not os.path.lexists(text)


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8; names of files need not be."""
    return re.search(r"[\ud800-\udfff]", text) is None


def printable(name: str) -> str:
    """A name with the bytes that are not UTF-8 as escapes, such as `caf\\xe9`."""
    text = re.sub(r"[\udc80-\udcff]", lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", name)
    return text.encode("utf-8", "backslashreplace").decode()


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Give a temporary path beside `path`, which takes its place when all went well and is deleted otherwise.

    Raises:
        OSError: The disk refused.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
