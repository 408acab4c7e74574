"""Clients that hang up at every point of a request, and what they leave behind."""

import asyncio
import time
from pathlib import Path
from typing import Any

from serve_clips import Clips
from serve_crowd import PATH, Tally, crowd
from serve_http import connected
from serve_process import Server, serving

MOMENTS = ("before", "head", "body", "after", "queued")
"""Before anything was sent, in the head, in the middle of the body, right after it, and a moment later."""
MEMORY_GROWTH = 0.10
_AT_ONCE = 50
_WARM_UP = 100
_SETTLE_S = 60.0


def hang_ups(folder: Path, model: Path, clips: Clips, *, count: int, options: tuple[str, ...] = ()) -> dict[str, Any]:
    """Let clients hang up, next to one that does not.

    Args:
        folder: Existing folder for files.
        model: The model.
        clips: The clips.
        count: Number of clients that hang up.
        options: Options of `timesformer serve`.
    """
    with serving(model, folder, *options) as server:
        asyncio.run(_warm_up(server, clips))
        server.wait_until_idle()
        before, steady = Leftovers.of(server), Tally()
        asyncio.run(_storm(server, clips, count=count, steady=steady))
        is_idle = server.wait_until_idle()
        after = _settled(server, before)
    grown = after.memory / before.memory - 1
    wrong = [
        f"{name} {getattr(after, name)} instead of {getattr(before, name)}"
        for name in ("processes", "descriptors")
        if getattr(after, name) > getattr(before, name)
    ]
    wrong += [f"memory +{grown:.0%}"] if grown > MEMORY_GROWTH else []
    wrong += [f"client that stayed: {steady.report()}"] if steady.lost + steady.swapped + steady.doubled else []
    return {
        "clients": count,
        "moments": MOMENTS,
        "stayed": steady.report(),
        "memory_growth": round(grown, 4),
        "memory_mib": {"before": before.memory >> 20, "after": after.memory >> 20},
        "processes": {"before": before.processes, "after": after.processes},
        "descriptors": {"before": before.descriptors, "after": after.descriptors},
        "idle_afterwards": is_idle,
        "files_left": after.files,
        "wrong": wrong,
    }


class Leftovers:
    """What a server has at a moment."""

    def __init__(self, *, memory: int, processes: int, descriptors: int, files: list[str]) -> None:
        self.memory = memory
        self.processes = processes
        self.descriptors = descriptors
        self.files = files

    @classmethod
    def of(cls, server: Server) -> "Leftovers":
        """What a server has now."""
        return cls(
            memory=server.memory(),
            processes=len(server.processes()),
            descriptors=server.descriptors(),
            files=server.files(),
        )


def _settled(server: Server, before: Leftovers) -> Leftovers:
    """What a server has when it has as little as before, or after a minute."""
    end = time.monotonic() + _SETTLE_S
    while True:
        now = Leftovers.of(server)
        if (now.processes <= before.processes and now.descriptors <= before.descriptors) or time.monotonic() > end:
            return now
        time.sleep(0.1)


async def _warm_up(server: Server, clips: Clips) -> None:
    """Reach the memory that the server needs for its work."""
    tally = Tally()
    while tally.sent < _WARM_UP:
        await crowd(server, clips, seconds=0.5, clients=8, tally=tally)
    await _many(server, clips, count=_WARM_UP)


async def _storm(server: Server, clips: Clips, *, count: int, steady: Tally) -> None:
    storm = asyncio.create_task(_many(server, clips, count=count))
    while not storm.done():
        await crowd(server, clips, seconds=0.2, clients=1, tally=steady)
    await storm


async def _many(server: Server, clips: Clips, *, count: int) -> None:
    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> None:
        async with turn:
            await hang_up(server, clips.contents[number % len(clips.contents)], MOMENTS[number % len(MOMENTS)])

    await asyncio.gather(*(one(number) for number in range(count)))


async def hang_up(server: Server, content: bytes, moment: str, *, wait_s: float = 0.02) -> None:
    """Send a request up to a moment, and hang up."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: video/mp4\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode()
    parts = {"before": b"", "head": head[:40], "body": head + content[: len(content) // 2]}
    async with connected(server.port) as connection:
        await connection.send(parts.get(moment, head + content))
        if moment in ("body", "queued"):
            await asyncio.sleep(wait_s)
        connection.hang_up()


def queued_hang_ups(
    folder: Path, model: Path, clips: Clips, *, count: int, options: tuple[str, ...] = (), batch_s: float = 2.0
) -> dict[str, Any]:
    """Let clients hang up while a slow batch is computed: nothing may be computed for them.

    Args:
        folder: Existing folder for files.
        model: The model.
        clips: The clips.
        count: Number of clients that hang up.
        options: Options of `timesformer serve`.
        batch_s: Seconds that each batch takes.
    """
    with serving(model, folder, *options, "--max-batch", "1", traps=[f"slow_model={batch_s}"]) as server:
        first, last = Tally(), Tally()
        computed = server.sum_of("timesformer_batch_size_sum")
        asyncio.run(_hang_up_in_queue(server, clips, count=count, first=first, last=last, batch_s=batch_s))
        is_idle = server.wait_until_idle()
        computed = server.sum_of("timesformer_batch_size_sum") - computed
    right = len(first.accepted) + len(last.accepted)
    wrong = [] if right == 2 else [f"{right} of 2 clients that stayed had right answers"]
    # one may have been taken from the queue the moment before its client hung up
    wrong += [f"{computed:g} clips computed for 2 clients"] if computed > 3 else []
    return {
        "clients": count,
        "computed": computed,
        "stayed": [first.report(), last.report()],
        "idle_afterwards": is_idle,
        "files_left": server.files(),
        "wrong": wrong,
    }


async def _hang_up_in_queue(
    server: Server, clips: Clips, *, count: int, first: Tally, last: Tally, batch_s: float
) -> None:
    """One client keeps the model busy; others queue and hang up; a last one must not wait for them."""
    busy = asyncio.create_task(crowd(server, clips, seconds=0.01, clients=1, tally=first))
    await asyncio.sleep(batch_s / 4)
    await asyncio.gather(
        *(
            hang_up(server, clips.contents[number % len(clips.contents)], "queued", wait_s=batch_s / 4)
            for number in range(count)
        )
    )
    await crowd(server, clips, seconds=0.01, clients=1, tally=last)
    await busy
