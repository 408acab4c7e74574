"""Uploads: the body of a request is written to a private file while it is read, and never held in memory."""

import errno
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from timesformer.files import printable
from timesformer.serve.limits import BYTES_PER_MB
from timesformer.serve.problems import ProblemError, busy
from timesformer.serve.spool import make_again

FIELD = "file"
"""Name of the one field of a multipart body."""
_FORM = "multipart/form-data"
_MEDIA_TYPES = frozenset(
    {"application/octet-stream", "application/mp4", "application/ogg", "application/x-matroska", "application/mxf",
     "image/gif", "image/apng", "image/webp"}
)  # fmt: skip
"""Types of videos besides `video/*`."""
_HEAD_BYTES = 2**16
"""What a multipart body may have besides the file."""
_MAX_NAME = 255
_TYPES_FIX = (
    "send the bytes of the file with a Content-Type of video/* (such as video/mp4) or application/octet-stream, or as "
    f"multipart/form-data in the field {FIELD!r}"
)


@dataclass(frozen=True, slots=True)
class Upload:
    """A received file."""

    path: Path
    name: str
    """Last part of the name that the client gave; empty if it gave none."""
    size: int
    """Bytes."""


class _Sink(Protocol):
    """Takes the bytes of a body."""

    @property
    def name(self) -> str:
        """Name of the file."""
        ...

    @property
    def size(self) -> int:
        """Bytes of the file so far."""
        ...

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""

    def finish(self) -> None:
        """Say that the body is complete."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """Types of bodies that a route reads."""

    is_allowed: Callable[[str], bool]
    """Says whether the type of a raw body is read."""
    what: str
    """What the types are, for messages."""
    fix: str
    has_form: bool
    """Whether `multipart/form-data` is read, too."""

    def check(self, headers: Mapping[str, str], *, max_bytes: int) -> None:
        """Refuse a request by its headers.

        Raises:
            ProblemError: Its body is too large (413) or of another type (415).
        """
        kind = self.check_type(headers.get("content-type", ""))
        stated = headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > max_bytes + (_HEAD_BYTES if kind == _FORM else 0):
            raise too_large(max_bytes)

    def check_type(self, content_type: str) -> str:
        """The media type of a header.

        Raises:
            ProblemError: Status 415.
        """
        kind = content_type.partition(";")[0].strip().lower()
        if not (self.is_allowed(kind) or (self.has_form and kind == _FORM)):
            shown = f"Content-Type {printable(kind)[:_MAX_NAME]!r} is" if kind else "a body without Content-Type is"
            raise ProblemError(415, f"{shown} not {self.what}", fix=self.fix)
        return kind


def _is_video(kind: str) -> bool:
    return kind.startswith("video/") or kind in _MEDIA_TYPES


VIDEO = Accepted(_is_video, "a type of videos", _TYPES_FIX, has_form=True)
JSON = Accepted(
    lambda kind: kind == "application/json", "application/json", "send JSON with Content-Type: application/json",
    has_form=False,
)  # fmt: skip


@asynccontextmanager
async def received(
    body: AsyncIterator[bytes],
    folder: Path,
    *,
    headers: Mapping[str, str],
    max_bytes: int,
    accepted: Accepted = VIDEO,
) -> AsyncGenerator[Upload]:
    """Write a body to a file of a folder, which is removed at the end of the block.

    Args:
        body: Chunks of the body.
        folder: The folder.
        headers: Headers of the request; `Content-Disposition` may name a raw file.
        max_bytes: Largest size of the file.
        accepted: Types of bodies.

    Raises:
        ProblemError: The body is too large (413), not of a type of videos (415), or damaged (400).
    """
    path = folder / secrets.token_hex(16)
    try:
        with _full_disk_is_busy(), _create(path) as file:  # closing writes what is still in the buffer
            sink = _sink(file, headers=headers, max_bytes=max_bytes, accepted=accepted)
            async for chunk in body:
                sink.feed(chunk)
            sink.finish()
        yield Upload(path, sink.name, sink.size)
    finally:
        with suppress(FileNotFoundError):
            path.unlink()


def too_large(max_bytes: int) -> ProblemError:
    """Status 413."""
    limit = f"{max_bytes / BYTES_PER_MB:g} MB"
    return ProblemError(
        413, f"the file is larger than {limit}, the limit of this server", fix=f"send a file of at most {limit}"
    )


class RawSink:
    """A body that is the file itself."""

    def __init__(self, file: BinaryIO, *, name: str, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self.name = name
        """Name of the file."""
        self.size = 0
        """Bytes of the file so far."""

    def feed(self, chunk: bytes) -> None:
        """Write the next bytes.

        Raises:
            ProblemError: The file is too large.
        """
        self.size += len(chunk)
        if self.size > self._max_bytes:
            raise too_large(self._max_bytes)
        self._file.write(chunk)

    def finish(self) -> None:
        """Refuse an empty body.

        Raises:
            ProblemError: Status 400.
        """
        if not self.size:
            raise ProblemError(400, "the body is empty", fix=_TYPES_FIX)


class MultipartSink:
    """A multipart body with one field, the file; parsed while it arrives, in chunks of any size."""

    def __init__(self, file: BinaryIO, *, boundary: bytes, max_bytes: int) -> None:
        self._out = RawSink(file, name="", max_bytes=max_bytes)
        self._max_bytes = max_bytes
        self._num_read = 0
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = b"", b""
        self._has_file = self._is_complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_field,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._open,
                "on_part_data": lambda data, start, end: self._out.feed(data[start:end]),
                "on_end": self._complete,
            },
        )

    @property
    def name(self) -> str:
        """File name of the part."""
        return self._out.name

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._out.size

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes.

        Raises:
            ProblemError: The file is too large, or the body is damaged or has another field.
        """
        self._num_read += len(chunk)
        if self._num_read > self._max_bytes + _HEAD_BYTES:
            raise too_large(self._max_bytes)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _damaged(str(error)) from error

    def finish(self) -> None:
        """Refuse a body that was cut off or has no file.

        Raises:
            ProblemError: Status 400.
        """
        if not self._is_complete:
            raise _damaged("it ends before its last boundary")
        if not self._has_file:
            raise _damaged(f"it has no field {FIELD!r}")
        self._out.finish()

    def _begin(self) -> None:
        self._headers = {}

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def _open(self) -> None:
        """Begin a part, whose headers are complete."""
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode(errors="replace")
        if name != FIELD or self._has_file:
            found = f"field {FIELD!r} twice" if name == FIELD else f"field {printable(name)[:_MAX_NAME]!r}"
            raise _damaged(f"it has the {found}, and one field {FIELD!r} is read")
        kind = self._headers.get(b"content-type", b"application/octet-stream").decode(errors="replace")
        if kind.lower().startswith(_FORM):
            raise _damaged("a part is itself multipart")
        VIDEO.check_type(kind)
        self._has_file = True
        self._out.name = base_name(options.get(b"filename", b"").decode(errors="replace"))

    def _complete(self) -> None:
        self._is_complete = True


