"""Multi-head attention of sequences, before the output projection: of all their tokens, or of the first alone.

| processor | dtype | kernel | reason |
|---|---|---|---|
| x86 with AVX-512 BF16 | bf16 | products up to 2048 tokens | half the time of the fused one at 8 to 785 tokens |
| x86 with AMX | bf16 | products up to 32 tokens | the fused one is slow to start: 8.3 against 2.6 ms at 8 tokens |
| others | all | fused | a pass in fp32 takes 1 to 14 % longer with products on AVX-512, and several times on AVX2 |

Products are two batched matrix products and a softmax, in chunks of scores; fused is torch's kernel, to which short
sequences are sent packed in training. `benchmarks/kernel_choice.py` measures both on a machine.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from timesformer import device
from timesformer.device import Processor
from timesformer.model.matmul import is_transformed

_CHUNK_SCORES = 2**22
"""Scores that exist at a time in attention by products: 8 MiB in bf16."""
_PACKED_LENGTH = 32
"""Shorter sequences are packed up to this length on a CPU: its attention kernel is half as fast at length 8."""


def attend(
    q: Float[Tensor, "b m d"],
    k: Float[Tensor, "b n d"],
    v: Float[Tensor, "b n d"],
    *,
    num_heads: int,
    mask: Bool[Tensor, "m n"] | None = None,
    dropout_p: float = 0.0,
) -> Float[Tensor, "b m d"]:
    """Multi-head attention of every sequence, before the output projection."""
    if mask is None and not dropout_p and q.shape == k.shape and _favors_products(q, k, learns=True):
        return _ByProducts.apply(q, k, v, num_heads)
    packed = _num_packed(q, k) if mask is None and not dropout_p else 1
    if packed > 1:  # several sequences as one, with a mask that keeps them apart
        length = q.shape[1]
        mask = torch.eye(packed, dtype=torch.bool).repeat_interleave(length, 0).repeat_interleave(length, 1)
    pattern = "(b g) n (heads d) -> b heads (g n) d"
    q, k, v = (rearrange(x, pattern, g=packed, heads=num_heads) for x in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout_p)
    return rearrange(y, "b heads (g n) d -> (b g) n (heads d)", g=packed)


class _ByProducts(Function):
    """`attend` by batched products and a softmax; keeps queries, keys and values alone for the backward pass."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, num_heads: int):
        scale = (q.shape[-1] // num_heads) ** -0.5
        q, k, v = (_by_head(x, num_heads) for x in (q, k, v))
        ctx.save_for_backward(q, k, v)
        ctx.num_heads, ctx.scale = num_heads, scale
        return _joined(_by_products(q, k, v, scale=scale), num_heads)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor):
        gradients = [
            _gradients(*chunk, scale=ctx.scale) for chunk in _chunks(*ctx.saved_tensors, _by_head(dy, ctx.num_heads))
        ]
        return (*(_joined(_concatenated(parts), ctx.num_heads) for parts in zip(*gradients, strict=True)), None)


