"""Atomic writes, and checks of file names."""

import errno
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

_MAX_NAME = 200
"""Longest file name, in bytes, that a temporary name can contain; file systems allow 255."""
_ADDRESS = re.compile(
    r"(^|.*/)(https?|ftps?|sftp|s3a?|gs|gcs|az|abfss?|hdfs|hf|file|rtsps?|rtmps?|mms|udp|srt|ssh|scp|magnet):/.*"
    r"|(www\.|m\.)?(youtube\.com|youtu\.be|vimeo\.com|bilibili\.com|tiktok\.com|drive\.google\.com)/.*|www\.[\w-]+\..*",
    re.IGNORECASE | re.DOTALL,
)

_SECRET = re.compile(
    r"([\w.%-]*(?:token|key|pass|pwd|auth|secret|sig|user|login|cred|session|streamid|jwt)[\w.%-]*=)[^&;/#\s]*?(?=:?(?:[&;/#\s]|$))",
    re.IGNORECASE,
)
"""A value that may be a secret, in a query or, as some cameras have it, in the path; a colon after it is the text's."""
_URL = re.compile(r"\b([a-z][a-z0-9+.-]*:/{1,2})([^\s/?#]*)(\S*)", re.IGNORECASE)


def is_address(path: str | os.PathLike[str]) -> bool:
    """Whether a path that does not exist is an address on the web or in cloud storage: `https://...`, `s3://...`.

    Also if `Path` has merged its slashes or put a folder in front of it.
    """
    text = os.fspath(path)
    return _ADDRESS.fullmatch(text) is not None and not os.path.lexists(text)


def without_secrets(text: str) -> str:
    """A text without the credentials of the addresses in it: `user:password@`, and values of keys such as `token`."""
    return _URL.sub(_public, text)


def _public(match: re.Match[str]) -> str:
    scheme, authority, rest = match.groups()
    host = authority.rpartition("@")[2]
    _, colon, port = authority.partition(":")
    if "@" in rest and colon and not port.isdecimal() and "@" not in authority:  # a password with / ? or #
        rest = rest.rpartition("@")[2]
        host = re.split("[/?#]", rest, maxsplit=1)[0]
        rest = rest.removeprefix(host)
    return scheme + host + _SECRET.sub(r"\1***", rest)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_utf8(text: str) -> bool:
    """Whether a text can be encoded as UTF-8; file names need not be."""
    return re.search(r"[\ud800-\udfff]", text) is None


def printable(name: str) -> str:
    """A name with bytes that are not UTF-8 escaped, such as `caf\\xe9`."""
    text = re.sub(r"[\udc80-\udcff]", lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", name)
    return text.encode("utf-8", "backslashreplace").decode()


@contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Yield a temporary path next to `path`, which replaces it on success and is deleted on failure.

    A pipe or a device, such as `/dev/stdout`, is written to instead.

    Raises:
        OSError: The disk refused.
    """
    if is_stream(path):
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / path.name
            with open(Path(folder) / path.name, "rb") as content, open(path, "wb") as stream:
                shutil.copyfileobj(content, stream)
        return
    encoded = os.fsencode(path.name)
    name = path.name if len(encoded) <= _MAX_NAME else hashlib.blake2b(encoded, digest_size=16).hexdigest()
    partial = path.with_name(f".{name}.{os.getpid()}.part")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None  # a failed write names no file
        if is_full or error.filename == str(partial):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing_durably(path: Path) -> Generator[Path]:
    """`replacing`, flushed to the disk before it replaces `path`, so that a power cut cannot leave an empty file.

    Raises:
        OSError: The disk refused.
    """
    with replacing(path) as partial:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())


def swap_folder(staging: Path, folder: Path, *, kept: Callable[[Path], list[Path]]) -> None:
    """Replace `folder` by `staging`; the old folder is deleted only after the new one is in place.

    Args:
        staging: The new folder, next to the old one.
        folder: The folder to replace; it need not exist.
        kept: Lists the files of the old folder that are moved to the new one, where none has their name.

    Raises:
        OSError: The disk refuses; one of the folders is then in place.
    """
    if not folder.exists():
        os.rename(staging, folder)
        return
    retired = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    old = retired / "old"
    try:
        os.rename(folder, old)
        try:
            os.rename(staging, folder)
        except OSError:
            os.rename(old, folder)
            raise
        for path in kept(old):
            os.rename(path, folder / path.name)
    finally:
        if folder.exists() and not kept(old):  # never remove the only copy
            shutil.rmtree(retired, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, if its file system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_stream(path: Path) -> bool:
    """Whether a path is a pipe, a terminal or a device such as `/dev/null`."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)
