"""Uploads that are too large, claim too much, or end the decoder."""

import asyncio
import sys
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from serve_clips import marked, texture
from serve_http import Answer, NoAnswerError, ask, multipart
from serve_process import Server, serving
from timesformer.data.synthetic.dataset import write_clip
from trapped_serve import EATS, HANGS, KILLS, decoder_traps

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from bombs import (  # ty: ignore[import-not-found]
    gif_of_large_frames,
    mp4_of_many_frames,
    video_of_large_frames,
    video_that_grows,
)
from videos import write_timed  # ty: ignore[import-not-found]

LIMIT_MB, MOST_MB = 100, 101
BOMB_S = 1.0
_MB = 10**6
_OCTETS = {"Content-Type": "application/octet-stream"}
_GROWS = "8K x 8K in its third frame"
_HOURS_MS = (0, 18_000_000, 36_000_000)


def clip_content(folder: Path) -> bytes:
    """A clip that the server can read."""
    path = folder / "clip.mp4"
    write_clip(path, texture(0, num_frames=8, side=48))
    return path.read_bytes()


def send_traps(folder: Path, model: Path, *, seconds: float = 10.0) -> dict[str, Any]:
    """Files whose decoder dies, hangs or takes all memory: each is one 422, and the next upload is answered.

    Args:
        folder: Existing folder for files.
        model: The model.
        seconds: Time limit of a request.
    """
    options = ("--request-seconds", f"{seconds:g}")
    with serving(model, folder, *options, environment=decoder_traps(folder / "traps")) as server:
        return try_traps(server, clip_content(folder))


def try_traps(server: Server, content: bytes) -> dict[str, Any]:
    """The same with a server that has the traps.

    Args:
        server: The server.
        content: A whole clip.
    """
    wrong = list[str]()
    seen: dict[str, Any] = {}
    for name, mark in (("dies", KILLS), ("hangs", HANGS), ("eats", EATS)):
        answer = _post(server, marked(content, mark))
        following = _post(server, content)
        seen[name] = {"status": answer.status, "detail": answer.json().get("detail"), "s": round(answer.seconds, 2)}
        wrong += [f"{name}: {answer.body!r}"] if answer.status != 422 or not answer.is_problem else []
        wrong += [f"after {name}: {following.body!r}"] if following.status != 200 else []
    return {"answers": seen, "wrong": wrong + _left(server)}


def _post(server: Server, content: bytes, route: str = "predict") -> Answer:
    return asyncio.run(ask(server.port, "POST", f"/v1/{route}", content, headers=_OCTETS))


def send_floods(folder: Path, model: Path, *, flood_mb: float = 1000) -> dict[str, Any]:
    """Bodies that are larger than the limit of 100 MB.

    Args:
        folder: Existing folder for files.
        model: The model.
        flood_mb: Size of each body in megabytes.
    """
    with serving(model, folder, "--max-upload-mb", str(LIMIT_MB)) as server:
        return try_floods(server, flood_mb=flood_mb, limit_mb=LIMIT_MB, most_mb=MOST_MB)


def try_floods(server: Server, *, flood_mb: float, limit_mb: float, most_mb: float) -> dict[str, Any]:
    """The same with a server of any limit.

    Args:
        server: The server.
        flood_mb: Size of each body in megabytes.
        limit_mb: Limit of the server.
        most_mb: Megabytes after which it must have refused.
    """
    wrong: list[Any] = []
    seen: dict[str, Any] = {}
    before = server.memory()
    for name in ("with a length", "in chunks", "as a form", "as a form in chunks"):
        with watching(server.uploads) as largest:
            found = asyncio.run(_flood(server, name, flood_mb=flood_mb, limit_mb=limit_mb))
        seen[name] = found | {"on_disk_mb": round(largest[0] / _MB, 2)}
        is_in_time = found["sent_mb"] <= most_mb and largest[0] <= most_mb * _MB
        wrong += [] if found["status"] == 413 and is_in_time else [{name: seen[name]}]
    grown = server.memory() - before
    return {"limit_mb": limit_mb, "floods": seen, "memory_grew_mib": grown >> 20, "wrong": wrong + _left(server)}


