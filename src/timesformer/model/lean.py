"""The same training step with less work and less memory: what a block computes while it learns.

A plain block, as `block.py` writes it, keeps for its backward pass what autograd happens to save: both sides of every
norm and of the GELU. Here a layer keeps its input, and what is cheap to compute again is computed again. Logits and
gradients are those of the plain path up to rounding, and random draws are the same. Three means:

* a norm and the linear map after it are one function that saves the input and not the normalised input
  (`norm_linear`); a norm and an MLP are one that saves the input and the hidden layer before its GELU (`norm_mlp`).
  Both go through the tokens in pieces that fit a processor's cache;
* the projection of attention and the `fc` after it are one linear map, whose weight is the product of theirs
  (`merged_linear`): half the work over the tokens, and nothing between them to save;
* of the last block the classifier reads the class token alone, so its attention is computed for that query alone, which
  asks the normalised tokens themselves (`Attention.mix_first`): no key and no value is built.

`applies_to` says when: in training mode, on parts that all learn and that nobody has replaced or hooked into. There are
no gradients of gradients here; in eval mode there are.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_KINDS = (nn.Linear, nn.LayerNorm, nn.Identity, nn.GELU, nn.Dropout)
_CACHED_ROWS = 1024
"""Tokens in a piece on a CPU: their hidden layer takes 12 MB in the base model."""


def applies_to(*modules: nn.Module, replacing: tuple[nn.Module, ...]) -> bool:
    """Whether modules can be computed leanly here and now, without calling the parts in `replacing`.

    They cannot in eval mode, without gradients, while a compiler traces or a function transform runs, where a part is
    frozen or of another kind than a block is built of, and where anything has hooks, which would not be called.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return False
    return (
        all(type(part) in _KINDS and part.training for part in replacing)
        and all(parameter.requires_grad for part in replacing for parameter in part.parameters())
        and not any(_has_hooks(inner) for module in modules for inner in module.modules())
    )


def norm_linear(
    x: Float[Tensor, "b n d"], norm: nn.LayerNorm, linear: nn.Linear, *, parts: int = 1
) -> tuple[Float[Tensor, "b n e"], ...]:
    """A linear map of the normalised tokens, its outputs in equal parts; the backward pass needs the tokens themselves.

    Each part lies alone in memory, and so may its gradient: queries, keys and values need not be put together again.
    """
    return _NormLinear.apply(x, norm.weight, norm.bias, norm.eps, linear.weight, linear.bias, parts)


def norm_mlp(x: Float[Tensor, "b n d"], norm: nn.LayerNorm, fc1: nn.Linear, fc2: nn.Linear) -> Float[Tensor, "b n d"]:
    """Two linear maps of the normalised tokens with an exact GELU between them.

    The tokens and the hidden layer before the GELU are kept for the backward pass.
    """
    return _NormMLP.apply(x, norm.weight, norm.bias, norm.eps, fc1.weight, fc1.bias, fc2.weight, fc2.bias)


def merged_linear(
    x: Float[Tensor, "b n d"], first: nn.Linear, second: nn.Linear, *, has_bias: bool = True
) -> Float[Tensor, "b n e"]:
    """`second(first(x))`, with or without the bias of `second`, by the product of both weights."""
    bias = second.weight @ first.bias
    return F.linear(x, second.weight @ first.weight, bias + second.bias if has_bias else bias)


class _NormLinear(Function):
    """See `norm_linear`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, shift: Tensor, eps: float, weight: Tensor, bias: Tensor | None, parts: int
    ):
        ctx.save_for_backward(x, scale, shift, weight)
        ctx.eps, ctx.has_bias = eps, bias is not None
        dtype = _computing_dtype(x)
        tokens = x.flatten(0, -2)
        weights = weight.to(dtype).chunk(parts)
        biases = [None] * parts if bias is None else bias.to(dtype).chunk(parts)
        ys = [tokens.new_empty(len(tokens), len(part), dtype=dtype) for part in weights]
        for rows in _pieces(tokens):
            normed = _normalized(tokens[rows], scale, shift, eps)[0].to(dtype)
            for y, part, shifted in zip(ys, weights, biases, strict=True):
                _linear(normed, part, shifted, out=y[rows])
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
        for rows in _pieces(tokens):
            normed, mean, rstd = _normalized(tokens[rows], scale, shift, ctx.eps)
            dnormed = torch.empty_like(tokens[rows], dtype=used.dtype)
            for number, (dy, part, dpart) in enumerate(zip(dys, weights, dweight.chunk(len(dys)), strict=True)):
                dpart.addmm_(dy[rows].t(), normed.to(dy.dtype), beta=_keeps(rows.start))
                dnormed.addmm_(dy[rows], part, beta=_keeps(number))
            d = _norm_backward(dnormed.to(x.dtype), tokens[rows], mean, rstd, scale, shift)
            dx[rows], dscale, dshift = d[0], dscale + d[1], dshift + d[2]
        dbias = torch.cat([dy.sum(0, dtype=weight.dtype) for dy in dys]) if ctx.has_bias else None
        return dx.view_as(x), dscale, dshift, None, dweight.to(weight.dtype), dbias, None


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
        for rows in _pieces(tokens):
            normed, _, _ = _normalized(tokens[rows], scale, shift, eps)
            _linear(normed.to(dtype), w1, b1, out=hidden[rows])
            _linear(F.gelu(hidden[rows]), w2, b2, out=y[rows])
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
        for rows in _pieces(tokens):
            normed, mean, rstd = _normalized(tokens[rows], scale, shift, ctx.eps)
            dw2.addmm_(dy[rows].t(), F.gelu(hidden[rows]), beta=_keeps(rows.start))
            dhidden = torch.ops.aten.gelu_backward(dy[rows] @ w2, hidden[rows])
            dw1.addmm_(dhidden.t(), normed.to(dy.dtype), beta=_keeps(rows.start))
            db1 += dhidden.sum(0, dtype=db1.dtype)
            d = _norm_backward((dhidden @ w1).to(x.dtype), tokens[rows], mean, rstd, scale, shift)
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


def _pieces(tokens: Tensor) -> Iterator[slice]:
    """Rows to take at a time; a GPU takes all at once, and so do tensors without content, which tell sizes only."""
    size = _CACHED_ROWS if type(tokens) is Tensor and tokens.device.type == "cpu" else max(len(tokens), 1)
    return (slice(start, start + size) for start in range(0, max(len(tokens), 1), size))


def _keeps(position: int) -> int:
    """Factor of what a sum holds before a term is added: nothing, which may be anything, before the first."""
    return int(position > 0)


def _computing_dtype(x: Tensor) -> torch.dtype:
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _normalized(x: Tensor, scale: Tensor, shift: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised rows, and the mean and the inverse deviation of each."""
    return torch.native_layer_norm(x, x.shape[-1:], scale, shift, eps)


def _norm_backward(d: Tensor, x: Tensor, mean: Tensor, rstd: Tensor, scale: Tensor, shift: Tensor):
    """Gradients of rows, of scale and of shift."""
    return torch.ops.aten.native_layer_norm_backward(d, x, x.shape[-1:], mean, rstd, scale, shift, [True] * 3)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, out: Tensor) -> None:
    if bias is None:
        torch.mm(x, weight.t(), out=out)
    else:
        torch.addmm(bias, x, weight.t(), out=out)


def _has_hooks(part: nn.Module) -> bool:
    return bool(part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks)
