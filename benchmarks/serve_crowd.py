"""Clients of the server that send numbered clips and compare every answer."""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from serve_clips import Clips, percentile_ms
from serve_http import Answer, Connection, NoAnswerError, connected
from serve_process import Server

PATH = "/v1/predict?top_k=1000"
_IDLE_CONNECTIONS = 32


@dataclass(slots=True, kw_only=True)
class Tally:
    """What happened to the requests so far."""

    sent: int = 0
    seconds: float = 0.0
    accepted: list[float] = field(default_factory=list)
    """Seconds of each right answer."""
    refused: list[float] = field(default_factory=list)
    """Seconds of each 503."""
    lost: int = 0
    doubled: int = 0
    swapped: int = 0
    failed: Counter[int] = field(default_factory=Counter)
    """Other statuses."""
    without_retry_after: int = 0

    @property
    def per_second(self) -> float:
        """Right answers per second."""
        return len(self.accepted) / self.seconds if self.seconds else 0.0

    def add(self, answer: Answer, clips: Clips, number: int) -> None:
        """Count an answer for a clip."""
        if answer.status == 503:
            self.refused.append(answer.seconds)
            self.without_retry_after += "retry-after" not in answer.headers
        elif answer.status != 200:
            self.failed[answer.status] += 1
        elif clips.number_of(answer.json()) != number:
            self.swapped += 1
        else:
            self.accepted.append(answer.seconds)

    def report(self) -> dict[str, Any]:
        """The same as numbers."""
        return {
            "sent": self.sent,
            "right": len(self.accepted),
            "per_second": round(self.per_second, 2),
            "accepted_ms": _spread(self.accepted),
            "refused": len(self.refused),
            "refused_ms": _spread(self.refused),
            "without_retry_after": self.without_retry_after,
            "lost": self.lost,
            "doubled": self.doubled,
            "swapped": self.swapped,
            "failed": dict(self.failed),
        }


async def crowd(server: Server, clips: Clips, *, seconds: float, clients: int, tally: Tally, seed: int = 0) -> None:
    """Clients that send one clip after the other, each on a connection of its own.

    Args:
        server: The server.
        clips: The clips.
        seconds: Time until no more is sent.
        clients: Number of clients.
        tally: What happened, which grows.
        seed: Of the order of the clips.
    """
    start = time.perf_counter()
    await asyncio.gather(
        *(
            _client(server, clips, random.Random(f"{seed}/{number}"), start + seconds, tally)
            for number in range(clients)
        )
    )
    tally.seconds += time.perf_counter() - start


async def _client(server: Server, clips: Clips, draw: random.Random, end: float, tally: Tally) -> None:
    while time.perf_counter() < end:
        async with connected(server.port) as connection:
            while time.perf_counter() < end:
                if not await send_clip(connection, clips, draw.randrange(len(clips.contents)), tally):
                    break


async def send_clip(connection: Connection, clips: Clips, number: int, tally: Tally) -> bool:
    """Send a clip and count its answer; whether the connection is still open."""
    tally.sent += 1
    try:
        answer = await connection.request("POST", PATH, clips.contents[number], headers={"Content-Type": "video/mp4"})
    except NoAnswerError:
        tally.lost += 1
        return False
    except AssertionError:
        tally.doubled += 1
        return False
    tally.add(answer, clips, number)
    return answer.headers.get("connection", "").lower() != "close"


async def steady(server: Server, clips: Clips, *, seconds: float, per_second: float, tally: Tally) -> None:
    """Requests at a steady rate, whether or not the earlier ones were answered.

    Args:
        server: The server.
        clips: The clips.
        seconds: Time until no more is sent.
        per_second: Rate.
        tally: What happened, which grows.
    """
    pool: list[Any] = []
    draw, tasks = random.Random(0), set()
    start = time.perf_counter()
    for number in range(max(1, int(seconds * per_second))):
        await asyncio.sleep(max(0.0, start + number / per_second - time.perf_counter()))
        task = asyncio.create_task(_send_from_pool(server, clips, draw.randrange(len(clips.contents)), tally, pool))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    tally.seconds += time.perf_counter() - start
    for opened in pool:
        await opened.__aexit__(None, None, None)


async def _send_from_pool(server: Server, clips: Clips, number: int, tally: Tally, pool: list[Any]) -> None:
    """Send a clip on a connection that was used before, or on a new one."""
    opened = pool.pop() if pool else None
    if opened is None:
        opened = _Opened(connected(server.port))
        await opened.open()
    is_open = await send_clip(opened.connection, clips, number, tally)
    if is_open and len(pool) < _IDLE_CONNECTIONS:
        pool.append(opened)
    else:
        await opened.__aexit__(None, None, None)


@dataclass(slots=True)
class _Opened:
    """A connection that is kept."""

    manager: Any
    connection: Any = None

    async def open(self) -> None:
        self.connection = await self.manager.__aenter__()

    async def __aexit__(self, *error: object) -> None:
        await self.manager.__aexit__(None, None, None)


def _spread(seconds: list[float]) -> dict[str, float | None]:
    return {name: percentile_ms(seconds, share) for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))}
