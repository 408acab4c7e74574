"""From pixels to tokens: their order, their embeddings, and embeddings resized to another grid."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from timesformer.errors import ConfigError
from timesformer.model import TimeSformer
from timesformer.model.embedding import fold_frames
from timesformer.model.initialization import sinusoids
from timesformer.model.interpolation import resize
from timesformer.model.schemes import Grid
from tiny import random_clips, random_model, tiny_config

SIDES = st.integers(1, 9)


def numbered(count: int) -> Tensor:
    """An embedding of width 1; each row holds its index."""
    return torch.arange(float(count))[None, :, None]


def nearest_frames(old: int, new: int) -> list[int]:
    return resize(numbered(old), old=(old,), new=(new,), mode="nearest").flatten().int().tolist()


def test_nearest_time_repeats_each_frame_when_their_number_doubles():
    assert nearest_frames(8, 16) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]


def test_nearest_time_from_8_to_12_is_the_released_table():
    assert nearest_frames(8, 12) == [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7]


def test_linear_time_keeps_the_ends_and_lies_between_neighbors():
    line = resize(numbered(2), old=(2,), new=(4,), mode="bicubic").flatten()
    torch.testing.assert_close(line, torch.tensor([0, 0.25, 0.75, 1]))


def test_nearest_space_from_14_to_28_repeats_rows_and_columns():
    # the released code resizes along the flattened grid when it loads, which moves 93 % of the positions
    got = resize(numbered(14 * 14), old=(14, 14), new=(28, 28), mode="nearest").flatten().int()
    rows, columns = torch.meshgrid(torch.arange(28) // 2, torch.arange(28) // 2, indexing="ij")
    torch.testing.assert_close(got, (14 * rows + columns).flatten().int(), rtol=0, atol=0)


@given(old=st.tuples(SIDES, SIDES), new=st.tuples(SIDES, SIDES))
def test_nearest_space_reads_the_position_at_the_same_fraction_of_each_side(old: tuple[int, int], new: tuple[int, int]):
    got = resize(numbered(old[0] * old[1]), old=old, new=new, mode="nearest").flatten().int().tolist()
    assert got == [(r * old[0] // new[0]) * old[1] + c * old[1] // new[1] for r in range(new[0]) for c in range(new[1])]


@given(old=st.tuples(SIDES, SIDES), new=st.tuples(SIDES, SIDES), mode=st.sampled_from(["bicubic", "nearest"]))
def test_constant_stays_constant_at_every_size(old: tuple[int, int], new: tuple[int, int], mode: str):
    constant = torch.tensor([0.3, -2.0]).expand(1, old[0] * old[1], 2)
    got = resize(constant, old=old, new=new, mode=mode)
    torch.testing.assert_close(got, torch.tensor([0.3, -2.0]).expand(1, new[0] * new[1], 2))


@given(side=st.tuples(SIDES, SIDES), mode=st.sampled_from(["bicubic", "nearest"]))
def test_same_size_is_the_same_embedding_bit_for_bit(side: tuple[int, int], mode: str):
    embedding = torch.randn(1, side[0] * side[1], 3)
    assert resize(embedding, old=side, new=side, mode=mode) is embedding
    assert resize(embedding, old=(side[0] * side[1],), new=(side[0] * side[1],), mode=mode) is embedding


def test_bicubic_is_smoother_than_nearest():
    ramp = numbered(4)
    got = resize(ramp, old=(4, 1), new=(8, 1), mode="bicubic").flatten()
    assert (got.diff() > 0).all()


@torch.no_grad()
def test_tokens_are_in_the_order_class_token_time_row_column():
    config = tiny_config()
    embedding, clips = random_model(config).embedding, random_clips(config)
    tokens, grid = embedding(clips)
    assert grid == Grid(3, 2, 5)
    assert tokens.shape == (2, 1 + 3 * 2 * 5, 24)
    t, row, column = 2, 1, 3
    patch = clips[:, :, t, 4:8, 12:16]
    projected = torch.einsum("bcpq,dcpq->bd", patch, embedding.patch.weight) + embedding.patch.bias
    want = projected + embedding.position[0, 1 + row * 5 + column] + embedding.time[0, t]
    torch.testing.assert_close(tokens[:, 1 + (t * 2 + row) * 5 + column], want, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tokens[:, 0], (embedding.cls_token + embedding.position[:, :1])[0].expand(2, -1))


@torch.no_grad()
def test_positions_follow_a_frame_of_another_shape():
    config = tiny_config(position_interpolation="nearest", in_channels=1)
    embedding = random_model(config).embedding
    embedding.patch.weight.zero_()
    embedding.time.zero_()
    tokens, grid = embedding(torch.zeros(1, 1, 2, 16, 12))
    assert grid == Grid(2, 4, 3)
    rows, columns = [0, 0, 1, 1], [0, 1, 3]
    places = [1 + row * 5 + column for row in rows for column in columns]
    want = (embedding.position[0, places] + embedding.patch.bias).repeat(2, 1)
    torch.testing.assert_close(tokens[0, 1:], want)


@torch.no_grad()
def test_folded_frames_are_separate_sequences_with_a_class_token_each():
    tokens = torch.randn(2, 1 + 3 * 10, 4)
    folded, grid = fold_frames(tokens, Grid(3, 2, 5))
    assert grid == Grid(1, 2, 5)
    torch.testing.assert_close(folded[3 + 1, 1:], tokens[1, 11:21])
    torch.testing.assert_close(folded[:, 0], tokens[[0, 0, 0, 1, 1, 1], 0])


@pytest.mark.parametrize("size", [(9, 20), (8, 21), (3, 20)])
def test_frame_that_patches_do_not_tile_is_refused(size: tuple[int, int]):
    model = TimeSformer(tiny_config())
    with pytest.raises(ConfigError, match=rf"image_size=\({size[0]}, {size[1]}\) is not a multiple of patch_size=4"):
        model(torch.zeros(1, 3, 2, *size))


def test_other_number_of_channels_is_refused_with_the_expected_order():
    with pytest.raises(
        ConfigError, match=r"have 5 channels.*in_channels=3.*\[batch, channels, frames, height, width\]"
    ):
        TimeSformer(tiny_config())(torch.zeros(1, 5, 3, 8, 20))


@pytest.mark.parametrize(
    ("scheme", "position_embedding", "names"),
    [
        ("divided_space_time", "space_time", {"cls_token", "position", "time"}),
        ("divided_space_time", "space", {"cls_token", "position"}),
        ("divided_space_time", "none", {"cls_token"}),
        ("space_only", "space_time", {"cls_token", "position"}),
        ("space_only", "none", {"cls_token"}),
    ],
)
def test_only_the_embeddings_that_are_used_are_parameters(scheme: str, position_embedding: str, names: set[str]):
    embedding = TimeSformer(tiny_config(scheme, position_embedding=position_embedding)).embedding
    assert {name for name, _ in embedding.named_parameters()} - {"patch.weight", "patch.bias"} == names


def test_sinusoids_are_sines_then_cosines_of_slower_and_slower_waves():
    got = sinusoids(3, dim=4, slowest=100.0)
    angles = torch.tensor([[0.0, 0.0], [1.0, 0.1], [2.0, 0.2]])
    torch.testing.assert_close(got, torch.cat([angles.sin(), angles.cos()], dim=1))


@torch.no_grad()
def test_start_from_scratch_tells_rows_in_one_half_of_the_width_and_columns_in_the_other():
    embedding = TimeSformer(tiny_config(initialization="scratch")).embedding
    places = embedding.position[0, 1:].unflatten(0, (2, 5))
    torch.testing.assert_close(places[:, :, :12], places[:, :1, :12].expand(-1, 5, -1))
    torch.testing.assert_close(places[:, :, 12:], places[:1, :, 12:].expand(2, -1, -1))
    assert torch.unique(places.flatten(0, 1), dim=0).shape[0] == 10
    torch.testing.assert_close(embedding.time[0], sinusoids(3, dim=24))
