"""An HTTP/1.1 client that sees what well-behaved ones hide: it can send any bytes, stop anywhere, and hang up.

It counts the bytes that the server took, and notices an answer that nobody asked for.
"""

import asyncio
import json
import socket
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

TIMEOUT_S = 120.0
"""Longest wait for a part of an answer."""
_PIECE = 2**16
_PAUSE_S = 0.02


class NoAnswerError(Exception):
    """The server closed the connection without a whole answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back for a request."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    seconds: float
    """From the first byte that was sent to the last that came."""
    sent_bytes: int
    """Bytes of the body that the server's system had taken when the answer came."""

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def is_problem(self) -> bool:
        """Whether an error is described as RFC 9457 asks, with a `fix`."""
        if not self.headers.get("content-type", "").startswith("application/problem+json"):
            return False
        problem = self.json()
        return problem.get("status") == self.status and all(problem.get(key) for key in ("title", "detail", "fix"))


@dataclass(slots=True)
class Connection:
    """A connection to the server; requests on it follow each other."""

    socket: socket.socket
    host: str
    _buffer: bytearray = field(default_factory=bytearray)
    _sent: int = 0

    async def send(self, content: bytes) -> None:
        """Send raw bytes.

        Raises:
            OSError: The server closed the connection.
        """
        await asyncio.get_running_loop().sock_sendall(self.socket, content)

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] = b"",
        *,
        headers: Mapping[str, str] | None = None,
        content_length: int | None = None,
        pause_after: int = 2**62,
    ) -> Answer:
        """Send a request and wait for its answer.

        Args:
            method: Method.
            path: Path and query.
            body: Bytes, or pieces that are sent as chunks unless `content_length` is given. Sending stops when an
                answer comes.
            headers: More headers.
            content_length: Value of `Content-Length` for pieces.
            pause_after: Bytes of the body after which it is sent slowly, so that few are on their way to the server.

        Raises:
            NoAnswerError: The server closed the connection before or within the answer.
            AssertionError: The server had sent something before the request.
        """
        assert not self._stray(), bytes(self._buffer[:200])
        start = time.perf_counter()
        is_chunked = not isinstance(body, bytes) and content_length is None
        length = len(body) if isinstance(body, bytes) else content_length
        sizes = {"Transfer-Encoding": "chunked"} if is_chunked else {"Content-Length": str(length)}
        lines = [
            f"{method} {path} HTTP/1.1",
            *(f"{k}: {v}" for k, v in {"Host": self.host, **sizes, **(headers or {})}.items()),
        ]
        pieces = (body,) if isinstance(body, bytes) else body
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        sending = asyncio.create_task(self._send_body(head, pieces, is_chunked=is_chunked, pause_after=pause_after))
        try:
            status, answer_headers, content = await self._receive(method, sending)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        return Answer(
            status=status,
            headers=answer_headers,
            body=content,
            seconds=time.perf_counter() - start,
            sent_bytes=self._sent,
        )

    async def _send_body(self, head: bytes, pieces: Iterable[bytes], *, is_chunked: bool, pause_after: int) -> None:
        loop, self._sent = asyncio.get_running_loop(), 0
        if isinstance(pieces, tuple) and not is_chunked and len(pieces[0]) < _PIECE:
            await loop.sock_sendall(self.socket, head + pieces[0])
            self._sent = len(pieces[0])
            return
        await loop.sock_sendall(self.socket, head)
        for whole in pieces:
            for at in range(0, len(whole), _PIECE):
                piece = whole[at : at + _PIECE]
                framed = b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece
                await loop.sock_sendall(self.socket, framed)
                self._sent += len(piece)
                await asyncio.sleep(_PAUSE_S if self._sent > pause_after else 0)
        if is_chunked:
            await loop.sock_sendall(self.socket, b"0\r\n\r\n")

    async def answer(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """Wait for the answer to what was sent by `send`: status, headers, body.

        Raises:
            NoAnswerError: As `request`.
        """
        return await self._receive(method, None)

    async def _receive(self, method: str, sending: asyncio.Task[None] | None) -> tuple[int, dict[str, str], bytes]:
        status = 100
        while 100 <= status < 200:
            status, headers = _parse_head(await self._until(b"\r\n\r\n"))
        if method == "HEAD" or status in (204, 304):
            return status, headers, b""
        if headers.get("transfer-encoding") == "chunked":
            return status, headers, await self._chunks()
        if "content-length" in headers:
            return status, headers, await self._exactly(int(headers["content-length"]))
        return status, headers, await self._rest()

    async def _chunks(self) -> bytes:
        content = b""
        while size := int((await self._until(b"\r\n")).split(b";")[0], 16):
            content += await self._exactly(size)
            await self._exactly(2)
        await self._until(b"\r\n")
        return content

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            await self._fill()
        end = self._buffer.index(mark) + len(mark)
        return self._take(end)[: -len(mark)]

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._fill()
        return self._take(size)

    async def _rest(self) -> bytes:
        while True:
            try:
                await self._fill()
            except NoAnswerError:
                return self._take(len(self._buffer))

    async def _fill(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                content = await loop.sock_recv(self.socket, _PIECE)
        except ConnectionError as error:
            raise NoAnswerError(str(error)) from error
        if not content:
            raise NoAnswerError(f"closed after {bytes(self._buffer[:100])!r}")
        self._buffer += content

    def _take(self, size: int) -> bytes:
        content = bytes(self._buffer[:size])
        del self._buffer[:size]
        return content

    def _stray(self) -> bool:
        """Whether the server sent bytes that no request asked for."""
        try:
            self._buffer += self.socket.recv(_PIECE)
        except BlockingIOError:
            pass
        except ConnectionError:
            return False
        return bool(self._buffer)

    def hang_up(self) -> None:
        """Close at once, without waiting for what is on its way."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()


@asynccontextmanager
async def connected(port: int, host: str = "127.0.0.1") -> AsyncGenerator[Connection]:
    """A connection to the server, closed at the end."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, (host, port))
        yield Connection(sock, f"{host}:{port}")


async def ask(port: int, method: str, path: str, body: bytes | Iterable[bytes] = b"", **options: Any) -> Answer:
    """One request on a connection of its own: see `Connection.request`."""
    async with connected(port) as connection:
        return await connection.request(method, path, body, **options)


def multipart(
    name: str, content: bytes, *, field_name: str = "file", boundary: str = "0123456789"
) -> tuple[bytes, dict[str, str]]:
    """A body with one file, and its headers; a file name is written as it is given."""
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field_name}"; filename="{name}"\r\n'
        "Content-Type: video/mp4\r\n\r\n"
    )
    tail = f"\r\n--{boundary}--\r\n"
    return head.encode() + content + tail.encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return int(first.split()[1]), {name.strip().lower(): value.strip() for name, _, value in pairs}
