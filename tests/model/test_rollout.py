"""Rollout against the product of dense matrices, for every scheme."""

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError
from timesformer.model import chunked, transposed
from timesformer.model import rollout as module
from timesformer.model.block import Block, Step
from timesformer.model.embedding import fold_frames
from timesformer.model.rollout import Relevance, class_rollout, last_attention, rollout
from timesformer.model.schemes import SCHEMES, Grid, Regroup
from timesformer.model.timesformer import TimeSformer

CONFIG = ModelConfig(
    num_frames=2, image_size=(12, 20), patch_size=4, embed_dim=8, depth=3, num_heads=2, mlp_ratio=2.0, num_classes=3
)


def build(scheme: str, *, cls_in_time: bool = False) -> TimeSformer:
    """A small model all of whose parameters are drawn, so that no step is the identity."""
    model = TimeSformer(replace(CONFIG, scheme=scheme, cls_in_time=cls_in_time)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    return model


def clips(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 2, 12, 20)


def attention_weights(step: Step, tokens: Tensor, mask: Tensor | None) -> Tensor:
    """The attention weights `[s, heads, n, n]` of a step, in full."""
    heads = step.attention.num_heads
    q, k, _ = step.attention.qkv(step.norm(tokens)).chunk(3, dim=-1)
    q, k = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k))
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return (scores if mask is None else scores.masked_fill(~mask, float("-inf"))).softmax(-1)


