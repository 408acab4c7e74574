"""Occlusion against hiding one tubelet at a time by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from timesformer.errors import ConfigError
from timesformer.explanation.occlusion import MOST_TUBELETS, find_tubelets, occlusion
from tiny import random_clips, random_model, tiny_config

GRIDS = st.tuples(st.integers(1, 100), st.integers(1, 25), st.integers(1, 25))


@given(GRIDS, st.none() | st.integers(1, 120))
def test_every_patch_is_in_exactly_one_tubelet(grid: tuple[int, int, int], tubelet: int | None):
    count = torch.zeros(grid)
    lengths = set()
    for first, end, row, column in find_tubelets(grid, tubelet=tubelet):
        count[first:end, row, column] += 1
        lengths.add(end - first)
    assert (count == 1).all()
    assert max(lengths) - min(lengths) <= 1
    if tubelet is not None:
        assert max(lengths) <= tubelet
    else:
        num_tubelets = grid[1] * grid[2] * -(-grid[0] // max(lengths))
        assert num_tubelets <= max(MOST_TUBELETS, grid[1] * grid[2])


@pytest.mark.parametrize(
    ("grid", "count"), [((8, 14, 14), 392), ((96, 14, 14), 392), ((16, 28, 28), 784), ((8, 4, 4), 128)]
)
def test_the_documented_numbers_of_forward_passes(grid: tuple[int, int, int], count: int):
    assert len(list(find_tubelets(grid))) == count


@torch.no_grad()
def test_relevance_is_the_drop_of_the_log_probability():
    config = tiny_config()
    model, (clip,) = random_model(config), random_clips(config, batch=1)
    got = occlusion(model, clip, target=2, patch_size=4, tubelet=2, batch_size=3)
    whole = model(clip[None]).softmax(-1)[0, 2]
    want = torch.zeros(3, 2, 5)
    for frames in (slice(0, 1), slice(1, 3)):  # 3 frames in tubelets of at most 2
        for row in range(2):
            for column in range(5):
                hidden = clip.clone()
                patch = hidden[:, frames, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                patch[:] = clip.flatten(1).mean(1)[:, None, None, None]
                drop = (whole / model(hidden[None]).softmax(-1)[0, 2]).log().clamp(min=0)
                want[frames, row, column] = drop / (frames.stop - frames.start)
    assert (want > 0).any()
    assert (want == 0).any()
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_progress_counts_tubelets_and_batches_keep_to_their_size():
    sizes, told = [], []

    def logits(clips: Tensor) -> Tensor:
        sizes.append(len(clips))
        return torch.zeros(len(clips), 2)

    def on_progress(done: int, total: int) -> None:
        told.append((done, total))

    relevance = occlusion(
        logits, torch.zeros(3, 2, 8, 12), target=1, patch_size=4, batch_size=5, on_progress=on_progress
    )
    assert relevance.shape == (2, 2, 3)
    assert sizes == [1, 5, 5, 2]
    assert told == [(5, 12), (10, 12), (12, 12)]


@pytest.mark.parametrize("tubelet", [0, -1])
def test_an_impossible_tubelet_is_refused(tubelet: int):
    with pytest.raises(ConfigError, match=rf"tubelet={tubelet} "):
        occlusion(torch.zeros, torch.zeros(3, 2, 8, 12), target=0, patch_size=4, tubelet=tubelet)
