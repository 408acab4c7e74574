"""`ByteSource`: a pipe or an open file, as FFmpeg reads it."""

import hashlib
import os
from typing import Any, Protocol, runtime_checkable

HEAD_BYTES = 2**16
"""Length of the start of a file that tells its kind."""
_BLOCK = 2**20


@runtime_checkable
class Readable(Protocol):
    """A pipe, socket or file that is open for reading bytes."""

    def read(self, size: int = -1, /) -> Any:
        """Up to `size` bytes, none at the end."""

    def seekable(self) -> bool:
        """Whether `seek` works."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Change the position."""

    def tell(self) -> int:
        """The position, in bytes."""


class ByteSource:
    """A binary file that is open for reading; FFmpeg may seek in it only if it can.

    Args:
        file: Pipe, socket or file, at its start.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._read = getattr(file, "read1", file.read)  # which returns what is there, instead of waiting for more
        self._is_seekable = file.seekable()
        self._hash = hashlib.sha256()
        self.head = b""
        """The first bytes that were read, at most `HEAD_BYTES`."""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end."""
        data = self._read(size)
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        if not self._is_seekable:
            self._hash.update(data)
        return data

    def seekable(self) -> bool:
        """Whether the file can be read again; false for a pipe."""
        return self._is_seekable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Change the position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The position, in bytes."""
        return self._file.tell()

    def sha256(self) -> str:
        """Hash of all bytes; reads those that FFmpeg left unread."""
        if self._is_seekable:
            self.seek(0)
            return digest_of(self._file)
        while self.read(_BLOCK):
            pass
        return self._hash.hexdigest()


def digest_of(file: Readable) -> str:
    """SHA-256 of the rest of a file, in hexadecimal."""
    digest = hashlib.sha256()
    while data := file.read(_BLOCK):
        digest.update(data)
    return digest.hexdigest()
