"""Messages between a process and its child: pickles whose large arrays are sent next to them, not copied into them."""

import pickle
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import IO, Any

_HEAD = struct.Struct("<BIQ")
"""Kind, number of buffers, bytes of the pickle; the sizes of the buffers, the pickle and the buffers follow."""
_SIZE = struct.Struct("<Q")
_MOST_BYTES = 2**36
"""Limit for what a child with corrupt memory claims to send."""
_MOST_BUFFERS = 2**16


class Kind(IntEnum):
    """What a message tells."""

    CALL = 1
    """Limits and setup of a new child, then the arguments of each call."""
    RETURN = 2
    """Value that ends a call."""
    VALUE = 3
    """One of the values of a generator."""
    ERROR = 4
    """Exception that ends a call."""
    ALIVE = 5
    """Progress of a call."""


class GarbledError(Exception):
    """Bytes that are not a message."""


def write_message(file: IO[bytes], kind: Kind, content: Any) -> None:
    """Write a message to an unbuffered file.

    Raises:
        OSError: Nobody reads.
        Exception: The content cannot be pickled; nothing was written.
    """
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(content, protocol=5, buffer_callback=buffers.append)
    raw = [buffer.raw() for buffer in buffers]
    head = [_HEAD.pack(kind, len(raw), len(pickled)), *(_SIZE.pack(part.nbytes) for part in raw), pickled]
    for part in (b"".join(head), *raw):
        left = memoryview(part)
        while left.nbytes:
            left = left[file.write(left) :]


def read_message(read_into: Callable[[memoryview], None]) -> tuple[Kind, Any]:
    """Read a message.

    Args:
        read_into: Fills a buffer with the next bytes.

    Raises:
        GarbledError: The bytes are not a message, or its content cannot be unpickled.
        Exception: As `read_into`.
    """
    kind, num_buffers, num_bytes = _HEAD.unpack(_read(read_into, _HEAD.size))
    if kind not in iter(Kind) or num_buffers > _MOST_BUFFERS:
        raise GarbledError
    sizes = [_SIZE.unpack(_read(read_into, _SIZE.size))[0] for _ in range(num_buffers)]
    if num_bytes + sum(sizes) > _MOST_BYTES:
        raise GarbledError
    pickled = _read(read_into, num_bytes)
    buffers = [_read(read_into, size) for size in sizes]
    try:
        return Kind(kind), pickle.loads(pickled, buffers=buffers)
    except (pickle.UnpicklingError, EOFError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError,
            ImportError) as error:  # fmt: skip
        raise GarbledError(str(error)) from error


def _read(read_into: Callable[[memoryview], None], size: int) -> bytearray:
    content = bytearray(size)
    read_into(memoryview(content))
    return content


def fill(file: IO[bytes], view: memoryview) -> None:
    """Read bytes from an unbuffered file until a buffer is full.

    Raises:
        EOFError: The file ends.
    """
    while view.nbytes:
        view = read_some(file, view)


def read_some(file: IO[bytes], view: memoryview) -> memoryview:
    """Read some bytes into a buffer; the part of it that is left.

    Raises:
        EOFError: The file ends.
    """
    count = file.readinto(view)  # ty: ignore[missing-attribute]
    if not count:
        raise EOFError
    return view[count:]
