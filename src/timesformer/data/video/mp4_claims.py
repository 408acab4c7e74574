"""Claims of an MP4 or MOV that are checked before FFmpeg opens it.

FFmpeg makes an entry of its index for each frame. A table of frame sizes is as long as there are frames, but if all are
equal, one number stands for all of them: a file of a kilobyte may claim a hundred million, which take gigabytes and
minutes before the first is read.
"""

import os
import struct
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from timesformer.bounds import too_many_frames
from timesformer.data.video.byte_source import Readable
from timesformer.errors import DecodeError

_FIRST = (b"ftyp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx", b"uuid")
_CONTAINERS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"udta", b"edts"})
"""Boxes whose content FFmpeg reads as boxes and that may have such a table below them."""
_MAX_DEPTH = 8
_TABLES = frozenset({b"hdlr", b"stsz", b"stts", b"trun"})
_SHARED = 0x700
"""Flags of a fragment whose frames have a duration, a size or flags of their own."""
_SOUND = int.from_bytes(b"soun", "big")


class _Box(NamedTuple):
    """A box: its name, and the start and end of its content."""

    name: bytes
    start: int
    end: int


def check_claims(file: Readable, path: str | os.PathLike[str]) -> None:
    """Refuse a file whose index claims more frames than are indexed; other kinds of files pass.

    Raises:
        DecodeError: It does.
    """
    head = file.read(8)
    if head[4:8] not in _FIRST:
        return
    total = sum(_claims(_tables(file, start=0, end=file.seek(0, os.SEEK_END), depth=0)))
    if reason := too_many_frames(total):
        raise DecodeError(f"{path}: its index claims {reason}")


def _claims(tables: Iterator[tuple[bytes, tuple[int, ...]]]) -> Iterator[int]:
    """Numbers of frames that are claimed without a table entry for each.

    FFmpeg keeps an entry for a run of sound samples that last one unit of time each, as without compression.
    """
    claimed, is_sound, is_plain = 0, False, False
    for name, (first, second, third, fourth) in chain(tables, [(b"trak", (0,) * 4)]):
        if name == b"trak":  # ends the one before
            yield 0 if is_sound and is_plain else claimed
            claimed, is_sound, is_plain = 0, False, False
        elif name == b"hdlr":
            is_sound = is_sound or third == _SOUND
        elif name == b"stts":
            is_plain = (second, fourth) == (1, 1)
        elif name == b"stsz":
            claimed = third if second else 0
        elif not first & _SHARED:
            yield second


def _tables(file: Readable, *, start: int, end: int, depth: int) -> Iterator[tuple[bytes, tuple[int, ...]]]:
    """The first four numbers of each table in a file, and its tracks, in order."""
    for box in _boxes(file, start=start, end=end):
        if box.name == b"trak":
            yield box.name, (0,) * 4
        if box.name in _CONTAINERS and depth < _MAX_DEPTH:
            yield from _tables(file, start=box.start, end=box.end, depth=depth + 1)
        elif box.name in _TABLES:
            file.seek(box.start)
            yield box.name, struct.unpack(">IIII", file.read(16).ljust(16, b"\0"))


def _boxes(file: Readable, *, start: int, end: int) -> Iterator[_Box]:
    while start + 8 <= end:
        file.seek(start)
        size, name = struct.unpack(">I4s", file.read(8).ljust(8, b"\0"))
        length = 8
        if size == 1:
            size, length = int.from_bytes(file.read(8), "big"), 16
        stop = end if size == 0 else start + size
        if stop < start + length:  # FFmpeg stops here, too
            return
        yield _Box(name, start + length, min(stop, end))
        start = stop
