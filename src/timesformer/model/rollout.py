"""Attention rollout: how much of each patch reaches the class token that the classifier reads.

With constant attention weights a block maps tokens linearly: every step mixes them by its weights `P`, and the residual
connection keeps a part of each. The product of these maps over all blocks is the rollout; the class token's row is
the explanation. That row is one vector-Jacobian product, from the last block to the first, through the same regroups as
the forward pass. Only chunks of `P` ever exist, never a matrix over all tokens.

Source: Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers" (`half`); Kobayashi et al. 2021,
"Incorporating Residual and Normalization Layers into Analysis of Masked Language Models" (`norm`); Chefer et al. 2021,
"Generic Attention-model Explainability" (gradient times attention); Bertasius et al. 2021, figure 7.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Literal, NamedTuple, cast

import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Bool, Float
from torch import Tensor

from timesformer.model import kernels
from timesformer.model.block import Block, Step
from timesformer.model.embedding import fold_frames
from timesformer.model.schemes import Grid, Stage
from timesformer.model.timesformer import TimeSformer

Residual = Literal["half", "norm"]
"""Weight of a step against the residual connection: one half each, or proportional to their norms per token."""

_CHUNK = 2**22
"""Attention weights that exist at a time: 16 MiB in fp32."""
_KEPT_BYTES = 2**26
"""Budget for stored block inputs; the others are recomputed from the last stored one."""


class Relevance(NamedTuple):
    """Relevance of each patch, and of the class token itself, for each clip."""

    patches: Float[Tensor, "b t h w"]
    cls: Float[Tensor, " b"]


def rollout(
    model: TimeSformer,
    clips: Float[Tensor, "b c t height width"],
    *,
    residual: Residual = "half",
    steps: Collection[str] = (),
) -> Relevance:
    """Attention rollout of clips: the mean over heads, no class in particular.

    Args:
        model: A model in eval mode.
        clips: Normalized clips.
        residual: Weight of each step against its residual connection.
        steps: Names of the attention steps to follow; the others count as identity. All of them by default.

    Returns:
        Not negative; patches and class token of a clip sum to 1.
    """

    def through(block: Block, x: Tensor, grid: Grid, v: Tensor) -> Tensor:
        passes = list(_stages(block, x, grid))
        for stage, tokens, updates in reversed(passes):
            weights = _step_weights(tokens, updates, stage, residual=residual, steps=steps)
            kept = v * (1 - cast(Tensor, sum(weights.values())))
            v = kept + cast(Tensor, sum(_pull_back(block, name, tokens, grid, v * weights[name]) for name in stage))
        return v

    with torch.no_grad():
        return _sweep(model, clips, through)


def class_rollout(
    model: TimeSformer, clips: Float[Tensor, "b c t height width"], *, target: int, steps: Collection[str] = ()
) -> Relevance:
    """Rollout of the positive part of attention times its gradient, for one class.

    Args:
        model: A model in eval mode.
        clips: Normalized clips.
        target: Index of the class.
        steps: As in `rollout`.

    Returns:
        Not negative; does not sum to 1.
    """
    gradient: list[Tensor] = []

    def through(block: Block, x: Tensor, grid: Grid, v: Tensor) -> Tensor:
        if not gradient:
            num_frames = len(x) // len(clips)
            gradient.append(_head_gradient(model, block(x, grid), num_frames=num_frames, target=target))
        outputs = gradient.pop()
        attended, below = _attention_gradients(block, x, grid, outputs)
        gradient.append(below)
        for stage, tokens, _ in reversed(list(_stages(block, x, grid))):
            names = [name for name in stage if not steps or name in steps]
            v = v + cast(Tensor, sum(_pull_back(block, name, tokens, grid, v, attended[name]) for name in names))
        return v

    with torch.no_grad():
        return _sweep(model, clips, through)


_Through = Callable[[Block, Tensor, Grid, Tensor], Tensor]
"""Maps the relevance `[b, n, 1]` of a block's outputs to that of its inputs, given the inputs."""


