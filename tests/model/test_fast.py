"""Fast inference compared with the model that it was built from: every scheme, every variant, any chunk size."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from timesformer.errors import ConfigError
from timesformer.model import TimeSformer, folding
from timesformer.model.cost import multiply_accumulates
from timesformer.model.fast import FastTimeSformer
from tiny import SCHEME_NAMES, random_clips, random_model, tiny_config

TOLERANCE = {"rtol": 0, "atol": 1e-5}
WITH_TIME = [name for name in SCHEME_NAMES if "time" in random_model(tiny_config(name)).scheme.steps]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"qkv_bias": False},
    {"depth": 1},
    {"head_norm": "batch"},
    {"position_embedding": "none"},
    {"dropout": 0.3, "attention_dropout": 0.3, "drop_path": 0.3},  # without effect in eval mode
]


def assert_same_logits(model: TimeSformer, **sizes: Any) -> None:
    clips = random_clips(model.config, **{"batch": 3} | sizes)
    with torch.no_grad():
        expected = model(clips)
    torch.testing.assert_close(FastTimeSformer(model)(clips), expected, **TOLERANCE)


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
@pytest.mark.parametrize("changes", VARIANTS, ids=lambda changes: "-".join(changes) or "plain")
def test_logits_are_those_of_the_model(scheme: str, changes: dict[str, Any]):
    assert_same_logits(random_model(tiny_config(scheme, **changes)))


@pytest.mark.parametrize("scheme", WITH_TIME)
def test_the_class_token_may_take_part_in_time(scheme: str):
    assert_same_logits(random_model(tiny_config(scheme, cls_in_time=True)))


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
@pytest.mark.parametrize("sizes", [{"num_frames": 5}, {"num_frames": 1}, {"image_size": (12, 8)}, {"batch": 1}])
def test_clips_may_have_other_sizes_than_the_config(scheme: str, sizes: dict[str, Any]):
    assert_same_logits(random_model(tiny_config(scheme)), **sizes)


@given(
    scheme=st.sampled_from(SCHEME_NAMES),
    rows=st.integers(1, 40),
    frames=st.integers(1, 4),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    batch=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_chunk_size_does_not_change_the_logits(scheme: str, rows: int, frames: int, grid: tuple[int, int], batch: int):
    config = tiny_config(scheme, num_frames=frames, image_size=(4 * grid[0], 4 * grid[1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folding, "CHUNK_TOKENS", rows)
        assert_same_logits(random_model(config), batch=batch)


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_features_are_those_of_the_model(scheme: str):
    model = random_model(tiny_config(scheme, head_norm="batch"))
    clips = random_clips(model.config)
    with torch.no_grad():
        expected = model.features(clips)
    torch.testing.assert_close(FastTimeSformer(model).features(clips), expected, **TOLERANCE)


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_neither_the_model_nor_the_clips_are_changed(scheme: str):
    model = random_model(tiny_config(scheme)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    clips = random_clips(model.config)
    kept = clips.clone()
    folded = FastTimeSformer(model)
    folded(clips)
    assert torch.equal(clips, kept)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())
    own = {tensor.data_ptr() for tensor in folded.state_dict().values()}
    assert own.isdisjoint(tensor.data_ptr() for tensor in model.state_dict().values())


def test_two_calls_give_equal_logits():
    folded = FastTimeSformer(random_model(tiny_config()))
    clips = random_clips(folded.config)
    assert torch.equal(folded(clips), folded(clips))


def test_config_and_info_are_those_of_the_model():
    model = random_model(tiny_config())
    folded = FastTimeSformer(model)
    assert (folded.config, folded.info) == (model.config, model.info)


def test_a_model_with_hooks_is_refused():
    model = random_model(tiny_config())
    model.blocks[1].mlp.register_forward_hook(lambda module, inputs, output: output * 2)
    with pytest.raises(ConfigError, match="hooks"):
        FastTimeSformer(model)


def test_sides_that_patches_do_not_tile_are_refused_as_by_the_model():
    folded = FastTimeSformer(random_model(tiny_config()))
    with pytest.raises(ConfigError, match="patch"):
        folded(torch.zeros(1, 3, 3, 9, 20))


def test_the_precision_of_the_weights_is_kept():
    model = random_model(tiny_config()).double()
    clips = random_clips(model.config).double()
    with torch.no_grad():
        expected = model(clips)
    folded = FastTimeSformer(model)
    assert {tensor.dtype for tensor in folded.state_dict().values()} == {torch.float64}
    torch.testing.assert_close(folded(clips), expected, rtol=0, atol=1e-12)


def test_folding_saves_one_of_seventeen_linear_layers_of_a_divided_block_and_most_of_the_last_block():
    config = tiny_config(embed_dim=96, mlp_ratio=4, depth=3)
    linear = config.embed_dim**2 * (config.num_frames * (1 + 2 * 5))
    products = multiply_accumulates(config)
    pairs = 2 * config.embed_dim * config.num_frames * (3 * 11**2 + 3 * 11 * 3)  # at most: attention of three blocks
    assert 2 * 16 * linear + 4 * linear < products < (2 * 16 + 4 + 1) * linear + pairs


def test_depth_adds_the_cost_of_full_blocks():
    costs = [multiply_accumulates(tiny_config(depth=depth)) for depth in (1, 2, 3)]
    assert costs[2] - costs[1] == costs[1] - costs[0]
    assert costs[0] < costs[1] - costs[0]
