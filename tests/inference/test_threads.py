"""Parts of a batch on threads: the same results, and no other thread computes differently afterwards."""

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread, get_ident

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from timesformer.errors import TimeSformerError
from timesformer.inference import predictor as predictor_module
from timesformer.inference.predictor import Predictor
from timesformer.inference.threads import PartThreads, limit_threads, num_parts
from tiny import SCHEME_NAMES, random_clips, random_model, tiny_config


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def in_new_thread() -> int:
    """Number of torch's threads in a thread that starts now."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


@pytest.mark.parametrize(
    ("num_clips", "num_threads", "expected"),
    [(8, 1, 1), (8, 2, 2), (3, 2, 1), (1, 64, 1), (8, 16, 8), (4, 6, 2), (6, 8, 2), (0, 4, 1), (5, 64, 1)],
)
def test_number_of_parts(num_clips: int, num_threads: int, expected: int):
    assert num_parts(num_clips, num_threads=num_threads) == expected


@given(num_clips=st.integers(1, 100), num_threads=st.integers(1, 130))
def test_parts_never_take_longer_than_the_whole_batch_on_all_threads(num_clips: int, num_threads: int):
    count = num_parts(num_clips, num_threads=num_threads)
    assert 1 <= count <= min(num_clips, num_threads)
    assert -(-num_clips // count) / (num_threads // count) <= num_clips / num_threads * (1 + 1e-9)


def test_a_limit_holds_in_its_thread_alone(four_threads: None):
    found: list[int] = []

    def limited() -> None:
        limit_threads(1, others=4)
        found.append(torch.get_num_threads())

    thread = Thread(target=limited)
    thread.start()
    thread.join()
    assert (found, torch.get_num_threads(), in_new_thread()) == ([1], 4, 4)


def test_parts_are_computed_at_the_same_time_in_inference_mode(four_threads: None):
    both = Barrier(4, timeout=60)

    def compute(part: Tensor) -> tuple[int, int, int, bool]:
        both.wait()
        return len(part), get_ident(), torch.get_num_threads(), torch.is_inference_mode_enabled()

    found = PartThreads().compute(compute, torch.zeros(8, 3, 2, 4, 6))
    assert [size for size, *_ in found] == [2, 2, 2, 2]
    assert len({thread for _, thread, *_ in found} | {get_ident()}) == 5
    assert {(threads, mode) for *_, threads, mode in found} == {(1, True)}
    assert (torch.get_num_threads(), in_new_thread()) == (4, 4)


def test_an_error_of_a_part_is_raised_once_all_parts_are_done(four_threads: None):
    done: list[float] = []

    def compute(part: Tensor) -> None:
        if part[0, 0, 0, 0, 0] == 0:
            raise MemoryError
        done.append(float(part[0, 0, 0, 0, 0]))

    clips = torch.arange(4.0)[:, None, None, None, None].expand(4, 3, 2, 4, 6)
    with pytest.raises(MemoryError):
        PartThreads().compute(compute, clips)
    assert sorted(done) == [1, 2, 3]


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
@pytest.mark.parametrize("fast", [True, False])
def test_logits_and_features_in_parts_are_those_of_the_whole_batch(four_threads: None, scheme: str, fast: bool):
    model = random_model(tiny_config(scheme))
    predictor, clips = Predictor(model, fast=fast), random_clips(model.config, batch=8)
    logits, encoded = predictor.logits(clips), predictor.encode(clips, level="frame")
    predictor._parts = None
    torch.testing.assert_close(logits, predictor.logits(clips), rtol=0, atol=1e-5)
    for got, want in zip(encoded, predictor.encode(clips, level="frame"), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


def test_which_models_compute_in_parts(four_threads: None, monkeypatch: pytest.MonkeyPatch):
    model, clips = random_model(tiny_config()), random_clips(tiny_config(), batch=4)
    threads: set[int] = set()
    predictor = Predictor(model)
    monkeypatch.setattr(predictor, "_logits", lambda part: threads.add(get_ident()) or torch.zeros(len(part), 7))
    predictor.logits(clips)
    assert get_ident() not in threads
    monkeypatch.setattr(predictor_module, "MOST_WORK", 1)  # large clips
    threads.clear()
    predictor.logits(clips)
    assert threads == {get_ident()}
    monkeypatch.setattr(torch, "compile", lambda function, mode: function)
    assert Predictor(model, compile=True)._parts is None
    model.register_forward_hook(lambda module, inputs, output: output)
    assert Predictor(model)._parts is None


def test_a_batch_that_does_not_fit_is_advised_in_parts_too(four_threads: None, monkeypatch: pytest.MonkeyPatch):
    def compute(part: Tensor) -> Tensor:
        if len(part) > 1:
            raise MemoryError
        return torch.zeros(len(part), 7)

    predictor = Predictor(random_model(tiny_config()))
    monkeypatch.setattr(predictor, "_logits", compute)
    with pytest.raises(TimeSformerError, match=r"with 8 clips .*; 4 fit: pass batch_size=4"):
        predictor.logits(random_clips(tiny_config(), batch=8))


def test_a_predictor_that_has_computed_can_be_pickled(four_threads: None):
    predictor, clips = Predictor(random_model(tiny_config())), random_clips(tiny_config(), batch=4)
    torch.testing.assert_close(pickle.loads(pickle.dumps(predictor)).logits(clips), predictor.logits(clips))