def _gradients(
    q: Float[Tensor, "s m c"], k: Float[Tensor, "s n c"], v: Float[Tensor, "s n c"], dy: Float[Tensor, "s m c"],
    *, scale: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of queries, keys and values; the attention weights are computed again."""
    weights = _weights(q, k, scale=scale)
    dscores = torch._softmax_backward_data(torch.bmm(dy, v.mT), weights, -1, weights.dtype)
    dk = _product(dscores.mT, q, scale=scale)
    return _product(dscores, k, scale=scale), dk, torch.bmm(weights.mT, dy)


def _by_products(
    q: Float[Tensor, "s m c"], k: Float[Tensor, "s n c"], v: Float[Tensor, "s n c"], *, scale: float
) -> Float[Tensor, "s m c"]:
    return _concatenated([torch.bmm(_weights(q, k, scale=scale), v) for q, k, v in _chunks(q, k, v)])


def _chunks(q: Float[Tensor, "s m c"], k: Float[Tensor, "s n c"], *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Chunks of sequences."""
    size = max(_CHUNK_SCORES // max(q.shape[1] * k.shape[1], 1), 1)
    return zip(*(x.split(size) for x in (q, k, *others)), strict=True)


def _concatenated(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def _by_head(x: Float[Tensor, "b n d"], num_heads: int) -> Float[Tensor, "s n c"]:
    return rearrange(x, "b n (heads c) -> (b heads) n c", heads=num_heads)


def _joined(x: Float[Tensor, "s n c"], num_heads: int) -> Float[Tensor, "b n d"]:
    return rearrange(x, "(b heads) n c -> b n (heads c)", heads=num_heads)


def _weights(q: Float[Tensor, "s m c"], k: Float[Tensor, "s n c"], *, scale: float) -> Float[Tensor, "s m n"]:
    scores = _product(q, k.mT, scale=scale)
    return torch.softmax(scores, dim=-1, out=scores)


def _product(a: Float[Tensor, "s m k"], b: Float[Tensor, "s k n"], *, scale: float) -> Float[Tensor, "s m n"]:
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)


def _num_packed(q: Float[Tensor, "b n d"], k: Float[Tensor, "b n d"]) -> int:
    if q.device.type != "cpu" or q.shape != k.shape or torch.compiler.is_compiling():
        return 1
    batch, length, _ = q.shape
    return max(count for count in range(1, max(_PACKED_LENGTH // length, 1) + 1) if batch % count == 0)


def attend_heads(
    q: Float[Tensor, "b heads m c"],
    k: Float[Tensor, "b heads n c"],
    v: Float[Tensor, "b heads n c"],
    *,
    mask: Bool[Tensor, "m n"] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "b heads m c"]:
    """Attention of each head, without a gradient; queries, keys and values may be views of one tensor."""
    if mask is None and _favors_products(q, k):
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        return _by_products(*(x.reshape(-1, *x.shape[2:]) for x in (q, k, v)), scale=scale).view_as(q)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def _favors_products(q: Tensor, k: Tensor, *, learns: bool = False) -> bool:
    """Whether batched products and a softmax are faster than the fused kernel."""
    if q.device.type != "cpu" or type(q) is not Tensor or torch.is_grad_enabled() != learns or is_transformed():
        return False
    return k.shape[-2] <= _longest_for_products(q.dtype, device.processor())


def _longest_for_products(dtype: torch.dtype, found: Processor) -> int:
    if dtype == torch.bfloat16 and found.amx_bf16:
        return _PACKED_LENGTH
    if dtype == torch.bfloat16 and found.avx512_bf16:
        return 2048
    return 0


def attend_from_first(
    x: Float[Tensor, "b n d"],
    qkv: nn.Linear,
    *,
    num_heads: int,
    mask: Bool[Tensor, "n n"] | None = None,
    dropout_p: float = 0.0,
) -> Float[Tensor, "b 1 d"]:
    """`attend` of the first token of each sequence, with queries, keys and values `qkv(x)`."""
    to_query, to_key, to_value = (weight.unflatten(0, (num_heads, -1)) for weight in qkv.weight.chunk(3))
    query = einsum(x[:, 0], to_query, "b d, heads c d -> b heads c")
    if qkv.bias is not None:
        query_bias, _, value_bias = qkv.bias.unflatten(0, (3, num_heads, -1))
        query = query + query_bias
    weights = first_attention(query, to_key, x, None if mask is None else mask[0])
    weights = F.dropout(weights, dropout_p)
    y = einsum(weights @ x, to_value, "b heads d, heads c d -> b heads c")
    if qkv.bias is not None:
        y = y + weights.sum(dim=-1, keepdim=True) * value_bias
    return rearrange(y, "b heads c -> b 1 (heads c)")


def first_attention(
    query: Float[Tensor, "b heads c"],
    to_key: Float[Tensor, "heads c d"],
    x: Float[Tensor, "b n d"],
    mask: Bool[Tensor, " n"] | None = None,
    *,
    scale: float | None = None,
) -> Float[Tensor, "b heads n"]:
    """Attention weights of one query per sequence, without materializing the keys `to_key x`.

    `q · (K x) = (Kᵀ q) · x`. A bias of the keys would shift all scores alike, which softmax undoes.
    """
    projected = einsum(query, to_key, "b heads c, heads c d -> b heads d")
    scores = projected @ x.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1)