class Dense:
    """A step that computes with the full attention weights and keeps them, with their gradients."""

    def __init__(self, step: Step) -> None:
        self.step, self.weights = step, []

    def __call__(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        weights = attention_weights(self.step, tokens, mask)
        self.weights.append(weights)
        if weights.requires_grad:
            weights.retain_grad()
        attention = self.step.attention
        values = attention.qkv(self.step.norm(tokens)).chunk(3, dim=-1)[2].unflatten(-1, (attention.num_heads, -1))
        return self.step.fc(attention.proj((weights @ values.transpose(1, 2)).transpose(1, 2).flatten(2)))


class Stage(NamedTuple):
    """A stage of a block: its regroups, the tokens that it reads, what each step adds, and the full weights."""

    regroups: dict[str, Regroup]
    tokens: Tensor
    updates: dict[str, Tensor]
    steps: dict[str, Dense]


def forward(model: TimeSformer, clip: Tensor) -> tuple[list[Stage], Tensor, Grid]:
    """All stages of all blocks, and the logits."""
    x, grid = model.embedding(clip)
    x, grid = fold_frames(x, grid) if model.scheme.per_frame else (x, grid)
    stages = []
    for block in model.blocks:
        for stage in block.scheme.stages:
            steps = {name: Dense(block.steps[name]) for name in stage}
            updates = {name: regroup(x, grid, steps[name]) for name, regroup in stage.items()}
            stages.append(Stage(dict(stage), x, updates, steps))
            x = x + sum(updates.values())
        x = block.add_mlp(x)
    features = model.norm(x[:, 0].unflatten(0, (len(clip), -1)).mean(1))
    return stages, model.head(features), grid


def dense_map(regroup: Regroup, weights: list[Tensor], size: int, grid: Grid) -> Tensor:
    """The matrix `[b, n, n]` of a regroup with these weights, by pushing the identity through it."""
    own = iter(weights)
    batch = len(weights[0]) // regroup.workload(grid)[0].sequences
    identity = torch.eye(size)[None].expand(batch, -1, -1)
    return regroup(identity, grid, lambda columns, mask=None: next(own) @ columns)


def brute_force(stages: list[Stage], grid: Grid, *, residual: str) -> Tensor:
    """The row of the class token of the product of dense matrices."""
    total = torch.eye(stages[0].tokens.shape[1])
    for stage in stages:
        norms = {name: update.norm(dim=-1, keepdim=True) for name, update in stage.updates.items()}
        fraction = stage.tokens.norm(dim=-1, keepdim=True) + sum(norms.values())
        kept, mixed = torch.ones_like(fraction), 0
        for name, regroup in stage.regroups.items():
            weight = norms[name] / fraction if residual == "norm" else torch.full_like(fraction, 0.5 / len(norms))
            if not regroup.with_cls:
                weight[:, 0] = 0
            means = [weights.mean(1) for weights in stage.steps[name].weights]
            kept = kept - weight
            mixed = mixed + weight * dense_map(regroup, means, total.shape[-1], grid)
        total = (torch.diag_embed(kept[..., 0]) + mixed) @ total
    return total[:, 0]


def brute_force_class(stages: list[Stage], grid: Grid) -> Tensor:
    """The same for attention times its gradient, positive part."""
    total = torch.eye(stages[0].tokens.shape[1])
    for stage in stages:
        mixed = 0
        for name, regroup in stage.regroups.items():
            products = [(weights * weights.grad).relu().mean(1).detach() for weights in stage.steps[name].weights]
            mixed = mixed + dense_map(regroup, products, total.shape[-1], grid)
        total = total + mixed @ total
    return total[:, 0]


def check(got: Relevance, rows: Tensor) -> None:
    """Compare with rows `[b or b·t, n]` of the class token."""
    rows = rows.unflatten(0, (len(got.cls), -1)) / (len(rows) // len(got.cls))
    torch.testing.assert_close(got.cls, rows[..., 0].sum(1), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(got.patches, rows[..., 1:].reshape(got.patches.shape), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("residual", ["half", "norm"])
@pytest.mark.parametrize("scheme", SCHEMES)
@torch.no_grad()
def test_rollout_is_the_product_of_dense_matrices(scheme: str, residual: str):
    model, clip = build(scheme), clips()
    got = rollout(model, clip, residual=residual)
    stages, _, grid = forward(model, clip)
    check(got, brute_force(stages, grid, residual=residual))
    torch.testing.assert_close(got.cls + got.patches.sum((1, 2, 3)), torch.ones(2))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_class_rollout_is_the_product_of_dense_matrices(scheme: str):
    model, clip = build(scheme), clips()
    got = class_rollout(model, clip, target=1)
    stages, logits, grid = forward(model, clip)
    logits[:, 1].sum().backward()
    check(got, brute_force_class(stages, grid))


def test_stored_block_inputs_do_not_change_the_rollout(monkeypatch: pytest.MonkeyPatch):
    model, clip = build("divided_space_time"), clips()
    expected = rollout(model, clip)
    monkeypatch.setattr(module, "_NUM_KEPT", 0)
    for budget in (0, 4 * 2 * 31 * 8, 2 * 4 * 2 * 31 * 8):  # none of the three inputs, one, two
        monkeypatch.setattr(module, "_KEPT_BYTES", budget)
        torch.testing.assert_close(rollout(model, clip).patches, expected.patches)


def test_chunks_do_not_change_the_rollout(monkeypatch: pytest.MonkeyPatch):
    model, clip = build("joint_space_time"), clips()
    expected = rollout(model, clip)
    monkeypatch.setattr(transposed, "CHUNK_WEIGHTS", 150)
    torch.testing.assert_close(rollout(model, clip).patches, expected.patches)


@pytest.mark.parametrize(("num_kept", "num_computed"), [(0, 21), (1, 11), (2, 9), (6, 6), (9, 6)])
def test_stored_block_inputs_save_blocks(monkeypatch: pytest.MonkeyPatch, num_kept: int, num_computed: int):
    model = TimeSformer(replace(CONFIG, depth=7)).eval()
    tokens, grid = model.embedding(clips())
    computed = []

    def outputs_of(block: Block, x: Tensor, grid: Grid) -> Tensor:
        computed.append(block)
        return x + 1

    monkeypatch.setattr(module, "outputs_of", outputs_of)
    monkeypatch.setattr(module, "_KEPT_BYTES", 0)
    found = list(module.block_inputs(model, lambda: tokens, grid, num_kept=num_kept))
    assert [block for block, _ in found] == list(model.blocks)[::-1]
    for number, (_, x) in enumerate(reversed(found)):
        torch.testing.assert_close(x, tokens + number)
    assert len(computed) == num_computed


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("num_tokens", [1, 13])
def test_chunks_of_tokens_change_neither_rollout(monkeypatch: pytest.MonkeyPatch, scheme: str, num_tokens: int):
    model, clip = build(scheme), clips()
    expected = [rollout(model, clip, residual="norm"), class_rollout(model, clip, target=1)]
    for place in (chunked, transposed):
        monkeypatch.setattr(place, "CHUNK_TOKENS", num_tokens)
    found = [rollout(model, clip, residual="norm"), class_rollout(model, clip, target=1)]
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(got.patches, wanted.patches, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(got.cls, wanted.cls, atol=1e-6, rtol=1e-4)


def test_class_rollout_of_a_frozen_model_leaves_no_gradients():
    model, clip = build("divided_space_time"), clips(1)
    expected = class_rollout(model, clip, target=2)
    assert all(parameter.grad is None for parameter in model.parameters())
    torch.testing.assert_close(class_rollout(model.requires_grad_(False), clip, target=2).patches, expected.patches)


def test_step_that_starts_from_zero_is_the_identity_by_norm():
    model, clip = build("divided_space_time"), clips()
    with torch.no_grad():
        for block in model.blocks:
            block.steps["time"].fc.weight.zero_()
            block.steps["time"].fc.bias.zero_()
    both, space = rollout(model, clip, residual="norm"), rollout(model, clip, residual="norm", steps=["space"])
    torch.testing.assert_close(both.patches, space.patches)


def test_unknown_steps_and_steps_that_reach_no_patch_are_refused():
    model, clip = build("axial"), clips(1)
    for call in (rollout, lambda *given, **more: class_rollout(*given, target=0, **more)):
        with pytest.raises(ConfigError, match=r"unknown attention step 'widht': .*'height'; did you mean 'width'\?"):
            call(model, clip, steps=["widht"])
        with pytest.raises(ConfigError, match=r"no part in 'time': no patch reaches it; add 'width' or 'height'$"):
            call(model, clip, steps=["time"])
        with pytest.raises(ConfigError, match=r"steps='width' is one name; pass a list of names, such as \['width'\]"):
            call(model, clip, steps="width")
    with_cls = build("axial", cls_in_time=True)
    assert rollout(with_cls, clip, steps=["time"]).patches.sum() > 0


@pytest.mark.parametrize("scheme", SCHEMES)
@torch.no_grad()
def test_last_attention_is_the_row_of_the_last_stage_with_the_class_token(scheme: str):
    model, clip = build(scheme), clips()
    got = last_attention(model, clip)
    stages, _, grid = forward(model, clip)
    stage = [stage for stage in stages if any(regroup.with_cls for regroup in stage.regroups.values())][-1]
    rows = [
        dense_map(regroup, [weights.mean(1) for weights in stage.steps[name].weights], stage.tokens.shape[1], grid)
        for name, regroup in stage.regroups.items()
        if regroup.with_cls
    ]
    check(got, (sum(rows) / len(rows))[:, 0])
    torch.testing.assert_close(got.cls + got.patches.sum((1, 2, 3)), torch.ones(2))
