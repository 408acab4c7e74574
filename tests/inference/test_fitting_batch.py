"""The largest batch that fits is found by trying smaller ones."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from timesformer.errors import TimeSformerError
from timesformer.inference.fitting_batch import compute_or_advise, largest_fitting

CPU = torch.device("cpu")


class Memory:
    """Computes up to a number of clips at a time."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.tried: list[int] = []

    def __call__(self, clips: Tensor) -> Tensor:
        self.tried.append(len(clips))
        if len(clips) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return clips.float().mean(dim=(1, 2, 3, 4))[:, None]


def clips(count: int) -> Tensor:
    return torch.zeros(count, 3, 2, 4, 6)


@given(count=st.integers(1, 200), room=st.integers(0, 250))
def test_largest_batch_is_exact_and_found_in_a_few_trials(count: int, room: int):
    memory = Memory(room)
    assert largest_fitting(memory, clips(count)) == min(room, count - 1)
    assert len(memory.tried) <= count.bit_length()


def test_batch_that_fits_is_computed_once():
    memory = Memory(5)
    assert compute_or_advise(memory, clips(5), device=CPU).shape == (5, 1)
    assert memory.tried == [5]


@pytest.mark.parametrize(
    ("room", "advice"),
    [
        (3, r"3 fit: pass batch_size=3 \(--batch-size 3\)"),
        (0, "not even one fits: use a smaller model or fewer frames$"),
    ],
)
def test_batch_that_does_not_fit_is_answered_with_one_that_does(room: int, advice: str):
    with pytest.raises(
        TimeSformerError, match=f"out of memory on cpu with 7 clips of 2 frames of 4 x 6 at a time; {advice}"
    ):
        compute_or_advise(Memory(room), clips(7), device=CPU)


def test_other_errors_are_not_memory():
    def fail(batch: Tensor) -> Tensor:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        compute_or_advise(fail, clips(2), device=CPU)
