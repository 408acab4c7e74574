"""One client that sends poison all the time, among clients that must not notice."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

from serve_clips import Clips, marked, plain_clip
from serve_crowd import Tally, crowd
from serve_http import ask
from serve_process import Server, serving
from trapped_serve import KILLS, decoder_traps

POISONS = {"cut off": {422}, "kills the decoder": {422}, "fails its batch": {500, 422}}
"""Statuses that the sender of each poison may get."""


def poisoned(
    folder: Path, model: Path, clips: Clips, *, kind: str, seconds: float, clients: int, options: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Serve clients, of which one sends poison.

    Args:
        folder: Existing folder for files.
        model: The model.
        clips: Whole clips.
        kind: A key of `POISONS`.
        seconds: Length.
        clients: Number of the clients that send whole clips.
        options: Options of `timesformer serve`.
    """
    content = poison(folder, clips, kind)
    environment = decoder_traps(folder / "traps")
    with serving(model, folder, *options, traps=["white_poisons"], environment=environment) as server:
        return try_poison(server, clips, content, kind=kind, seconds=seconds, clients=clients)


def try_poison(
    server: Server, clips: Clips, content: bytes, *, kind: str, seconds: float, clients: int
) -> dict[str, Any]:
    """The same with a server that has the traps.

    Args:
        server: The server.
        clips: Whole clips.
        content: The poison.
        kind: Its kind.
        seconds: Length.
        clients: Number of the clients that send whole clips.
    """
    others, statuses = Tally(), Counter[int]()
    asyncio.run(_mix(server, clips, content, seconds=seconds, clients=clients, others=others, statuses=statuses))
    is_idle, files = server.wait_until_idle(), server.files()
    refused = statuses.pop(503, 0)
    return {
        "others": others.report(),
        "statuses": dict(statuses),
        "refused": refused,
        "wrong_statuses": sorted(set(statuses) - POISONS[kind]) or not statuses,
        "idle_afterwards": is_idle,
        "files_left": files,
    }


def poison(folder: Path, clips: Clips, kind: str) -> bytes:
    """The file of a kind of poison."""
    if kind == "cut off":
        return clips.contents[0][: len(clips.contents[0]) // 2]
    if kind == "kills the decoder":
        return marked(clips.contents[0], KILLS)
    return plain_clip(folder / "white.mp4", 255)


async def _mix(
    server: Server,
    clips: Clips,
    content: bytes,
    *,
    seconds: float,
    clients: int,
    others: Tally,
    statuses: Counter[int],
) -> None:
    async def send_poison() -> None:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            answer = await ask(server.port, "POST", "/v1/predict", content, headers={"Content-Type": "video/mp4"})
            statuses[answer.status] += 1

    await asyncio.gather(send_poison(), crowd(server, clips, seconds=seconds, clients=clients, tally=others))
