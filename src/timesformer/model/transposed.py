"""The transpose of an attention step, its weights held constant, computed in chunks of the weights."""

from typing import cast

import torch
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from timesformer.model.block import Block, Step
from timesformer.model.chunked import CHUNK_TOKENS
from timesformer.model.schemes import Grid

CHUNK_WEIGHTS = 2**22
"""Attention weights that exist at a time: 16 MiB in fp32."""


def pull_back(
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
    num_rows = max(1, min(len(rows), CHUNK_WEIGHTS // per_row))
    num_sequences = max(1, min(CHUNK_WEIGHTS // (per_row * num_rows), CHUNK_TOKENS // length))
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
                at_heads = _before_projection(step, gradient[own][:, chunk])
                outputs = rearrange(at_heads, "s m (heads d) -> s heads m d", heads=heads)
                weights = (weights * (outputs @ values.mT)).relu()
            result[own, :, 0] += einsum(weights, v[own][:, chunk, 0], "s heads m n, s m -> s n") / heads
    return result


def _before_projection(step: Step, gradient: Float[Tensor, "s m d"]) -> Float[Tensor, "s m d"]:
    """Gradient at the outputs of the heads, from that at the output of the step."""
    for module in (step.fc, step.attention.proj):
        gradient = gradient @ module.weight if isinstance(module, nn.Linear) else gradient
    return gradient
