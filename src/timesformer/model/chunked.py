"""Blocks computed and differentiated in chunks of tokens, for explanations: eval mode, one clip at a time.

A plain forward pass holds the hidden layer of the MLP, and the queries, keys and values of a step, for all tokens;
here they exist for a chunk at a time. Of a stage, the backward pass keeps its input alone.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from einops import reduce
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from timesformer.model.block import Block
from timesformer.model.schemes import Attend, Grid, Stage

CHUNK_TOKENS = 2**10
"""Tokens in a chunk; whole sequences, at least one."""


def outputs_of(block: Block, x: Float[Tensor, "b n d"], grid: Grid) -> Float[Tensor, "b n d"]:
    """The block, computed in chunks of tokens."""
    for stage in block.scheme.stages:
        x = add(x, updates_of(block, stage, x, grid))
    return _map_tokens(block.add_mlp, x)


def stage_inputs(block: Block, x: Float[Tensor, "b n d"], grid: Grid) -> list[Float[Tensor, "b n d"]]:
    """The tokens that each stage of a block reads, then those that its MLP reads."""
    inputs = [x]
    for stage in block.scheme.stages:
        inputs.append(add(inputs[-1], updates_of(block, stage, inputs[-1], grid)))
    return inputs


def updates_of(block: Block, stage: Stage, x: Float[Tensor, "b n d"], grid: Grid) -> dict[str, Float[Tensor, "b n d"]]:
    """`Block.updates`, computed in chunks of sequences."""

    def in_chunks(name: str) -> Attend:
        return lambda x, mask=None: _map_sequences(partial(block.steps[name], mask=mask), x)

    return {name: regroup(x, grid, in_chunks(name)) for name, regroup in stage.items()}


def add(x: Float[Tensor, "b n d"], updates: Mapping[str, Float[Tensor, "b n d"]]) -> Float[Tensor, "b n d"]:
    """Tokens after a stage: those before it, and what its steps add."""
    return sum(updates.values(), start=x)


class Watched:
    """A step that keeps its inputs; its outputs are zeros with the gradient of the step."""

    def __init__(self, step: nn.Module) -> None:
        self.step = step
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.gradients: list[Tensor] = []
        """Of the logit at the outputs."""

    def __call__(self, x: Float[Tensor, "s n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "s n d"]:
        y = _GradientOnly.apply(x, partial(self.step, mask=mask))
        self.inputs.append(x.detach())
        self.outputs.append(y)
        return y


def stage_gradient(
    block: Block, stage: Stage, x: Float[Tensor, "b n d"], grid: Grid, gradient: Float[Tensor, "b n d"]
) -> tuple[Float[Tensor, "b n d"], dict[str, Watched]]:
    """Gradient at the tokens that a stage reads, from that at its outputs, and its steps with their gradients."""
    watched = {name: Watched(block.steps[name]) for name in stage}
    total = gradient
    for name, regroup in stage.items():
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            update = regroup(leaf, grid, watched[name])
        at_tokens, *watched[name].gradients = torch.autograd.grad(update, [leaf, *watched[name].outputs], gradient)
        watched[name].outputs.clear()
        total = total + at_tokens
    return total, watched


def mlp_gradient(block: Block, x: Float[Tensor, "b n d"], gradient: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
    """Gradient at the tokens before the MLP, from that after it."""
    return _map_tokens(partial(_pullback, block.add_mlp), x, gradient)


def cls_gradient(
    block: Block,
    x: Float[Tensor, "b n d"],
    score: Callable[[Float[Tensor, "c d"]], Float[Tensor, ""]],
    *,
    num_clips: int,
) -> Float[Tensor, "b n d"]:
    """Gradient of a score of the class tokens at the tokens before the MLP of the last block: 0 for patches.

    Args:
        block: The last block.
        x: The tokens.
        score: Computes the score from the class token of each clip, the mean over frames if each is a row of `x`.
        num_clips: Number of clips.
    """
    with torch.enable_grad():
        cls = x[:, :1].detach().requires_grad_()
        tokens = reduce(block.add_mlp(cls), "(c f) 1 d -> c d", "mean", c=num_clips)
        gradient = torch.zeros_like(x)
        gradient[:, :1] = torch.autograd.grad(score(tokens), cls)[0]
    return gradient


class _GradientOnly(Function):
    """Zeros with the gradient of a function of single sequences, which is computed in chunks, in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Float[Tensor, "s n d"], function: Callable[[Tensor], Tensor]) -> Float[Tensor, "s n d"]:
        ctx.save_for_backward(x)
        ctx.function = function
        return x.new_zeros(()).expand_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "s n d"]) -> tuple[Float[Tensor, "s n d"], None]:
        (x,) = ctx.saved_tensors
        return _map_sequences(partial(_pullback, ctx.function), x, gradient), None


def _map_tokens(
    function: Callable[..., Float[Tensor, "1 _n d"]], *tensors: Float[Tensor, "b n d"]
) -> Float[Tensor, "b n d"]:
    """A function of single tokens, computed in chunks."""
    result = torch.empty_like(tensors[0], memory_format=torch.contiguous_format)
    chunks = [tensor.flatten(0, 1)[None].split(CHUNK_TOKENS, dim=1) for tensor in (result, *tensors)]
    for into, *parts in zip(*chunks, strict=True):
        into.copy_(function(*parts))
    return result


def _map_sequences(
    function: Callable[..., Float[Tensor, "_s n d"]], *tensors: Float[Tensor, "s n d"]
) -> Float[Tensor, "s n d"]:
    """A function of single sequences, computed in chunks."""
    result = torch.empty_like(tensors[0], memory_format=torch.contiguous_format)
    count = max(1, CHUNK_TOKENS // result.shape[1])
    for into, *parts in zip(*(tensor.split(count) for tensor in (result, *tensors)), strict=True):
        into.copy_(function(*parts))
    return result


def _pullback(
    function: Callable[[Float[Tensor, "*shape"]], Float[Tensor, "*shape"]],
    x: Float[Tensor, "*shape"],
    gradient: Float[Tensor, "*shape"],
) -> Float[Tensor, "*shape"]:
    """Vector-Jacobian product of a function at `x`."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        return torch.autograd.grad(function(leaf), leaf, gradient)[0]
