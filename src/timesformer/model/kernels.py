"""Functions on tensors that replace plain layers to save time and memory; results agree up to rounding.

| function | plain twin | saves |
|---|---|---|
| `norm_linear`, `norm_qkv` | `linear(norm(x))` | the normalized input: only the input is kept for the backward pass |
| `norm_mlp` | `fc2(gelu(fc1(norm(x))))` | the same, and the hidden layer after its GELU |
| `merged_linear` | `second(first(x))` | one of two products over the tokens, and the tensor in between |

Of plain layers autograd keeps both sides of every norm and of the GELU. `norm_linear` and `norm_mlp` recompute what is
cheap, in chunks of tokens that fit a processor's cache.

`can_fuse` says when they may replace modules: in training mode, if all modules learn and none was replaced or
has hooks. They have no second derivatives; plain layers, as in eval mode, do.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from timesformer.model.matmul import add_product, equal_chunks, is_transformed, linear_into, product

_KINDS = (nn.Linear, nn.LayerNorm, nn.Identity, nn.GELU, nn.Dropout)
_CACHED_VALUES = 1024 * 768
"""Values per chunk of tokens on a CPU: 1024 tokens of the base model, whose hidden layer is 12 MB."""


def can_fuse(*modules: nn.Module, replacing: tuple[nn.Module, ...]) -> bool:
    """Whether kernels may compute `modules` now, without calling the modules in `replacing`.

    Not in eval mode, without gradients, under a compiler or a function transform, if one is frozen or of an unknown
    type, or if any has hooks, which would not be called.
    """
    if not torch.is_grad_enabled() or is_transformed():
        return False
    return (
        all(type(module) in _KINDS and module.training for module in replacing)
        and all(parameter.requires_grad for module in replacing for parameter in module.parameters())
        and not any(map(has_hooks, modules))
    )


def has_hooks(module: nn.Module) -> bool:
    """Whether a module, or one inside it, has hooks, which would not run if its computation is replaced."""
    return any(
        m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks for m in module.modules()
    )


def norm_linear(
    x: Float[Tensor, "b n d"], norm: nn.LayerNorm, linear: nn.Linear, *, parts: int = 1
) -> tuple[Float[Tensor, "b n e"], ...]:
    """`linear(norm(x)).chunk(parts, -1)`; keeps `x` for the backward pass.

    Each chunk is contiguous, and so may its gradient be: queries, keys and values need no concatenation.
    """
    return _NormLinear.apply(x, norm.weight, norm.bias, norm.eps, linear.weight, linear.bias, parts, None)


def norm_qkv(
    x: Float[Tensor, "b n d"], norm: nn.LayerNorm, qkv: nn.Linear
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n d"], Float[Tensor, "b n d"]]:
    """Queries, keys and values for `timesformer.model.attention.attend`: `norm_linear` in three parts.

    The bias of the keys gets the gradient 0, which is exact: it shifts all scores of a query alike, and softmax undoes
    that. A sum over the tokens would leave rounding errors, which AdamW divides by their own size: a random walk.
    """
    return _NormLinear.apply(x, norm.weight, norm.bias, norm.eps, qkv.weight, qkv.bias, 3, 1)


def norm_mlp(x: Float[Tensor, "b n d"], norm: nn.LayerNorm, fc1: nn.Linear, fc2: nn.Linear) -> Float[Tensor, "b n d"]:
    """`fc2(gelu(fc1(norm(x))))`; keeps `x` and the hidden layer before the GELU for the backward pass."""
    return _NormMLP.apply(x, norm.weight, norm.bias, norm.eps, fc1.weight, fc1.bias, fc2.weight, fc2.bias)


def linear(x: Float[Tensor, "b n d"], layer: nn.Linear) -> Float[Tensor, "b n e"]:
    """`layer(x)`."""
    return _Linear.apply(x, layer.weight, layer.bias)


def merged_linear(
    x: Float[Tensor, "b n d"], first: nn.Linear, second: nn.Linear, *, has_bias: bool = True
) -> Float[Tensor, "b n e"]:
    """`second(first(x))`, with or without the bias of `second`, by the product of both weights."""
    weight = _Linear.apply(second.weight, first.weight.mT, None)
    bias = second.weight @ first.bias
    return _Linear.apply(x, weight, bias + second.bias if has_bias else bias)


class _Linear(Function):
    """See `linear`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None):
        dtype = _computing_dtype(x)
        x, used = x.to(dtype), weight.to(dtype)
        ctx.save_for_backward(x, used)
        ctx.bias_dtype = None if bias is None else bias.dtype
        y = x.new_empty(*x.shape[:-1], len(used))
        linear_into(y.flatten(0, -2), x.flatten(0, -2), used, None if bias is None else bias.to(dtype))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor):
        x, weight = ctx.saved_tensors
        rows = dy.flatten(0, -2)
        dx = product(rows, weight).view_as(x)
        dweight = product(rows.t(), x.flatten(0, -2))
        dbias = None if ctx.bias_dtype is None else rows.sum(0, dtype=ctx.bias_dtype)
        return dx, dweight, dbias


