"""Uploads that are damaged, too large, claim too much, or end the decoder."""

import asyncio
from pathlib import Path

import pytest

from mutated_videos import Source, mutate
from serve.attacks.conftest import LIMIT_MB, Attacked
from serve_damage import ROUTES, Outcomes, Sent, send
from serve_floods import try_bombs, try_floods, try_traps, write_bombs
from serve_process import Server

pytestmark = [
    pytest.mark.slow,  # hundreds of damaged uploads, and a flood
    pytest.mark.xdist_group("attacked server"),
]
ENOUGH_S = 60.0
"""The benchmark says how fast bombs are refused; a test says that they are."""


def test_damaged_uploads_are_one_clear_answer_each(server: Server, attacked: Attacked):
    sources = [Source(f"{number}.mp4", ".mp4", content) for number, content in enumerate(attacked.clips.contents)]
    outcomes = Outcomes()

    async def run() -> None:
        for number in range(60):
            source, content, damage = mutate(sources, seed=1, number=number)
            sent = Sent(name=f"{number} {source.name} ({damage})", route=ROUTES[number % len(ROUTES)], content=content,
                        is_form=number % 3 == 0)  # fmt: skip
            outcomes.add(sent, await send(server, sent))

    asyncio.run(run())
    assert not outcomes.findings


def test_decoders_that_die_hang_or_eat_memory_are_one_422_each(server: Server, attacked: Attacked):
    found = try_traps(server, attacked.clips.contents[0])
    assert not found["wrong"], found


def test_floods_are_refused_at_the_limit(server: Server):
    found = try_floods(server, flood_mb=10 * LIMIT_MB, limit_mb=LIMIT_MB, most_mb=LIMIT_MB + 1)
    assert not found["wrong"], found


def test_bombs_are_refused(server: Server, attacked: Attacked, tmp_path: Path):
    found = try_bombs(server, write_bombs(tmp_path), attacked.clips.contents[0], most_s=ENOUGH_S)
    assert not found["wrong"], found
