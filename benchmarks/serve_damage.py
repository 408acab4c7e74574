"""Damaged uploads to all routes of the server."""

import asyncio
import itertools
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz_decoder import readable_sources
from mutated_videos import Source, mutate
from serve_http import Answer, NoAnswerError, ask, multipart
from serve_process import Server, serving

ROUTES = ("/v1/predict", "/v1/predict?top_k=2", "/v1/embed", "/v1/timeline?window=0.2&stride=0.1", "/v1/explain")
MEMORY_GROWTH = 0.10
_WARM_SHARE = 0.1
"""Part of the damaged uploads, which follow the whole ones, after which the server has the memory that it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """An upload."""

    name: str
    route: str
    content: bytes
    is_form: bool


@dataclass(slots=True, kw_only=True)
class Outcomes:
    """What came back."""

    statuses: Counter[str] = field(default_factory=Counter)
    """By status, 0 without an answer, and route."""
    findings: list[dict[str, Any]] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    memory: list[int] = field(default_factory=list)
    """Bytes of the server process after each tenth of the damaged uploads."""

    def add(self, sent: Sent, answer: Answer | None) -> None:
        """Count an answer; None if there was none."""
        status = answer.status if answer else 0
        self.statuses[f"{status} {sent.route.partition('?')[0]}"] += 1
        if answer is None or status >= 500 or (status >= 400 and not answer.is_problem):
            body = answer.body[:500].decode(errors="replace") if answer else "no answer"
            self.findings.append({"upload": sent.name, "route": sent.route, "status": status, "body": body})
        if answer and answer.seconds > self.slowest[0]:
            self.slowest = (round(answer.seconds, 2), f"{sent.name} {sent.route}")


def send_damaged(
    folder: Path, model: Path, *, num_uploads: int, seed: int, zoo: Sequence[Path], clients: int
) -> dict[str, Any]:
    """Send damaged uploads, and each file of the zoo as it is.

    Args:
        folder: Existing folder for files.
        model: The model.
        num_uploads: Number of damaged uploads.
        seed: Of the damage.
        zoo: Folders of videos.
        clients: Clients at the same time.
    """
    sources = readable_sources(zoo)
    whole = [path for given in zoo for path in sorted(given.rglob("*")) if path.is_file()]
    outcomes = Outcomes()
    with serving(model, folder) as server:
        asyncio.run(
            _send_all(
                server,
                _uploads(sources, whole, num_uploads, seed),
                clients,
                outcomes,
                num_uploads,
                len(ROUTES) * len(whole),
            )
        )
        is_idle, files = server.wait_until_idle(), server.files()
    warm, last = outcomes.memory[0], outcomes.memory[-1]
    wrong = [*outcomes.findings, *files]
    wrong += [] if is_idle else ["requests in flight"]
    wrong += [f"memory {warm >> 20} -> {last >> 20} MiB"] if last > (1 + MEMORY_GROWTH) * warm else []
    return {
        "uploads": num_uploads,
        "zoo_files": len(whole),
        "sources": len(sources),
        "statuses": dict(sorted(outcomes.statuses.items())),
        "slowest": outcomes.slowest,
        "memory_mib": [size >> 20 for size in outcomes.memory],
        "files_left": files,
        "wrong": wrong,
    }


def _uploads(sources: Sequence[Source], whole: Sequence[Path], num_uploads: int, seed: int) -> Iterator[Sent]:
    """The files of the zoo on each route, then damaged ones on routes in turn."""
    for path, route in itertools.product(whole, ROUTES):
        yield Sent(name=path.name, route=route, content=path.read_bytes(), is_form=False)
    routes = itertools.cycle(ROUTES)
    for number in range(num_uploads):
        source, content, damage = mutate(sources, seed=seed, number=number)
        name = f"{number} {source.name} ({damage})"
        yield Sent(name=name, route=next(routes), content=content, is_form=number % 3 == 0)


async def _send_all(
    server: Server, uploads: Iterator[Sent], clients: int, outcomes: Outcomes, num_uploads: int, num_whole: int
) -> None:
    step, done = max(1, int(_WARM_SHARE * num_uploads)), itertools.count(1)

    async def client() -> None:
        for sent in uploads:
            outcomes.add(sent, await send(server, sent))
            if (number := next(done) - num_whole) > 0 and number % step == 0:
                outcomes.memory.append(server.memory())
                print(f"{number} uploads, {outcomes.memory[-1] >> 20} MiB", file=sys.stderr, flush=True)

    await asyncio.gather(*(client() for _ in range(clients)))
    outcomes.memory.append(server.memory())


async def send(server: Server, sent: Sent) -> Answer | None:
    """Send an upload until it is not refused with 503; None if there is no answer."""
    body, headers = sent.content, {"Content-Type": "application/octet-stream"}
    if sent.is_form:
        body, headers = multipart("clip.mp4", sent.content)
    while True:
        try:
            answer = await ask(server.port, "POST", sent.route, body, headers=headers)
        except NoAnswerError:
            return None
        if answer.status != 503:
            return answer
        await asyncio.sleep(0.05)
