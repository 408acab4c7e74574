"""The batcher alone, with a model that is a function: what leaves when, and what each caller gets."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.serve.batcher import Batcher, ClosedError, Dispatch, FullError

LONG_S = 600.0


class Model:
    """Doubles numbers; fails for batches with 13, and waits for `go` where it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, items: Sequence[int]) -> Sequence[int]:
        self.batches.append(list(items))
        assert self.go.wait(30)
        if 13 in items:
            raise ValueError("unlucky")
        return [2 * item for item in items]


def run(
    work: Callable[[Batcher[int, int], Model], Awaitable[Any]],
    *,
    max_batch: int = 4,
    max_wait_s: float = LONG_S,
    max_queue: int = 100,
) -> tuple[Any, list[Dispatch], Model]:
    """What some work with a running batcher gives, and which batches left."""
    dispatches: list[Dispatch] = []
    model = Model()

    async def main() -> Any:
        batcher: Batcher[int, int] = Batcher(
            model, max_batch=max_batch, max_wait_s=max_wait_s, max_queue=max_queue, on_dispatch=dispatches.append
        )
        running = asyncio.ensure_future(batcher.run())
        try:
            return await asyncio.wait_for(work(batcher, model), 60)
        finally:
            model.go.set()
            batcher.drain()
            await running

    return asyncio.run(main()), dispatches, model


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def reasons(dispatches: Sequence[Dispatch]) -> list[tuple[str, int]]:
    return [(dispatch.reason, dispatch.size) for dispatch in dispatches]


def test_a_full_batch_leaves_at_once():
    async def work(batcher, model):
        return await asyncio.gather(*map(batcher.submit, range(4)))

    results, dispatches, model = run(work)
    assert results == [0, 2, 4, 6]
    assert model.batches == [[0, 1, 2, 3]]
    assert reasons(dispatches) == [("full", 4)]


def test_a_batch_that_is_not_full_leaves_when_its_first_item_has_waited():
    async def work(batcher, model):
        return await asyncio.gather(*map(batcher.submit, range(3)))

    results, dispatches, _ = run(work, max_wait_s=0.02)
    assert results == [0, 2, 4]
    assert reasons(dispatches) == [("wait", 3)]
    assert all(waited_s >= 0.02 for waited_s in dispatches[0].waited_s)


def test_without_waiting_an_item_leaves_alone():
    async def work(batcher, model):
        return [await batcher.submit(1), await batcher.submit(2)]

    results, dispatches, _ = run(work, max_wait_s=0.0)
    assert results == [2, 4]
    assert reasons(dispatches) == [("wait", 1), ("wait", 1)]


def test_draining_computes_what_waits_and_refuses_what_comes():
    async def work(batcher, model):
        waiting = asyncio.ensure_future(batcher.submit(5))
        await asyncio.sleep(0)
        batcher.drain()
        with pytest.raises(ClosedError):
            await batcher.submit(6)
        return await waiting

    result, dispatches, _ = run(work)
    assert result == 10
    assert reasons(dispatches) == [("drain", 1)]


def test_hurrying_lets_nobody_wait_and_takes_what_comes():
    async def work(batcher, model):
        waiting = asyncio.ensure_future(batcher.submit(5))
        await asyncio.sleep(0.01)
        batcher.hurry()
        return [await waiting, await batcher.submit(6)]

    results, dispatches, _ = run(work)
    assert results == [10, 12]
    assert reasons(dispatches) == [("drain", 1), ("drain", 1)]


