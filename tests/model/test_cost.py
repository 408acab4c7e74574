"""Cost in closed form compared with the built model, with torch's counter and with the numbers in the paper."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from processors import UNDESCRIBED, claim
from timesformer.config.presets import PRESETS
from timesformer.config.schema import ModelConfig
from timesformer.model import SCHEMES, TimeSformer
from timesformer.model.cost import cost
from tiny import SCHEME_NAMES, tiny_config

WITH_TIME = ("divided_space_time", "axial", "space_time_reversed", "parallel")
UNMASKED = tuple(name for name in SCHEME_NAMES if name != "sparse_local_global_centered")


def built_parameters(config: ModelConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in TimeSformer(config).parameters())


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    scheme, patch = draw(st.sampled_from(SCHEME_NAMES)), draw(st.sampled_from([2, 4]))
    heads = draw(st.integers(1, 4))
    return ModelConfig(
        scheme=scheme,
        num_frames=draw(st.integers(1, 6)),
        image_size=(patch * draw(st.integers(1, 4)), patch * draw(st.integers(1, 4))),
        patch_size=patch,
        in_channels=draw(st.integers(1, 4)),
        embed_dim=heads * draw(st.integers(1, 6)),
        depth=draw(st.integers(1, 3)),
        num_heads=heads,
        mlp_ratio=draw(st.sampled_from([1.0, 2.5, 4.0])),
        qkv_bias=draw(st.booleans()),
        position_embedding=draw(st.sampled_from(["space_time", "space", "none"])),
        cls_in_time=scheme in WITH_TIME and draw(st.booleans()),
        num_classes=draw(st.integers(1, 9)),
    )


def parameters_by_hand(config: ModelConfig) -> int:
    dim, (frames, rows, columns) = config.embed_dim, config.grid
    norm, square = 2 * dim, dim * dim + dim
    attention = norm + 3 * dim * dim + 3 * dim * config.qkv_bias + square
    steps = len(SCHEMES[config.scheme].steps)
    mlp = norm + 2 * dim * config.mlp_dim + config.mlp_dim + dim
    block = steps * attention + (steps - 1) * square + mlp
    patch = config.in_channels * config.patch_size**2 * dim + dim
    position = (1 + rows * columns) * dim * (config.position_embedding != "none")
    time = frames * dim * (config.position_embedding == "space_time" and config.scheme != "space_only")
    head = dim * config.num_classes + config.num_classes
    return patch + dim + position + time + config.depth * block + norm + head


@given(config=configs())
@settings(max_examples=60, deadline=None)
def test_parameters_agree_with_the_formulas(config: ModelConfig):
    assert cost(config).parameters == parameters_by_hand(config)


@pytest.mark.parametrize(
    ("scheme", "millions"),
    [
        ("space_only", 85.9),
        ("joint_space_time", 85.9),
        ("divided_space_time", 121.4),
        ("sparse_local_global", 121.4),
        ("sparse_local_global_centered", 121.4),
        ("axial", 156.8),
    ],
)
def test_parameters_are_those_of_table_1_of_the_paper(scheme: str, millions: float):
    # to 0.1 million: the paper prints 156.8 for axial, whose exact number is 156.848 million
    assert cost(ModelConfig(scheme=scheme, num_classes=174)).parameters / 1e6 == pytest.approx(millions, abs=0.051)


@pytest.mark.parametrize(
    ("scheme", "parameters"),
    [("space_only", 86_106_256), ("joint_space_time", 86_112_400), ("divided_space_time", 121_566_352)],
)
def test_parameters_with_400_classes_are_those_of_the_released_models(scheme: str, parameters: int):
    config = ModelConfig(scheme=scheme)
    assert cost(config).parameters == parameters == built_parameters(config)


@pytest.mark.parametrize(("preset", "tera"), [("base", 0.587), ("hr", 5.108), ("large", 7.140)])
def test_macs_of_three_views_are_those_of_table_5_of_the_paper(preset: str, tera: float):
    assert 3 * cost(PRESETS[preset]).macs / 1e12 == pytest.approx(tera, abs=5e-4)


@pytest.mark.parametrize(
    ("scheme", "giga"),
    [
        ("space_only", 141),
        ("joint_space_time", 180),
        ("divided_space_time", 196),
        ("sparse_local_global", 207),
        ("axial", 253),  # 246 without the copies of the class token in every row and column
    ],
)
def test_macs_of_one_view_of_the_base_model_agree_with_the_formulas_of_each_scheme(scheme: str, giga: int):
    assert round(cost(ModelConfig(scheme=scheme)).macs / 1e9) == giga


@pytest.mark.parametrize("scheme", UNMASKED)
def test_macs_are_half_the_flops_that_torch_counts(scheme: str):
    config = tiny_config(scheme)
    with torch.device("meta"):  # on a CPU the counter misses fused attention
        model, clips = TimeSformer(config).eval(), torch.zeros(1, 3, 3, 8, 20)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(clips)
    head = config.embed_dim * config.num_classes
    assert cost(config).macs == counter.get_total_flops() / 2 - head


def test_class_token_in_time_costs_one_more_token_in_each_sequence():
    config = tiny_config()
    without, with_cls = cost(config), cost(replace(config, cls_in_time=True))
    sequences, dim = 2 * 5, 24
    extra = sequences * (5 * dim**2 + 2 * dim * (4**2 - 3**2))
    assert with_cls.macs - without.macs == config.depth * extra
    assert with_cls.parameters == without.parameters


def test_masked_attention_costs_the_pairs_that_its_mask_admits():
    base = tiny_config("sparse_local_global_centered", depth=1, image_size=(16, 16), num_frames=2)
    dim, tokens = 24, 1 + 2 * 16
    local = 32 * (1 + 2 * 2 * 2) + tokens  # each patch: class token, a 2 x 2 window in 2 frames; the class token: all
    sparse = tokens * (1 + 1 * 2 * 2)
    patches, mlp = 32 * 3 * 16 * dim, 2 * dim * 60 * tokens
    assert cost(base).macs == patches + mlp + 9 * dim**2 * tokens + 2 * dim * (local + sparse)


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_weights_take_four_bytes_a_parameter_and_activations_grow_with_the_clip(scheme: str):
    small, large = cost(tiny_config(scheme)), cost(tiny_config(scheme, num_frames=6))
    assert small.weight_bytes == 4 * small.parameters
    assert small.tokens == (3 * 11 if scheme == "space_only" else 31)
    assert large.activation_bytes > small.activation_bytes > 0


@pytest.mark.parametrize(
    ("scheme", "cls_in_time"), [*((name, False) for name in SCHEME_NAMES), *((name, True) for name in WITH_TIME)]
)
def test_activations_of_a_clip_are_those_that_autograd_keeps(
    scheme: str, cls_in_time: bool, monkeypatch: pytest.MonkeyPatch
):
    claim(monkeypatch, UNDESCRIBED)  # attention by products, chosen by processor, keeps no normalizers
    config = ModelConfig(
        scheme=scheme,
        cls_in_time=cls_in_time,
        num_frames=6,
        image_size=(32, 40),
        patch_size=4,
        embed_dim=48,
        depth=3,
        num_heads=3,
        drop_path=0.0,
    )
    model = TimeSformer(config)
    second_clip = _kept_bytes(model, clips=2) - _kept_bytes(model, clips=1)  # merged weights and masks are kept once
    assert cost(config).activation_bytes == pytest.approx(second_clip, rel=1e-3)


def _kept_bytes(model: TimeSformer, *, clips: int) -> int:
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(torch.randn(clips, 3, model.config.num_frames, *model.config.image_size))
    assert logits.requires_grad  # the graph is alive until here, and with it what it keeps
    return sum(kept.values())
