"""Clients that hang up at every point of a request, and what they leave behind."""

import asyncio
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serve_clips import Clips, plain_clip
from serve_crowd import PATH, Tally, crowd
from serve_http import Answer, ask, connected
from serve_process import Server, serving
from trapped_serve import DARK

MOMENTS = ("before", "head", "body", "after", "queued")
"""Before anything was sent, in the head, in the middle of the body, right after it, and a moment later."""
MEMORY_GROWTH = 0.10
_AT_ONCE = 50
_WARM_UP = 100
_SETTLE_S = 60.0
_QUEUED_S = 0.5
"""Time after which a client in the queue hangs up."""
_COMPUTED = "timesformer_batch_size_sum"


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
        return try_hang_ups(server, clips, count=count)


def try_hang_ups(server: Server, clips: Clips, *, count: int, warm_up: int = _WARM_UP) -> dict[str, Any]:
    """The same with any server.

    Args:
        server: The server.
        clips: The clips.
        count: Number of clients that hang up.
        warm_up: Requests before the memory is measured.
    """
    asyncio.run(_warm_up(server, clips, count=warm_up))
    server.wait_until_idle()
    before, stayed = Leftovers.of(server), Tally()
    asyncio.run(_storm(server, clips, count=count, stayed=stayed))
    is_idle = server.wait_until_idle()
    after = _settled(server, before)
    grown = after.memory / before.memory - 1
    wrong = [
        f"{had} {what} became {has}"
        for what, had, has in (
            ("processes", before.processes, after.processes),
            ("open files", before.descriptors, after.descriptors),
        )
        if has > had
    ]
    wrong += [f"memory +{grown:.0%}"] if grown > MEMORY_GROWTH else []
    wrong += [f"client that stayed: {stayed.report()}"] if stayed.lost + stayed.swapped + stayed.doubled else []
    return {
        "clients": count,
        "moments": MOMENTS,
        "stayed": stayed.report(),
        "memory_mib": {"before": before.memory >> 20, "after": after.memory >> 20},
        "processes": {"before": before.processes, "after": after.processes},
        "open_files": {"before": before.descriptors, "after": after.descriptors},
        "idle_afterwards": is_idle,
        "files_left": after.files,
        "wrong": wrong,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftovers:
    """What a server has at a moment."""

    memory: int
    processes: int
    descriptors: int
    files: list[str]

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


async def _warm_up(server: Server, clips: Clips, *, count: int) -> None:
    """Reach the memory that the server needs for its work."""
    tally = Tally()
    while tally.sent < count:
        await crowd(server, clips, seconds=0.5, clients=8, tally=tally)
    await _many(server, clips, count=count)


async def _storm(server: Server, clips: Clips, *, count: int, stayed: Tally) -> None:
    storm = asyncio.create_task(_many(server, clips, count=count))
    while not storm.done():
        await crowd(server, clips, seconds=0.2, clients=1, tally=stayed)
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
    folder: Path, model: Path, clips: Clips, *, count: int, options: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Let clients hang up while a slow batch is computed: nothing may be computed for them.

    Args:
        folder: Existing folder for files.
        model: The model.
        clips: The clips.
        count: Number of clients that hang up.
        options: Options of `timesformer serve`.
    """
    with serving(model, folder, *options, traps=[f"dark_waits={folder / 'go'}"]) as server:
        return try_queued_hang_ups(server, clips, plain_clip(folder / "dark.mp4", DARK), folder / "go", count=count)


def try_queued_hang_ups(server: Server, clips: Clips, dark: bytes, go: Path, *, count: int) -> dict[str, Any]:
    """The same with a server that has the trap.

    Args:
        server: The server.
        clips: The clips.
        dark: A clip whose batch waits.
        go: The file that it waits for, which does not exist.
        count: Number of clients that hang up.
    """
    last, before = Tally(), server.sum_of(_COMPUTED)
    slow = asyncio.run(_hang_up_in_queue(server, clips, dark, go, count=count))
    asyncio.run(crowd(server, clips, seconds=0.01, clients=1, tally=last))
    is_idle = server.wait_until_idle()
    computed = server.sum_of(_COMPUTED) - before
    wrong = [] if slow.status == 200 else [f"the slow client had {slow.body!r}"]
    wrong += [] if len(last.accepted) == last.sent else [f"a client that stayed: {last.report()}"]
    wrong += [f"{computed:g} clips computed for {1 + last.sent} clients"] if computed > 1 + last.sent else []
    return {
        "clients": count,
        "computed": computed,
        "stayed": last.report(),
        "idle_afterwards": is_idle,
        "files_left": server.files(),
        "wrong": wrong,
    }


async def _hang_up_in_queue(server: Server, clips: Clips, dark: bytes, go: Path, *, count: int) -> Answer:
    """One client keeps the model busy while others queue and hang up; then it is answered."""
    started = server.sum_of(_COMPUTED)
    slow = asyncio.create_task(ask(server.port, "POST", PATH, dark, headers={"Content-Type": "video/mp4"}))
    try:
        await until(lambda: server.sum_of(_COMPUTED) > started)
        contents = itertools.islice(itertools.cycle(clips.contents), count)
        await asyncio.gather(*(hang_up(server, content, "queued", wait_s=_QUEUED_S) for content in contents))
        await until(lambda: server.sum_of("timesformer_inflight") <= 1)
    finally:
        go.touch()
    answer = await slow
    go.unlink()
    return answer


async def until(is_true: Callable[[], bool]) -> None:
    """Wait, asking in another thread.

    Raises:
        TimeoutError: It did not come true.
    """
    async with asyncio.timeout(_SETTLE_S):
        while not await asyncio.to_thread(is_true):
            await asyncio.sleep(0.05)