def _sweep(model: TimeSformer, clips: Float[Tensor, "b c t height width"], through: _Through) -> Relevance:
    """The row of the class token, taken through the blocks from last to first."""
    num_frames = 1
    relevance = None
    for block, x, grid in _block_inputs(model, clips):
        if relevance is None:
            num_frames = len(x) // len(clips)
            relevance = x.new_zeros(*x.shape[:2], 1)
            relevance[:, 0] = 1 / num_frames
        relevance = through(block, x, grid, relevance)
    relevance = cast(Tensor, relevance)
    cls, patches = relevance[..., 0].split([1, relevance.shape[1] - 1], dim=1)
    return Relevance(
        rearrange(patches, "(b f) (t h w) -> b (f t) h w", f=num_frames, t=grid.t, h=grid.h),
        reduce(cls, "(b f) 1 -> b", "sum", f=num_frames),
    )


def _block_inputs(
    model: TimeSformer, clips: Float[Tensor, "b c t height width"]
) -> Iterator[tuple[Block, Float[Tensor, "b n d"], Grid]]:
    """Blocks from last to first with the tokens that each reads."""
    blocks = cast(list[Block], list(model.blocks))

    def embed() -> tuple[Tensor, Grid]:
        x, grid = model.embedding(clips)
        return fold_frames(x, grid) if model.scheme.per_frame else (x, grid)

    x, grid = embed()
    num_kept = min(len(blocks), _KEPT_BYTES // (x.numel() * x.element_size()))
    at = (
        {i * len(blocks) // num_kept for i in range(num_kept)}
        if num_kept == len(blocks)
        else {(i + 1) * len(blocks) // (num_kept + 1) for i in range(num_kept)}
    )
    kept: dict[int, Tensor] = {}
    for index, block in enumerate(blocks[: max(at, default=0) + 1]):
        if index in at:
            kept[index] = x
        x = block(x, grid)
    for index in reversed(range(len(blocks))):
        first = max((i for i in kept if i <= index), default=0)
        x = kept[first] if first in kept else embed()[0]
        for block in blocks[first:index]:
            x = block(x, grid)
        kept.pop(index, None)
        yield blocks[index], x, grid


def _stages(
    block: Block, x: Float[Tensor, "b n d"], grid: Grid
) -> Iterator[tuple[Stage, Float[Tensor, "b n d"], Mapping[str, Float[Tensor, "b n d"]]]]:
    """Stages of a block in order, with the tokens that each reads and what its steps add to them."""
    for stage in block.scheme.stages:
        updates = {name: regroup(x, grid, cast(Step, block.steps[name])) for name, regroup in stage.items()}
        yield stage, x, updates
        x = x + cast(Tensor, sum(updates.values()))


def _step_weights(
    x: Float[Tensor, "b n d"],
    updates: Mapping[str, Float[Tensor, "b n d"]],
    stage: Stage,
    *,
    residual: Residual,
    steps: Collection[str],
) -> dict[str, Float[Tensor, "b n 1"]]:
    """Weight of each step of a stage for each token; the residual connection has the rest."""
    if residual == "half":
        weights = {name: x.new_full((*x.shape[:2], 1), 0.5 / len(stage)) for name in stage}
    else:
        norms = {name: update.norm(dim=-1, keepdim=True) for name, update in updates.items()}
        total = x.norm(dim=-1, keepdim=True) + cast(Tensor, sum(norms.values()))
        weights = {name: norm / total for name, norm in norms.items()}
    for name, regroup in stage.items():
        if steps and name not in steps:
            weights[name].zero_()
        elif not regroup.with_cls:
            weights[name][:, 0] = 0
    return weights


def _pull_back(
    block: Block,
    name: str,
    x: Float[Tensor, "b n d"],
    grid: Grid,
    v: Float[Tensor, "b n 1"],
    gradients: list[Float[Tensor, "_s _m d"]] | None = None,
) -> Float[Tensor, "b n 1"]:
    """Vector-Jacobian product of an attention step, its weights held constant: the transposed regroup.

    A regroup averages the class token over its sequences. Its transpose is the regroup of the transposed weights, with
    the class token divided by their number before and multiplied by it after.
    """
    step, regroup = cast(Step, block.steps[name]), block.scheme.steps[name]
    num_sequences = sum(load.sequences for load in regroup.workload(grid))
    tokens = iter(regroup.sequences(x, grid))
    steps = iter(gradients or [])

    def attend(v: Tensor, mask: Tensor | None = None) -> Tensor:
        return _transposed_attention(step, next(tokens).flatten(0, 1), v, mask, next(steps, None))

    v = torch.cat([v[:, :1] / num_sequences, v[:, 1:]], dim=1)
    v = regroup(v, grid, attend)
    return torch.cat([v[:, :1] * num_sequences, v[:, 1:]], dim=1)


def _transposed_attention(
    step: Step,
    x: Float[Tensor, "s n d"],
    v: Float[Tensor, "s n 1"],
    mask: Bool[Tensor, "n n"] | None,
    gradient: Float[Tensor, "s n d"] | None,
) -> Float[Tensor, "s n 1"]:
    """`v` times the attention weights, mean over heads, in chunks of sequences and of queries."""
    heads, length = step.attention.num_heads, x.shape[1]
    rows = v.abs().sum(dim=(0, 2)).nonzero().flatten()  # queries that matter: one in the last block
    per_row = heads * length
    num_rows = max(1, min(len(rows), _CHUNK // per_row))
    num_sequences = max(1, _CHUNK // (per_row * num_rows))
    result = torch.zeros_like(v)
    for start in range(0, len(x), num_sequences):
        own = slice(start, start + num_sequences)
        q, k, values = (
            rearrange(part, "s n (heads d) -> s heads n d", heads=heads)
            for part in step.attention.qkv(step.norm(x[own])).chunk(3, dim=-1)
        )
        for chunk in rows.split(num_rows):
            scores = q[:, :, chunk] @ k.mT * q.shape[-1] ** -0.5
            if mask is not None:
                scores = scores.masked_fill(~mask[chunk], -torch.inf)
            weights = scores.softmax(dim=-1)
            if gradient is not None:
                outputs = rearrange(gradient[own][:, chunk], "s m (heads d) -> s heads m d", heads=heads)
                weights = (weights * (outputs @ values.mT)).relu()
            result[own, :, 0] += einsum(weights, v[own][:, chunk, 0], "s heads m n, s m -> s n") / heads
    return result


class _Watched:
    """A step that computes plainly and keeps the outputs of its heads."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.outputs: list[Tensor] = []

    def __call__(self, x: Float[Tensor, "s n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "s n d"]:
        attention = self.step.attention
        q, k, v = attention.qkv(self.step.norm(x)).chunk(3, dim=-1)
        y = kernels.attention(q, k, v, num_heads=attention.num_heads, mask=mask)
        self.outputs.append(y)
        return self.step.fc(attention.proj(y))


def _attention_gradients(
    block: Block, x: Float[Tensor, "b n d"], grid: Grid, outputs: Float[Tensor, "b n d"]
) -> tuple[dict[str, list[Tensor]], Float[Tensor, "b n d"]]:
    """Gradients at the outputs of each step's heads and at the block's inputs, given those at its outputs."""
    watched = {name: _Watched(cast(Step, step)) for name, step in block.steps.items()}
    with torch.enable_grad():
        leaf = tokens = x.detach().requires_grad_()
        for stage in block.scheme.stages:
            tokens = tokens + sum(regroup(tokens, grid, watched[name]) for name, regroup in stage.items())
        tokens = block.add_mlp(tokens)
    names = [name for name in watched for _ in watched[name].outputs]
    heads = [y for step in watched.values() for y in step.outputs]
    below, *gradients = torch.autograd.grad(tokens, [leaf, *heads], outputs)
    by_name: dict[str, list[Tensor]] = {name: [] for name in watched}
    for name, gradient in zip(names, gradients, strict=True):
        by_name[name].append(gradient)
    return by_name, below


def _head_gradient(
    model: TimeSformer, outputs: Float[Tensor, "b n d"], *, num_frames: int, target: int
) -> Float[Tensor, "b n d"]:
    """Gradient of a class's logit, summed over clips, at the outputs of the last block."""
    with torch.enable_grad():
        leaf = outputs.detach().requires_grad_()
        features = model.norm(reduce(leaf[:, 0], "(b f) d -> b d", "mean", f=num_frames))
        logit = model.head(model.head_norm(features))[:, target].sum()
    return torch.autograd.grad(logit, leaf)[0]
