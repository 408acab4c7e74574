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
from functools import partial
from typing import Literal, NamedTuple, cast

import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Bool, Float
from torch import Tensor, nn

from timesformer.config.checks import check_choice
from timesformer.errors import ConfigError, did_you_mean
from timesformer.model import kernels
from timesformer.model.block import Block, Step
from timesformer.model.schemes import Grid, Scheme, Stage
from timesformer.model.timesformer import TimeSformer, embed

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

    Raises:
        ConfigError: `residual` or a step is unknown, or no patch can reach the class token through the steps.
    """
    check_choice("residual", residual, Residual)
    check_steps(steps, model.scheme)

    def through(block: Block, x: Tensor, grid: Grid, v: Tensor) -> Tensor:
        passes = [
            (stage, tokens, _step_weights(tokens, updates, stage, residual=residual, steps=steps))
            for stage, tokens, updates in _stages(block, x, grid)
        ]
        for stage, tokens, weights in reversed(passes):
            kept = v * (1 - cast(Tensor, sum(weights.values())))
            pulled = [
                _pull_back(
                    block, name, v * weights[name], grid, [s.flatten(0, 1) for s in regroup.sequences(tokens, grid)]
                )
                for name, regroup in stage.items()
            ]
            v = kept + cast(Tensor, sum(pulled))
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

    Raises:
        ConfigError: A step is unknown, or no patch can reach the class token through the steps.
    """
    check_steps(steps, model.scheme)
    gradient: Tensor | None = None  # of the logit at the outputs of the block; None for the last block

    def through(block: Block, x: Tensor, grid: Grid, v: Tensor) -> Tensor:
        nonlocal gradient
        watched = {name: _Watched(cast(Step, step)) for name, step in block.steps.items()}
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            plain = Block(block.scheme, steps=watched, mlp_norm=block.mlp_norm, mlp=block.mlp)
            outputs = plain(leaf, grid)
            if gradient is None:
                outputs = logits_of(model, outputs, num_frames=len(x) // len(clips))[:, target].sum()
        heads = [head for step in watched.values() for head in step.outputs]
        gradient, *at_heads = torch.autograd.grad(outputs, [leaf, *heads], gradient)
        remaining = iter(at_heads)
        gradients = {name: [next(remaining) for _ in step.outputs] for name, step in watched.items()}
        for stage in reversed(block.scheme.stages):
            pulled = [
                _pull_back(block, name, v, grid, watched[name].inputs, gradients[name])
                for name in stage
                if not steps or name in steps
            ]
            v = v + cast(Tensor, sum(pulled))
        return v

    with torch.no_grad():
        return _sweep(model, clips, through)


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
    block, x = next(block_inputs(cast(list[Block], list(model.blocks)), lambda: tokens, grid))
    last = model.scheme.stages_to_cls[-1]
    x = next(tokens for stage, tokens, _ in _stages(block, x, grid) if stage is last)
    steps = {name: regroup for name, regroup in last.items() if regroup.with_cls}
    row = _first_row(x, num_frames=num_frames) / len(steps)
    pulled = [
        _pull_back(block, name, row, grid, [s.flatten(0, 1) for s in regroup.sequences(x, grid)])
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


def _sweep(model: TimeSformer, clips: Float[Tensor, "b c t height width"], through: _Through) -> Relevance:
    """The row of the class token, taken through the blocks from last to first."""
    tokens = partial(embed, clips, embedding=model.embedding, per_frame=model.scheme.per_frame)
    x, grid, num_frames = tokens()
    row = _first_row(x, num_frames=num_frames)
    for block, x in block_inputs(cast(list[Block], list(model.blocks)), lambda: tokens()[0], grid):
        row = through(block, x, grid, row)
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
    blocks: list[Block], first: Callable[[], Float[Tensor, "b n d"]], grid: Grid
) -> Iterator[tuple[Block, Float[Tensor, "b n d"]]]:
    """Blocks from last to first with the tokens that each reads; `first` computes those of the first block."""
    x = first()
    num_kept = min(len(blocks) - 1, _KEPT_BYTES // (x.numel() * x.element_size()))
    kept: dict[int, Tensor] = {}
    done = 0
    for index in ((i + 1) * len(blocks) // (num_kept + 1) for i in range(num_kept)):
        for block in blocks[done:index]:
            x = block(x, grid)
        kept[index], done = x, index
    for index in reversed(range(len(blocks))):
        start = max((i for i in kept if i <= index), default=0)
        x = kept[start] if start else first()
        for block in blocks[start:index]:
            x = block(x, grid)
        kept.pop(index, None)
        yield blocks[index], x


def _stages(
    block: Block, x: Float[Tensor, "b n d"], grid: Grid
) -> Iterator[tuple[Stage, Float[Tensor, "b n d"], Mapping[str, Float[Tensor, "b n d"]]]]:
    """Stages of a block in order, with the tokens that each reads and what its steps add to them."""
    for stage in block.scheme.stages:
        updates = block.updates(stage, x, grid)
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
    v: Float[Tensor, "b n 1"],
    grid: Grid,
    sequences: list[Float[Tensor, "_s _m d"]],
    gradients: list[Float[Tensor, "_s _m d"]] | None = None,
) -> Float[Tensor, "b n 1"]:
    """Vector-Jacobian product of an attention step, its weights held constant: the transposed regroup.

    A regroup averages the class token over its sequences. Its transpose is the regroup of the transposed weights, with
    the class token divided by their number before and multiplied by it after.
    """
    step = cast(Step, block.steps[name])
    per_row = sum(map(len, sequences)) // len(v)
    each = zip(sequences, gradients or [None] * len(sequences), strict=True)

    def attend(v: Tensor, mask: Tensor | None = None) -> Tensor:
        tokens, gradient = next(each)
        return _transposed_attention(step, tokens, v, mask, gradient)

    v = torch.cat([v[:, :1] / per_row, v[:, 1:]], dim=1)
    v = block.scheme.steps[name](v, grid, attend)
    return torch.cat([v[:, :1] * per_row, v[:, 1:]], dim=1)


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


class _Watched(nn.Module):
    """A step that computes plainly and keeps its inputs and the outputs of its heads."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.step = step
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []

    def forward(self, x: Float[Tensor, "s n d"], mask: Bool[Tensor, "n n"] | None = None) -> Float[Tensor, "s n d"]:
        attention = self.step.attention
        q, k, v = attention.qkv(self.step.norm(x)).chunk(3, dim=-1)
        y = kernels.attention(q, k, v, num_heads=attention.num_heads, mask=mask)
        self.inputs.append(x)
        self.outputs.append(y)
        return self.step.fc(attention.proj(y))


def logits_of(
    model: TimeSformer, outputs: Float[Tensor, "b n d"], *, num_frames: int, norm: nn.Module | None = None
) -> Float[Tensor, "c k"]:
    """Logits of clips from the outputs of the last block; `norm` replaces the last norm."""
    features = (norm or model.norm)(reduce(outputs[:, 0], "(c f) d -> c d", "mean", f=num_frames))
    return model.head(model.head_norm(features))
