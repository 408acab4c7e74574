"""Contribution against the same model with recorded attention weights, norms and gains, patch by patch."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError
from timesformer.model.block import Step
from timesformer.model.contribution import contribution
from timesformer.model.embedding import fold_frames
from timesformer.model.schemes import SCHEMES
from timesformer.model.timesformer import TimeSformer

CONFIG = ModelConfig(
    num_frames=2, image_size=(8, 12), patch_size=4, embed_dim=8, depth=2, num_heads=2, mlp_ratio=2.0, num_classes=3
)


def build(scheme: str) -> TimeSformer:
    """A small model in float64 all of whose parameters are drawn, so that no step is the identity."""
    torch.manual_seed(0)
    model = TimeSformer(replace(CONFIG, scheme=scheme, head_norm="batch")).eval().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.4)
    return model


class Recorded:
    """A plain forward pass that records its constants in the first run and uses them in all later ones."""

    def __init__(self, model: TimeSformer) -> None:
        self.model, self.constants, self.position = model, [], None

    def keep(self, value: Tensor) -> Tensor:
        if self.position is None:
            self.constants.append(value)
            return value
        self.position += 1
        return self.constants[self.position - 1]

    def norm(self, x: Tensor, norm: nn.LayerNorm) -> Tensor:
        scale = self.keep((x.var(dim=-1, unbiased=False, keepdim=True) + norm.eps).rsqrt())
        return (x - x.mean(dim=-1, keepdim=True)) * scale * norm.weight + norm.bias

    def step(self, step: Step, x: Tensor, mask: Tensor | None) -> Tensor:
        heads = step.attention.num_heads
        parts = step.attention.qkv(self.norm(x, step.norm)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
        scores = q @ k.mT / q.shape[-1] ** 0.5
        scores = scores if mask is None else scores.masked_fill(~mask, float("-inf"))
        y = (self.keep(scores.softmax(dim=-1)) @ v).transpose(1, 2).flatten(2)
        return step.fc(step.attention.proj(y))

    def __call__(self, clip: Tensor) -> Tensor:
        model = self.model
        x, grid = model.embedding(clip)
        x, grid = fold_frames(x, grid) if model.scheme.per_frame else (x, grid)
        for block in model.blocks:
            for stage in block.scheme.stages:
                x = x + sum(
                    regroup(x, grid, lambda tokens, mask=None, own=block.steps[name]: self.step(own, tokens, mask))
                    for name, regroup in stage.items()
                )
            hidden = block.mlp.fc1(self.norm(x, block.mlp_norm))
            x = x + block.mlp.fc2(hidden * self.keep(torch.nn.functional.gelu(hidden) / hidden))
        features = self.norm(x[:, 0].unflatten(0, (len(clip), -1)).mean(1), model.norm)
        self.position = 0
        return model.head(model.head_norm(features))[0]


@pytest.mark.parametrize("scheme", SCHEMES)
@torch.no_grad()
def test_contribution_is_what_a_patch_adds_to_the_recorded_model(scheme: str):
    model, clip = build(scheme), torch.randn(1, 3, 2, 8, 12, dtype=torch.float64)
    recorded = Recorded(model)
    logits = recorded(clip)
    torch.testing.assert_close(logits, model(clip)[0])
    got = contribution(model, clip, target=1)
    for t, row, column in product(range(2), range(2), range(3)):
        without = clip.clone()
        where = (0, slice(None), t, slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4))
        without[where] = clip.mean(dim=(2, 3, 4))[0, :, None, None]
        change = logits - recorded(without)
        torch.testing.assert_close(got[0, t, row, column], change[1] - change.mean())


@torch.no_grad()
def test_clips_of_a_batch_are_independent():
    model, clips = build("divided_space_time"), torch.randn(3, 3, 2, 8, 12, dtype=torch.float64)
    alone = torch.cat([contribution(model, clip[None], target=2) for clip in clips])
    torch.testing.assert_close(contribution(model, clips, target=2), alone)


@torch.no_grad()
def test_a_step_that_is_not_followed_passes_nothing_on():
    model, clip = build("divided_space_time"), torch.randn(1, 3, 2, 8, 12, dtype=torch.float64)
    every, space = contribution(model, clip, target=0), contribution(model, clip, target=0, steps=["space"])
    assert not every.allclose(space)
    for block in model.blocks:
        block.steps["time"].fc.weight.zero_()
    torch.testing.assert_close(
        contribution(model, clip, target=0), contribution(model, clip, target=0, steps=["space"])
    )


def test_unknown_steps_are_refused():
    clip = torch.randn(1, 3, 2, 8, 12, dtype=torch.float64)
    with pytest.raises(ConfigError, match="unknown attention step 'spcae'"):
        contribution(build("divided_space_time"), clip, target=0, steps=["spcae"])
