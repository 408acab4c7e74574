from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from timesformer.config.run import OptimConfig
from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError
from timesformer.model.timesformer import TimeSformer
from timesformer.training.optim import build_optimizer, freeze, lr_factor, parameter_groups

TINY = ModelConfig(num_frames=2, image_size=16, patch_size=8, embed_dim=8, depth=1, num_heads=2, num_classes=3)

optims = st.builds(
    OptimConfig,
    schedule=st.sampled_from(["cosine", "steps"]),
    warmup_fraction=st.floats(0, 0.9),
)


def test_rate_rises_in_a_line_that_starts_at_zero_before_the_first_step():
    optim = OptimConfig(warmup_fraction=0.4)
    factors = [lr_factor(step, total_steps=10, optim=optim) for step in range(5)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_cosine_falls_from_one_to_zero():
    optim = OptimConfig(warmup_fraction=0.0)
    factors = [lr_factor(step, total_steps=8, optim=optim) for step in (0, 4, 8, 9)]
    assert factors == pytest.approx([1.0, 0.5, 0.0, 0.0])


def test_steps_divide_by_ten_at_the_paper_s_epochs():
    optim = OptimConfig(schedule="steps", warmup_fraction=0.0)
    by_epoch = [lr_factor(epoch, total_steps=15, optim=optim) for epoch in range(15)]
    assert by_epoch == pytest.approx([1.0] * 11 + [0.1] * 3 + [0.01])


@given(optims, st.integers(1, 400))
def test_rate_stays_between_zero_and_its_peak_and_no_step_is_wasted(optim: OptimConfig, total_steps: int):
    factors = [lr_factor(step, total_steps=total_steps, optim=optim) for step in range(total_steps)]
    assert all(0 < factor <= 1 for factor in factors)


@given(st.floats(0, 0.9), st.integers(20, 400))
def test_cosine_schedule_has_no_jump(warmup_fraction: float, total_steps: int):
    optim = OptimConfig(warmup_fraction=warmup_fraction)
    factors = [lr_factor(step, total_steps=total_steps, optim=optim) for step in range(total_steps + 1)]
    warmup_steps = round(warmup_fraction * total_steps)
    steepest = max(1 / (warmup_steps + 1), torch.pi / 2 / (total_steps - warmup_steps))
    assert max(abs(b - a) for a, b in pairwise(factors)) <= steepest + 1e-9


def _after_a_step_without_gradients(optim: OptimConfig) -> tuple[dict[str, bool], TimeSformer]:
    """For each parameter, whether weight decay alone changes it."""
    model = TimeSformer(replace(TINY, initialization="scratch"))
    torch.nn.init.ones_(model.embedding.cls_token)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    build_optimizer(model, optim=optim).step()
    return {name: not torch.equal(before[name], p) for name, p in model.named_parameters()}, model


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_only_matrices_and_the_patch_convolution_decay(optimizer: str):
    decays, _ = _after_a_step_without_gradients(OptimConfig(optimizer=optimizer, lr=0.1, weight_decay=0.5))
    assert {name for name, does in decays.items() if does} == {
        "embedding.patch.weight",
        "head.weight",
        "blocks.0.mlp.fc1.weight",
        "blocks.0.mlp.fc2.weight",
        "blocks.0.steps.time.fc.weight",
        *(f"blocks.0.steps.{step}.attention.{m}.weight" for step in ("time", "space") for m in ("qkv", "proj")),
    }


def test_nothing_decays_at_weight_decay_zero():
    decays, _ = _after_a_step_without_gradients(OptimConfig(weight_decay=0.0))
    assert not any(decays.values())


@pytest.mark.parametrize("scheme", ["space_only", "axial", "sparse_local_global"])
def test_every_parameter_is_in_one_group(scheme: str):
    model = TimeSformer(replace(TINY, scheme=scheme))
    groups = parameter_groups(model, optim=OptimConfig(weight_decay=0.1))
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in model.parameters())


def test_momentum_of_sgd_is_nesterov_s():
    model = TimeSformer(replace(TINY, num_classes=1))
    bias = model.head.bias
    optimizer = build_optimizer(model, optim=OptimConfig(optimizer="sgd", lr=1.0, weight_decay=0.0))
    for expected in (-1.9, -1.9 - 2.71):  # v = 0.9 v + g, and the step is g + 0.9 v
        bias.grad = torch.ones_like(bias)
        optimizer.step()
        torch.testing.assert_close(bias.detach(), torch.tensor([expected]))


