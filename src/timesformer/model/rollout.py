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
from functools import cache, partial
from typing import Literal, NamedTuple, cast

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor

from timesformer.config.checks import check_choice
from timesformer.errors import ConfigError, did_you_mean
from timesformer.model.block import Block
from timesformer.model.chunked import (
    add,
    cls_gradient,
    mlp_gradient,
    outputs_of,
    stage_gradient,
    stage_inputs,
    updates_of,
)
from timesformer.model.schemes import Grid, Scheme, Stage
from timesformer.model.timesformer import TimeSformer, embed
from timesformer.model.transposed import pull_back

Residual = Literal["half", "norm"]
"""Weight of a step against the residual connection: one half each, or proportional to their norms per token."""

_NUM_KEPT, NUM_KEPT_FOR_CLASS = 4, 1
"""Block inputs that are stored at a time; the others are recomputed from the last stored one. They take the room of the
MLP's hidden layer, which a plain forward pass holds for all tokens, before and after its GELU."""
_KEPT_BYTES = 2**26
"""Bytes of block inputs that are stored if more of them fit."""


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

    Raises:
        ConfigError: `residual` or a step is unknown, or no patch can reach the class token through the steps.
    """
    check_choice("residual", residual, Residual)
    check_steps(steps, model.scheme)

    def through(block: Block, x: Tensor, grid: Grid, v: Tensor) -> Tensor:
        passes = []
        for stage in (stages := block.scheme.stages):
            is_used = residual == "norm" or stage is not stages[-1]
            updates = updates_of(block, stage, x, grid) if is_used else {}
            passes.append((stage, x, _step_weights(x, updates, stage, residual=residual, steps=steps)))
            x = add(x, updates)
        for stage, tokens, weights in reversed(passes):
            kept = v * (1 - cast(Tensor, sum(weights.values())))
            pulled = [
                pull_back(
                    block, name, v * weights[name], grid, [s.flatten(0, 1) for s in regroup.sequences(tokens, grid)]
                )
                for name, regroup in stage.items()
            ]
            v = kept + cast(Tensor, sum(pulled))
        return v

    with torch.no_grad():
        return _sweep(model, clips, through, num_kept=_NUM_KEPT)


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

    Raises:
        ConfigError: A step is unknown, or no patch can reach the class token through the steps.
    """
    check_steps(steps, model.scheme)
    gradient: Tensor | None = None  # of the logit at the outputs of the block; None for the last block

    def logit(tokens: Tensor) -> Tensor:
        return model.head(model.head_norm(model.norm(tokens)))[:, target].sum()

    def through(block: Block, x: Tensor, grid: Grid, v: Tensor) -> Tensor:
        nonlocal gradient
        inputs = stage_inputs(block, x, grid)
        if gradient is None:
            gradient = cls_gradient(block, inputs.pop(), logit, num_clips=len(clips))
        else:
            gradient = mlp_gradient(block, inputs.pop(), gradient)
        for stage in reversed(block.scheme.stages):
            gradient, watched = stage_gradient(block, stage, inputs.pop(), grid, gradient)
            pulled = [
                pull_back(block, name, v, grid, watched[name].inputs, watched[name].gradients)
                for name in stage
                if not steps or name in steps
            ]
            v = v + cast(Tensor, sum(pulled))
            del watched  # before those of the next stage
        return v

    with torch.no_grad():
        return _sweep(model, clips, through, num_kept=NUM_KEPT_FOR_CLASS)


@torch.no_grad()
def last_attention(model: TimeSformer, clips: Float[Tensor, "b c t height width"]) -> Relevance:
    """Attention of the class token in the last stage that it takes part in, mean over heads: no rollout.

    It ignores all layers before; a baseline for methods that do not.

    Args:
        model: A model in eval mode.
        clips: Normalized clips.

    Returns:
        Not negative; patches and class token of a clip sum to 1.
    """
    tokens, grid, num_frames = embed(clips, embedding=model.embedding, per_frame=model.scheme.per_frame)
    block, x = next(block_inputs(model, lambda: tokens, grid, num_kept=1))
    *before, last = model.scheme.stages_to_cls
    for stage in before:
        x = add(x, updates_of(block, stage, x, grid))
    steps = {name: regroup for name, regroup in last.items() if regroup.with_cls}
    row = _first_row(x, num_frames=num_frames) / len(steps)
    pulled = [
        pull_back(block, name, row, grid, [s.flatten(0, 1) for s in regroup.sequences(x, grid)])
        for name, regroup in steps.items()
    ]
    return _relevance(cast(Tensor, sum(pulled)), grid, num_frames=num_frames)