class _NormLinear(Function):
    """See `norm_linear`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        eps: float,
        weight: Tensor,
        bias: Tensor | None,
        parts: int,
        unused_bias: int | None,
    ):
        ctx.save_for_backward(x, scale, shift, weight)
        ctx.eps, ctx.has_bias, ctx.unused_bias = eps, bias is not None, unused_bias
        dtype = _computing_dtype(x)
        tokens = x.flatten(0, -2)
        weights = weight.to(dtype).chunk(parts)
        biases = [None] * parts if bias is None else bias.to(dtype).chunk(parts)
        ys = [tokens.new_empty(len(tokens), len(part), dtype=dtype) for part in weights]
        for rows in _chunks(tokens):
            normed = _normalized(tokens[rows], scale, shift, eps)[0].to(dtype)
            for y, part, shifted in zip(ys, weights, biases, strict=True):
                linear_into(y[rows], normed, part, shifted)
        return tuple(y.unflatten(0, x.shape[:-1]) for y in ys)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *dys: Tensor):
        x, scale, shift, weight = ctx.saved_tensors
        tokens, dys = x.flatten(0, -2), tuple(dy.flatten(0, -2) for dy in dys)
        used = weight.to(dys[0].dtype)
        weights = used.chunk(len(dys))
        dx, dscale, dshift = torch.empty_like(tokens), torch.zeros_like(scale), torch.zeros_like(shift)
        dweight = torch.empty_like(used)
        for rows in _chunks(tokens):
            normed, mean, rstd = _normalized(tokens[rows], scale, shift, ctx.eps)
            dnormed = torch.empty_like(tokens[rows], dtype=used.dtype)
            for number, (dy, part, dpart) in enumerate(zip(dys, weights, dweight.chunk(len(dys)), strict=True)):
                add_product(dpart, dy[rows].t(), normed.to(dy.dtype), beta=_beta(rows.start))
                add_product(dnormed, dy[rows], part, beta=_beta(number))
            d = _norm_backward(dnormed.to(x.dtype), tokens[rows], mean, rstd, scale, shift)
            dx[rows], dscale, dshift = d[0], dscale + d[1], dshift + d[2]
        dbias = _bias_gradient(dys, weight, unused=ctx.unused_bias) if ctx.has_bias else None
        return dx.view_as(x), dscale, dshift, None, dweight.to(weight.dtype), dbias, None, None


class _NormMLP(Function):
    """See `norm_mlp`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        eps: float,
        weight1: Tensor,
        bias1: Tensor,
        weight2: Tensor,
        bias2: Tensor,
    ):
        dtype = _computing_dtype(x)
        w1, b1, w2, b2 = (tensor.to(dtype) for tensor in (weight1, bias1, weight2, bias2))
        tokens = x.flatten(0, -2)
        hidden, y = (tokens.new_empty(len(tokens), size, dtype=dtype) for size in (len(w1), len(w2)))
        for rows in _chunks(tokens):
            normed, _, _ = _normalized(tokens[rows], scale, shift, eps)
            linear_into(hidden[rows], normed.to(dtype), w1, b1)
            linear_into(y[rows], F.gelu(hidden[rows]), w2, b2)
        ctx.save_for_backward(x, scale, shift, weight1, weight2, hidden)
        ctx.eps = eps
        return y.view(x.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor):
        x, scale, shift, weight1, weight2, hidden = ctx.saved_tensors
        tokens, dy = x.flatten(0, -2), dy.flatten(0, -2)
        w1, w2 = weight1.to(dy.dtype), weight2.to(dy.dtype)
        dx, dscale, dshift = torch.empty_like(tokens), torch.zeros_like(scale), torch.zeros_like(shift)
        dw1, db1, dw2 = torch.empty_like(w1), scale.new_zeros(len(w1)), torch.empty_like(w2)
        for rows in _chunks(tokens):
            normed, mean, rstd = _normalized(tokens[rows], scale, shift, ctx.eps)
            add_product(dw2, dy[rows].t(), F.gelu(hidden[rows]), beta=_beta(rows.start))
            dhidden = torch.ops.aten.gelu_backward(product(dy[rows], w2), hidden[rows])
            add_product(dw1, dhidden.t(), normed.to(dy.dtype), beta=_beta(rows.start))
            db1 += dhidden.sum(0, dtype=db1.dtype)
            d = _norm_backward(product(dhidden, w1).to(x.dtype), tokens[rows], mean, rstd, scale, shift)
            dx[rows], dscale, dshift = d[0], dscale + d[1], dshift + d[2]
        db2 = dy.sum(0, dtype=weight2.dtype)
        return (
            dx.view_as(x),
            dscale,
            dshift,
            None,
            dw1.to(weight1.dtype),
            db1.to(weight1.dtype),
            dw2.to(weight2.dtype),
            db2,
        )


def _bias_gradient(dys: Sequence[Tensor], weight: Tensor, *, unused: int | None) -> Tensor:
    """Sums over the rows of each part; 0 for the part `unused`, whose bias does not affect the loss."""
    sums = [
        weight.new_zeros(dy.shape[1]) if part == unused else dy.sum(0, dtype=weight.dtype)
        for part, dy in enumerate(dys)
    ]
    return torch.cat(sums)


def _chunks(tokens: Tensor) -> Iterator[slice]:
    """Row slices: cache-sized chunks on a CPU, one chunk on a GPU and for meta or fake tensors."""
    is_on_cpu = type(tokens) is Tensor and tokens.device.type == "cpu"
    size = equal_chunks(len(tokens), about=max(_CACHED_VALUES // tokens.shape[1] if is_on_cpu else len(tokens), 1))
    return (slice(start, start + size) for start in range(0, max(len(tokens), 1), size))


def _beta(position: int) -> int:
    """`beta` for `addmm_`: 0 for the first chunk, whose buffer is uninitialized, then 1."""
    return int(position > 0)


def _computing_dtype(x: Tensor) -> torch.dtype:
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _normalized(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalized rows, and the mean and inverse deviation of each."""
    return torch.native_layer_norm(x, x.shape[-1:], scale, shift, eps)


def _norm_backward(d: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, scale: Tensor, shift: Tensor):
    """Gradients of rows, of scale and of shift."""
    return torch.ops.aten.native_layer_norm_backward(d, x, x.shape[-1:], mean, rstd, scale, shift, [True] * 3)
