"""Existence, modification stamp and digest of a video: a file, a folder of frames or a member of a tar file."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from timesformer.data.video.paths import holds_frames, list_frames
from timesformer.data.video.tar_member import MemberFile, find_member, list_members, split_member
from timesformer.errors import DecodeError
from timesformer.isolation.progress import report_progress


def video_exists(path: Path) -> bool:
    """True if a path leads to a file, a folder of frames or a member of a tar file; nothing is opened as a video.

    Raises:
        DecodeError: The tar file is damaged or cut off.
    """
    parts = split_member(path)
    if parts is None:
        return os.path.isfile(path) or holds_frames(path)  # unlike is_file, False for a name that is too long
    shard, name = parts
    return os.path.isfile(shard) and name in list_members(shard)


def video_stamp(path: Path) -> tuple[int, int] | None:
    """Size in bytes and modification time in ns, for a folder over all its frames; None if nothing is there."""
    try:
        member = find_member(path)
        if member is not None:
            return member.size, member.shard.stat().st_mtime_ns
        status = path.stat()
        if not path.is_dir():
            return status.st_size, status.st_mtime_ns
        frames = [frame.stat() for frame in list_frames(path)]
    except (OSError, DecodeError):
        return None
    return sum(frame.st_size for frame in frames), max(status.st_mtime_ns, *(frame.st_mtime_ns for frame in frames))


def video_digest(path: Path) -> str:
    """BLAKE2b of the bytes of a video, 128 bits in hexadecimal; for a folder, of all its frames in order.

    Raises:
        OSError, DecodeError: The bytes cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    if path.is_dir():
        for frame in list_frames(path):
            content = frame.read_bytes()
            digest.update(len(content).to_bytes(8, "little") + content)
        return digest.hexdigest()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def video_sha256(path: Path) -> str:
    """SHA-256 of a video file or of a member of a tar file, in hexadecimal; empty for a folder, which is not a file.

    Raises:
        OSError, DecodeError: The bytes cannot be read.
    """
    if path.is_dir():
        return ""
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    member = find_member(path)
    with closing(path.open("rb", buffering=0) if member is None else MemberFile(member, path)) as file:
        while block := file.read(2**18):
            yield block
            report_progress()
