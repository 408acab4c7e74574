"""Clients that send a byte now and then keep nobody else waiting, and are cut off."""

import asyncio
import time

import pytest

from serve.attacks.conftest import REQUEST_S, Attacked
from serve_crowd import Tally, crowd
from serve_http import Connection, NoAnswerError, connected
from serve_process import Server

pytestmark = pytest.mark.xdist_group("attacked server")
PATIENCE_S = 60.0
"""By when a slow client must be cut off; the server waits much shorter."""
NUM_SLOW = 40


async def drip(connection: Connection, start: bytes) -> int:
    """Send a start, then a byte each 0.2 s; the status with which the server ends that, 0 for a closed connection."""
    await connection.send(start)
    answered = asyncio.create_task(connection.answer())
    end = time.monotonic() + PATIENCE_S
    try:
        while not answered.done() and time.monotonic() < end:
            await asyncio.wait([answered], timeout=0.2)
            if not answered.done():
                await connection.send(b"a")
        assert answered.done(), "the server waits for ever"
        return answered.result()[0]
    except (NoAnswerError, OSError):
        return 0
    finally:
        answered.cancel()


STARTS = {
    "nothing": b"",
    "request line": b"GET /healthz HTTP/1.1\r\nHo",
    "head": b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ",
    "body": b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: video/mp4\r\n"
            b"Content-Length: 100000\r\n\r\n",
    "chunk": b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: video/mp4\r\n"
             b"Transfer-Encoding: chunked\r\n\r\nffff\r\n",
    "form": b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            b"Content-Length: 100000\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n",
}  # fmt: skip


def test_slow_clients_are_cut_off_and_keep_nobody_waiting(server: Server, attacked: Attacked):
    async def run() -> tuple[list[int], Tally]:
        async def slow(start: bytes) -> int:
            async with connected(server.port) as connection:
                return await drip(connection, start)

        drips = [asyncio.create_task(slow(start)) for start in STARTS.values() for _ in range(NUM_SLOW // len(STARTS))]
        await asyncio.sleep(1.5)
        tally = Tally()
        await crowd(server, attacked.clips, seconds=1, clients=2, tally=tally)
        return await asyncio.gather(*drips), tally

    statuses, tally = asyncio.run(run())
    assert tally.sent == len(tally.accepted) > 0, tally.report()
    assert set(statuses) <= {0, 400, 408, 503}
    assert REQUEST_S < PATIENCE_S


def test_silent_connections_are_closed(server: Server):
    async def run() -> None:
        async with connected(server.port) as connection:
            with pytest.raises((NoAnswerError, OSError)):
                await connection.answer()

    asyncio.run(asyncio.wait_for(run(), PATIENCE_S))


def test_client_that_does_not_read_its_answer_is_dropped(server: Server, attacked: Attacked):
    async def run() -> None:
        async with connected(server.port) as connection:
            request = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            await connection.send(request * 200)
            await asyncio.sleep(0.5)
            tally = Tally()
            await crowd(server, attacked.clips, seconds=0.5, clients=1, tally=tally)
            assert tally.sent == len(tally.accepted)
            connection.hang_up()

    asyncio.run(run())
