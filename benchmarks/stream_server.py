"""A sender of live video for tests: MPEG-TS over HTTP in real time, which hangs up and is away for a while."""

import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n"
_PACKET = 188
_TICK_S = 0.02


@contextmanager
def serving(path: Path, *, seconds: float, times: int, away: float) -> Generator[int]:
    """Send an MPEG-TS to whoever connects, `times` times; then nobody answers any more.

    Args:
        path: The MPEG-TS.
        seconds: Its length, over which it is sent.
        times: How often it is sent.
        away: Seconds without an open port in between.

    Yields:
        The port.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    port, done = listener.getsockname()[1], threading.Event()
    thread = threading.Thread(
        target=_serve, args=(listener, path.read_bytes()), daemon=True,
        kwargs={"seconds": seconds, "times": times, "away": away, "done": done},
    )  # fmt: skip
    thread.start()
    try:
        yield port
    finally:
        done.set()
        thread.join()


def _serve(
    listener: socket.socket, data: bytes, *, seconds: float, times: int, away: float, done: threading.Event
) -> None:
    address = listener.getsockname()
    for number in range(times):
        if number:
            if done.wait(away):
                break
            listener = socket.create_server(address)
        listener.settimeout(_TICK_S)
        connection = _accept(listener, done)
        listener.close()
        if connection is not None:
            with connection, suppress(OSError):
                _send(connection, data, seconds=seconds, done=done)


def _accept(listener: socket.socket, done: threading.Event) -> socket.socket | None:
    while not done.is_set():
        with suppress(TimeoutError):
            return listener.accept()[0]
    return None


def _send(connection: socket.socket, data: bytes, *, seconds: float, done: threading.Event) -> None:
    connection.settimeout(None)
    connection.recv(2**16)  # the request
    connection.sendall(_ANSWER)
    start, sent = time.monotonic(), 0
    while sent < len(data) and not done.is_set():
        share = min(1.0, (time.monotonic() - start) / seconds)
        until = len(data) if share == 1.0 else int(share * len(data)) // _PACKET * _PACKET
        connection.sendall(data[sent:until])
        sent = until
        time.sleep(_TICK_S)