def base_name(given: str) -> str:
    """The last part of a file name of a client, on one line and of limited length."""
    name = given.replace("\\", "/").rpartition("/")[2]
    return "".join(char for char in printable(name) if char.isprintable())[:_MAX_NAME]


def _sink(file: BinaryIO, *, headers: Mapping[str, str], max_bytes: int, accepted: Accepted) -> _Sink:
    if accepted.check_type(headers.get("content-type", "")) != _FORM:
        _, given = parse_options_header(headers.get("content-disposition", ""))
        return RawSink(file, name=base_name(given.get(b"filename", b"").decode(errors="replace")), max_bytes=max_bytes)
    _, options = parse_options_header(headers["content-type"])
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise _damaged("its Content-Type has no boundary")
    try:
        return MultipartSink(file, boundary=boundary, max_bytes=max_bytes)
    except FormParserError as error:
        raise _damaged(str(error)) from error


@contextmanager
def _full_disk_is_busy() -> Generator[None]:
    """Turn the error of a full disk into a problem.

    Raises:
        ProblemError: Status 503.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise busy("the server has no disk space left for uploads", retry_after_s=10) from error


def _create(path: Path) -> BinaryIO:
    """Create a private file, and its folder again if something else has deleted it."""
    try:
        return open(path, "xb", opener=_private)
    except FileNotFoundError:
        make_again(path.parent)
        return open(path, "xb", opener=_private)


def _damaged(what: str) -> ProblemError:
    fix = f"send multipart/form-data with one field {FIELD!r}, as `curl -F {FIELD}=@clip.mp4` does"
    return ProblemError(400, f"the multipart body cannot be read: {what}", fix=fix)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)
