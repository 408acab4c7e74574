"""Many clients at once: nothing is lost, doubled or swapped, and each fault stays with its sender."""

import asyncio

import pytest

from serve.attacks.conftest import Attacked
from serve_crowd import Tally, crowd, steady
from serve_hang_ups import try_hang_ups, try_queued_hang_ups
from serve_poison import POISONS, poison, try_poison
from serve_process import Server

pytestmark = [
    pytest.mark.slow,  # seconds of load for each claim
    pytest.mark.xdist_group("attacked server"),
]


def test_every_client_gets_the_answer_for_its_clip(server: Server, attacked: Attacked):
    tally = Tally()
    asyncio.run(crowd(server, attacked.clips, seconds=1.5, clients=16, tally=tally))
    assert tally.sent == len(tally.accepted) > 16, tally.report()


@pytest.mark.parametrize("kind", POISONS)
def test_poisoned_clip_hurts_its_sender_alone(server: Server, attacked: Attacked, kind: str):
    content = poison(attacked.folder, attacked.clips, kind)
    found = try_poison(server, attacked.clips, content, kind=kind, seconds=1, clients=6)
    assert found["others"]["right"] == found["others"]["sent"] > 0, found
    assert not found["wrong_statuses"], found


def test_hang_ups_leave_nothing_behind(server: Server, attacked: Attacked):
    found = try_hang_ups(server, attacked.clips, count=50, warm_up=50)
    assert not found["wrong"], found
    assert found["idle_afterwards"]


def test_nothing_is_computed_for_clients_that_hung_up_in_the_queue(server: Server, attacked: Attacked):
    found = try_queued_hang_ups(server, attacked.clips, attacked.dark, attacked.folder / "go", count=8)
    assert not found["wrong"], found
    assert found["idle_afterwards"]


def test_overload_is_refused_with_retry_after_and_the_accepted_are_right(server: Server, attacked: Attacked):
    tally = Tally()
    asyncio.run(steady(server, attacked.clips, seconds=1, per_second=300, tally=tally))
    assert tally.refused, tally.report()
    assert tally.accepted
    assert tally.sent == len(tally.accepted) + len(tally.refused), tally.report()
    assert not tally.without_retry_after
