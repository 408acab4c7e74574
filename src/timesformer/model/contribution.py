"""Contribution of each patch to the logit of a class, with the attention weights held constant.

For one clip, a model is made of linear maps if its attention weights, the standard deviations of its norms and the
gains of its GELUs are held at their values. The logit is then a sum over patches, and a patch's contribution is its
part of that sum: the gradient times what distinguishes the patch from the mean color of the clip. Unlike rollout, the
contribution follows values, projections and MLPs, and has a sign.

Source: Ali et al. 2022, "XAI for Transformers: Better Explanations through Conservative Propagation", for constant
attention weights and norms; here the gain of GELU is constant, too, and the reference is the mean color, not zero.
"""

from collections.abc import Collection
from functools import partial
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from timesformer.model.attention import attend
from timesformer.model.block import Block, Step
from timesformer.model.chunked import cls_gradient, mlp_gradient, stage_gradient, stage_inputs
from timesformer.model.layers import MLP
from timesformer.model.rollout import NUM_KEPT_FOR_CLASS, block_inputs, check_steps
from timesformer.model.schemes import Grid
from timesformer.model.timesformer import TimeSformer, embed


@torch.no_grad()
def contribution(
    model: TimeSformer, clips: Float[Tensor, "b c t height width"], *, target: int, steps: Collection[str] = ()
) -> Float[Tensor, "b t h w"]:
    """Contribution of each patch to the logit of a class above the mean logit.

    Args:
        model: A model in eval mode.
        clips: Normalized clips.
        target: Index of the class.
        steps: Names of the attention steps to follow; through the others, patches contribute to nothing. All of them
            by default.

    Returns:
        Positive for patches that speak for the class, negative for those against it.

    Raises:
        ConfigError: A step is unknown, or no patch can reach the class token through the steps.
    """
    check_steps(steps, model.scheme)
    tokens = partial(embed, embedding=model.embedding, per_frame=model.scheme.per_frame)
    grid, num_frames = tokens(clips)[1:]
    gradients: list[Tensor] = []  # at most one, which `_through` takes away
    for block, x in block_inputs(model, lambda: tokens(clips)[0], grid, num_kept=NUM_KEPT_FOR_CLASS):
        gradients = [_through(model, block, x, grid, gradients, target=target, steps=steps, num_clips=len(clips))]
        del x  # before the next one is computed
    reference, *_ = tokens(clips.mean(dim=(2, 3, 4), keepdim=True).expand_as(clips))
    own, *_ = tokens(clips)
    patches = (gradients[0] * (own - reference)).sum(dim=-1)[:, 1:]
    return rearrange(patches, "(b f) (t h w) -> b (f t) h w", f=num_frames, t=grid.t, h=grid.h)


def _through(
    model: TimeSformer,
    block: Block,
    x: Float[Tensor, "b n d"],
    grid: Grid,
    gradients: list[Float[Tensor, "b n d"]],
    *,
    target: int,
    steps: Collection[str],
    num_clips: int,
) -> Float[Tensor, "b n d"]:
    """Gradient at the tokens that a block reads, from that at its outputs; none is given for the last block."""
    linear, inputs = _linear_block(block), stage_inputs(block, x, grid)

    def logit_above_mean(tokens: Tensor) -> Tensor:
        logits = model.head(model.head_norm(LinearNorm(model.norm)(tokens)))
        return (logits[:, target] - logits.mean(dim=1)).sum()

    if not gradients:
        gradient = cls_gradient(linear, inputs.pop(), logit_above_mean, num_clips=num_clips)
    else:
        gradient = mlp_gradient(linear, inputs.pop(), gradients.pop())
    for stage in reversed(block.scheme.stages):
        followed = {name: regroup for name, regroup in stage.items() if not steps or name in steps}
        gradient = stage_gradient(linear, followed, inputs.pop(), grid, gradient)[0]
    return gradient


def _linear_block(block: Block) -> Block:
    """A block with the same outputs, linear in its tokens: only its gradient differs."""
    linear = {name: LinearStep(cast(Step, step)) for name, step in block.steps.items()}
    return Block(block.scheme, steps=linear, mlp_norm=block.mlp_norm, mlp=LinearMLP(cast(MLP, block.mlp)))


class LinearNorm(nn.Module):
    """A LayerNorm whose standard deviations are constant for the gradient."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        centered = x - x.mean(dim=-1, keepdim=True)
        scale = (centered.detach().square().mean(dim=-1, keepdim=True) + self.norm.eps).rsqrt()
        return centered * scale * self.norm.weight + self.norm.bias


class LinearStep(nn.Module):
    """An attention step whose attention weights are constant for the gradient."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Float[Tensor, "s n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "s n d"]:
        attention = self.step.attention
        q, k, v = attention.qkv(LinearNorm(self.step.norm)(x)).chunk(3, dim=-1)
        y = attend(q.detach(), k.detach(), v, num_heads=attention.num_heads, mask=mask)
        return self.step.fc(attention.proj(y))


class LinearMLP(nn.Module):
    """An MLP whose GELU multiplies by gains that are constant for the gradient."""

    def __init__(self, mlp: MLP) -> None:
        super().__init__()
        self.mlp = mlp

    def add_to(self, x: Float[Tensor, "b n d"], norm: nn.LayerNorm) -> Float[Tensor, "b n d"]:
        hidden = self.mlp.fc1(LinearNorm(norm)(x))
        return x + self.mlp.fc2(hidden * torch.special.ndtr(hidden.detach()))
