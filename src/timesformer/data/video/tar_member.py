"""Videos inside tar files, at paths such as `train-000000.tar/clip.mp4`, read in place without unpacking.

The headers of a tar file are read once to find its videos. The result is cached in the process, and in processes forked
from it, until the file changes.
"""

import io
import os
import tarfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import IO, NamedTuple

from timesformer.bounds import MAX_TAR_MEMBERS
from timesformer.data.video.paths import is_video
from timesformer.errors import DecodeError

_BLOCK = 512
"""Bytes of a header; a tar file ends with two blocks of zeros."""


class Member(NamedTuple):
    """A file in a tar file, by the position of its bytes."""

    shard: Path
    offset: int
    size: int


def split_member(path: str | os.PathLike[str]) -> tuple[Path, str] | None:
    """Tar file and member name of a path; None if the path does not lead into a tar file."""
    path = Path(path)
    if ".tar" not in str(path).lower():
        return None
    named_so = (above for above in reversed(path.parents) if above.suffix.lower() == ".tar")
    shard = next((above for above in named_so if not above.is_dir()), None)
    return None if shard is None else (shard, path.relative_to(shard).as_posix())


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether a path, or the tar file that it leads into, exists."""
    parts = split_member(path)
    return os.path.lexists(path if parts is None else parts[0])


def find_member(path: str | os.PathLike[str]) -> Member | None:
    """Position of a video in its tar file; None if the path does not lead into a tar file.

    Raises:
        DecodeError: The tar file is missing, damaged or cut off, or has no video of this name.
    """
    parts = split_member(path)
    if parts is None:
        return None
    shard, name = parts
    members = list_members(shard)
    if name not in members:
        raise DecodeError(f"{path}: no video {name!r} in {shard.name}")
    return members[name]


def list_members(shard: Path) -> Mapping[str, Member]:
    """All videos in a tar file, by name.

    Raises:
        DecodeError: The file is missing, not a tar file, damaged or cut off.
    """
    try:
        status = shard.stat()
    except (OSError, ValueError) as error:
        raise DecodeError(f"{shard}: {getattr(error, 'strerror', None) or error}") from error
    return _read_members(shard, status.st_size, status.st_mtime_ns)


class MemberFile(io.RawIOBase):
    """A member as a readable file; `name` is its path."""

    def __init__(self, member: Member, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self.name = os.fspath(path)
        self._member = member
        self._position = 0
        self._file = member.shard.open("rb", buffering=0)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a position in the member."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._member.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def tell(self) -> int:
        """Position in the member."""
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Read `size` bytes from the position on, or all up to the end of the member."""
        left = max(0, self._member.size - self._position)
        self._file.seek(self._member.offset + self._position)
        content = self._file.read(left if size < 0 else min(size, left)) or b""
        self._position += len(content)
        return content

    def close(self) -> None:
        """Close the tar file; garbage collection does so, too."""
        if not self.closed:
            self._file.close()
        super().close()


@cache
def _read_members(shard: Path, size: int, mtime_ns: int) -> Mapping[str, Member]:
    """Read the headers of a tar file. Size and mtime are cache keys, so that a changed file is read again."""
    try:
        with shard.open("rb") as file:
            found, end = _videos_in(_NoMore(file, size), shard)
            file.seek(end)
            is_whole = file.read(_BLOCK) == bytes(_BLOCK)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DecodeError(f"{shard}: not a tar file, or cut off ({error})") from error
    if not is_whole or any(member.offset + member.size > size for member in found.values()):
        raise DecodeError(f"{shard}: the tar file is damaged or cut off")
    return found


def _videos_in(file: "_NoMore", shard: Path) -> tuple[dict[str, Member], int]:
    """The videos of a tar file by name, and the offset at which its members end."""
    found, number = {}, 0
    with tarfile.open(fileobj=file, mode="r:") as tar:  # ty: ignore[no-matching-overload]
        while (info := tar.next()) is not None:
            tar.members.clear()  # which would keep the header of every member
            number += 1
            if number > MAX_TAR_MEMBERS:
                raise DecodeError(f"{shard}: more than {MAX_TAR_MEMBERS} files in a tar file")
            if info.isfile() and is_video(Path(info.name)):
                found[info.name.removeprefix("./")] = Member(shard, info.offset_data, info.size)
        return found, tar.offset


class _NoMore:
    """A file of which no more is asked than it holds: Python allocates what a header claims before it reads it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        return self._file.read(min(size, self._size) if size >= 0 else size)