def check_steps(steps: Collection[str], scheme: Scheme) -> None:
    """Refuse steps that a rollout cannot follow.

    Args:
        steps: Names of steps; all of the scheme's if empty.
        scheme: The scheme of the model.

    Raises:
        ConfigError: A step is unknown, or none of them has the class token, so that no patch would reach it.
    """
    known = scheme.steps
    if isinstance(steps, str):
        raise ConfigError(f"steps={steps!r} is one name; pass a list of names, such as [{steps!r}]")
    for name in steps:
        if name not in known:
            allowed = ", ".join(map(repr, known))
            raise ConfigError(f"unknown attention step {name!r}: allowed are {allowed}{did_you_mean(str(name), known)}")
    reaching = [name for name, regroup in known.items() if regroup.with_cls]
    if not set(steps or known) & set(reaching):
        hint = f"; add {' or '.join(map(repr, reaching))}" if reaching else ""
        raise ConfigError(
            f"the class token takes no part in {' and '.join(map(repr, steps or known))}: no patch reaches it{hint}"
        )


_Through = Callable[[Block, Tensor, Grid, Tensor], Tensor]
"""Maps the relevance `[b, n, 1]` of a block's outputs to that of its inputs, given the inputs."""


def _sweep(
    model: TimeSformer, clips: Float[Tensor, "b c t height width"], through: _Through, *, num_kept: int
) -> Relevance:
    """The row of the class token, taken through the blocks from last to first."""
    tokens = partial(embed, clips, embedding=model.embedding, per_frame=model.scheme.per_frame)
    x, grid, num_frames = tokens()
    row = _first_row(x, num_frames=num_frames)
    del x
    for block, x in block_inputs(model, lambda: tokens()[0], grid, num_kept=num_kept):
        row = through(block, x, grid, row)
        del x  # before the next one is computed
    return _relevance(row, grid, num_frames=num_frames)


def _first_row(x: Float[Tensor, "b n d"], *, num_frames: int) -> Float[Tensor, "b n 1"]:
    """The row of the class token of the identity; the mean over frames if each is a clip of its own."""
    row = x.new_zeros(*x.shape[:2], 1)
    row[:, 0] = 1 / num_frames
    return row


def _relevance(row: Float[Tensor, "b n 1"], grid: Grid, *, num_frames: int) -> Relevance:
    """Relevance of the patches and of the class token of each clip."""
    cls, patches = row[..., 0].split([1, row.shape[1] - 1], dim=1)
    return Relevance(
        rearrange(patches, "(b f) (t h w) -> b (f t) h w", f=num_frames, t=grid.t, h=grid.h),
        reduce(cls, "(b f) 1 -> b", "sum", f=num_frames),
    )


def block_inputs(
    model: TimeSformer, first: Callable[[], Float[Tensor, "b n d"]], grid: Grid, *, num_kept: int
) -> Iterator[tuple[Block, Float[Tensor, "b n d"]]]:
    """Blocks from last to first with the tokens that each reads; `first` computes those of the first block.

    At most `num_kept` inputs are stored at a time, or as many as fit into `_KEPT_BYTES`.
    """
    x = first()
    num_kept = max(num_kept, _KEPT_BYTES // (x.numel() * x.element_size()))
    del x
    return _backwards(cast(list[Block], list(model.blocks)), first, grid, num_kept=num_kept)


def _backwards(
    blocks: list[Block], first: Callable[[], Float[Tensor, "b n d"]], grid: Grid, *, num_kept: int
) -> Iterator[tuple[Block, Float[Tensor, "b n d"]]]:
    """`block_inputs` of some blocks: one input is stored, where least is computed again, and serves those after it."""
    split = _split(len(blocks), min(num_kept, len(blocks) - 1))[1]
    if split:
        x = first()
        for block in blocks[:split]:
            x = outputs_of(block, x, grid)
        stored = [x]
        del x
        yield from _backwards(blocks[split:], lambda: stored[0], grid, num_kept=num_kept - 1)
        stored.clear()
        yield from _backwards(blocks[:split], first, grid, num_kept=num_kept)
        return
    for index in reversed(range(len(blocks))):
        x = first()
        for block in blocks[:index]:
            x = outputs_of(block, x, grid)
        yield blocks[index], x
        del x


@cache
def _split(num_blocks: int, num_kept: int) -> tuple[int, int]:
    """Fewest blocks to compute for the inputs of all, and the block whose input to store first; 0 stores none.

    Source: Griewank and Walther 2000, "Algorithm 799: Revolve".
    """
    choices = [(num_blocks * (num_blocks - 1) // 2, 0)]
    for split in range(1, num_blocks if num_kept else 1):
        after, before = num_blocks - split, split
        computed = _split(after, min(num_kept - 1, after - 1))[0] + _split(before, min(num_kept, before - 1))[0]
        choices.append((split + computed, split))
    return min(choices)


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