# --- Rates by layer ---------------------------------------------------------------------------------------------------


def _rates(optim: OptimConfig, *, depth: int) -> dict[str, float]:
    """Peak learning rate of each parameter in the optimizer, by name."""
    model = TimeSformer(replace(TINY, depth=depth))
    freeze(model, optim.freeze)
    groups = build_optimizer(model, optim=optim).param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    return {name: rates[id(p)] for name, p in model.named_parameters() if id(p) in rates}


def test_rate_falls_by_the_layer_decay_from_block_to_block_down_to_the_embeddings():
    rates = _rates(OptimConfig(lr=0.8, layer_decay=0.5), depth=3)
    by_layer = {"head": 0.8, "norm": 0.8, "blocks.2": 0.4, "blocks.1": 0.2, "blocks.0": 0.1, "embedding": 0.05}
    assert rates == {
        name: next(rate for layer, rate in by_layer.items() if name.startswith(f"{layer}.")) for name in rates
    }
    assert {name.split(".")[-1] for name in rates if name.startswith("embedding.")} == {
        "cls_token", "position", "time", "weight", "bias",
    }  # fmt: skip


def test_numbers_of_blocks_are_read_as_numbers():
    rates = _rates(OptimConfig(lr=1.0, layer_decay=0.5), depth=11)
    assert rates["blocks.10.mlp.fc1.bias"] == 0.5
    assert rates["blocks.1.mlp.fc1.bias"] == 0.5**10


def test_groups_are_two_for_each_rate_and_two_without_layer_decay():
    model = TimeSformer(replace(TINY, depth=3))
    assert len(parameter_groups(model, optim=OptimConfig())) == 2
    groups = parameter_groups(model, optim=OptimConfig(layer_decay=0.5))
    assert len(groups) == 2 * 5  # head with norm, three blocks, embeddings
    assert all(group["params"] for group in groups)


# --- Frozen modules ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freeze", "trained"),
    [
        ("none", {"embedding", "blocks.0", "blocks.1", "blocks.2", "norm", "head"}),
        ("blocks:2", {"blocks.2", "norm", "head"}),
        ("blocks:3", {"norm", "head"}),
        ("backbone", {"head"}),
    ],
)
def test_optimizer_has_all_but_frozen_parameters(freeze: str, trained: set[str]):
    rates = _rates(OptimConfig(freeze=freeze), depth=3)
    layers = [name.split(".")[: 1 + name.startswith("blocks.")] for name in rates]
    assert {".".join(layer) for layer in layers} == trained


def test_newly_initialized_parameters_have_the_full_rate_and_are_not_frozen():
    model = TimeSformer(replace(TINY, depth=3))
    new = {"embedding.time", "blocks.0.steps.time.fc.weight", "head.weight"}
    optim = OptimConfig(lr=0.8, layer_decay=0.5, pretrained_lr=0.25, freeze="blocks:2")
    freeze(model, optim.freeze, newly_initialized=new)
    groups = build_optimizer(model, optim=optim, newly_initialized=new).param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    below = {n: rates[id(p)] for n, p in model.named_parameters() if id(p) in rates and "blocks.2" not in n}
    assert {name: rate for name, rate in below.items() if not name.startswith(("norm", "head"))} == {
        "embedding.time": 0.8, "blocks.0.steps.time.fc.weight": 0.8,
    }  # fmt: skip
    assert rates[id(model.blocks[2].mlp.fc1.bias)] == 0.1


def test_a_linear_probe_freezes_newly_initialized_parameters_as_well():
    model = TimeSformer(TINY)
    freeze(model, "backbone", newly_initialized={"embedding.time"})
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}


def test_more_frozen_blocks_than_the_model_has_are_refused():
    with pytest.raises(ConfigError, match=r"optim.freeze='blocks:4' is more than the 3 blocks of the model"):
        freeze(TimeSformer(replace(TINY, depth=3)), "blocks:4")


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_optimizer_whose_gradients_are_clipped_in_half_precision_is_not_fused(optimizer: str):
    model = TimeSformer(TINY)
    clipping, free = (OptimConfig(optimizer=optimizer, clip_grad_norm=norm) for norm in (1.0, 0.0))
    assert build_optimizer(model, optim=clipping).defaults["fused"]
    assert build_optimizer(model, optim=free, precision="fp16").defaults["fused"]
    for precision in ("bf16", "fp16"):
        assert not build_optimizer(model, optim=clipping, precision=precision).defaults["fused"]