def test_a_full_queue_refuses():
    async def work(batcher, model):
        model.go.clear()
        first = asyncio.ensure_future(batcher.submit(0))
        await until(lambda: bool(model.batches))
        others = [asyncio.ensure_future(batcher.submit(number)) for number in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(FullError):
            await batcher.submit(3)
        model.go.set()
        return await asyncio.gather(first, *others)

    assert run(work, max_batch=1, max_queue=2)[0] == [0, 2, 4]


def test_items_of_cancelled_calls_are_not_computed():
    async def work(batcher, model):
        model.go.clear()
        first = asyncio.ensure_future(batcher.submit(0))
        await until(lambda: bool(model.batches))
        others = [asyncio.ensure_future(batcher.submit(number)) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        others[1].cancel()
        await asyncio.wait([others[1]])
        model.go.set()
        return await asyncio.gather(first, others[0], others[2])

    results, _, model = run(work, max_batch=2, max_wait_s=0.0)
    assert results == [0, 2, 6]
    assert model.batches == [[0], [1, 3]]


def test_a_queue_whose_items_were_all_cancelled_goes_on():
    async def work(batcher, model):
        call = asyncio.ensure_future(batcher.submit(1))
        await asyncio.sleep(0.01)
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        return await asyncio.gather(*map(batcher.submit, (2, 3)))

    results, dispatches, model = run(work, max_batch=2)
    assert results == [4, 6]
    assert model.batches == [[2, 3]]
    assert reasons(dispatches) == [("full", 2)]


def test_a_result_for_a_call_that_was_cancelled_meanwhile_is_dropped():
    async def work(batcher, model):
        model.go.clear()
        call = asyncio.ensure_future(batcher.submit(1))
        await until(lambda: bool(model.batches))
        call.cancel()
        await asyncio.wait([call])
        model.go.set()
        return await batcher.submit(2)

    assert run(work, max_batch=1)[0] == 4


def test_after_a_failed_batch_each_item_is_computed_by_itself():
    async def work(batcher, model):
        return await asyncio.gather(*map(batcher.submit, (1, 13, 2)), return_exceptions=True)

    results, dispatches, model = run(work, max_batch=3)
    assert (results[0], results[2]) == (2, 4)
    assert isinstance(results[1], ValueError)
    assert model.batches == [[1, 13, 2], [1], [13], [2]]
    assert reasons(dispatches) == [("full", 3)]


def test_the_next_request_works_after_an_error():
    async def work(batcher, model):
        with pytest.raises(ValueError, match="unlucky"):
            await batcher.submit(13)
        return await batcher.submit(3)

    results, _, model = run(work, max_batch=1)
    assert results == 6
    assert model.batches == [[13], [3]]  # an item that was alone is not computed again


def test_after_a_failed_batch_cancelled_items_are_left_out():
    async def work(batcher, model):
        model.go.clear()
        calls = [asyncio.ensure_future(batcher.submit(number)) for number in (13, 1)]
        await until(lambda: bool(model.batches))
        calls[1].cancel()
        await asyncio.wait([calls[1]])
        model.go.set()
        with pytest.raises(ValueError, match="unlucky"):
            await calls[0]

    _, _, model = run(work, max_batch=2)
    assert model.batches == [[13, 1], [13]]


def test_an_item_larger_than_a_batch_is_computed_alone():
    async def work(batcher, model):
        return await asyncio.gather(batcher.submit(1, size=9), batcher.submit(2, size=1), batcher.submit(3, size=3))

    results, dispatches, model = run(work)
    assert results == [2, 4, 6]
    assert model.batches == [[1], [2, 3]]
    assert reasons(dispatches) == [("full", 9), ("full", 4)]


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=20),
    max_batch=st.integers(5, 9),
    pauses=st.sets(st.integers(0, 19)),
)
def test_no_batch_exceeds_the_maximum_and_every_caller_gets_its_own_result(sizes, max_batch, pauses):
    async def work(batcher, model):
        calls = []
        for number, size in enumerate(sizes):
            calls.append(asyncio.ensure_future(batcher.submit(100 + number, size=size)))
            if number in pauses:
                await asyncio.sleep(0)
        return await asyncio.gather(*calls)

    results, dispatches, model = run(work, max_batch=max_batch, max_wait_s=0.001)
    assert results == [2 * (100 + number) for number in range(len(sizes))]
    assert sorted(item for batch in model.batches for item in batch) == [100 + i for i in range(len(sizes))]
    assert all(dispatch.size <= max_batch for dispatch in dispatches)
    assert sum(dispatch.size for dispatch in dispatches) == sum(sizes)