async def _flood(server: Server, name: str, *, flood_mb: float, limit_mb: float) -> dict[str, Any]:
    size, headers, head = int(flood_mb * _MB), dict(_OCTETS), b""
    if "form" in name:
        whole, headers = multipart("clip.mp4", b"")
        head = whole[: whole.index(b"\r\n\r\n") + 4]
    count = [0]
    length = None if "chunks" in name else size + len(head)
    try:
        answer = await ask(
            server.port, "POST", "/v1/predict", _pieces(head, size, count), headers=headers,
            content_length=length, pause_after=int((limit_mb - 1) * _MB),
        )  # fmt: skip
    except NoAnswerError:
        return {"status": 0, "sent_mb": round(count[0] / _MB, 2)}
    return {"status": answer.status, "sent_mb": round(answer.sent_bytes / _MB, 2), "s": round(answer.seconds, 2)}


def _pieces(head: bytes, size: int, count: list[int]) -> Iterator[bytes]:
    """A body of zeros; `count` gets the bytes so far."""
    piece = bytes(2**16)
    if head:
        yield head
    while count[0] < size:
        yield piece[: size - count[0]]
        count[0] += len(piece)


@contextmanager
def watching(folder: Path) -> Generator[list[int]]:
    """The largest sum of the sizes of the files in a folder so far, in a list of one number."""
    largest, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.01):
            with suppress(FileNotFoundError):
                largest[0] = max(largest[0], sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield largest
    finally:
        ended.set()
        thread.join()


def write_bombs(folder: Path) -> dict[str, bytes]:
    """Small files that claim, or become, much."""
    paths = {
        "8K x 8K in the header": video_of_large_frames(folder / "wide.mov", width=8192, height=8192),
        "8K x 8K as a GIF": gif_of_large_frames(folder / "wide.gif", width=8192, height=8192),
        _GROWS: video_that_grows(folder / "grows.mkv", side=8192),
        "a million frames": mp4_of_many_frames(folder / "many.mp4", 10**6),
        "four billion frames": mp4_of_many_frames(folder / "more.mp4", 2**32 - 1),
        "ten hours": write_timed(folder / "long.mkv", _HOURS_MS),
    }
    return {name: path.read_bytes() for name, path in paths.items()}


def send_bombs(folder: Path, model: Path) -> dict[str, Any]:
    """Bombs to routes that decode: each is refused within a second, and the next upload is answered.

    Args:
        folder: Existing folder for files.
        model: The model.
    """
    with serving(model, folder) as server:
        return try_bombs(server, write_bombs(folder), clip_content(folder), most_s=BOMB_S)


def try_bombs(server: Server, bombs: Mapping[str, bytes], content: bytes, *, most_s: float) -> dict[str, Any]:
    """The same with any server.

    Args:
        server: The server.
        bombs: Files by name.
        content: A whole clip.
        most_s: Seconds after which a bomb must have been refused.
    """
    _post(server, content)
    wrong = list[str]()
    seen: dict[str, Any] = {}
    for name, bomb in bombs.items():
        for route in ("predict", "timeline?window=0.2&stride=0.1"):
            answer = _post(server, bomb, route)
            key, detail = f"{name}: {route.partition('?')[0]}", answer.json().get("detail")
            seen[key] = {"status": answer.status, "s": round(answer.seconds, 3), "detail": detail}
            # readers put the frame before in the place of a frame that cannot be decoded
            is_refused = (answer.status == 422 and answer.is_problem) or name == _GROWS
            wrong += [] if is_refused and answer.seconds <= most_s else [f"{key}: {seen[key]}"]
    following = _post(server, content)
    wrong += [] if following.status == 200 else [f"afterwards: {following.body!r}"]
    sizes = {name: len(bomb) for name, bomb in bombs.items()}
    return {"bombs": seen, "bytes": sizes, "wrong": wrong + _left(server)}


def _left(server: Server) -> list[str]:
    """What a server should not have when it is idle."""
    return [] if server.wait_until_idle() else ["not idle", *server.files()]
