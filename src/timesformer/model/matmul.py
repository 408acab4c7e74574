"""Matrix products by the library that is fastest for a processor and a dtype; results agree up to rounding.

| processor | dtype | library | reason |
|---|---|---|---|
| x86 with AVX-512, not from Intel | fp32 | oneDNN | MKL, which torch calls, uses AVX2: 105 of 230 GMAC/s on 2 cores |
| x86 with AVX-512 BF16 or AMX | bf16 | oneDNN | torch calls it, too, but without the GELU in the product |
| others | all | torch | MKL was the fastest on AVX2; cuBLAS on a GPU |

`benchmarks/kernel_choice.py` measures both libraries on a machine. The choice depends on the processor alone, not on a
measurement, so that equal runs round equally.
"""

from collections.abc import Callable
from typing import Any, SupportsIndex

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from timesformer import device
from timesformer.device import Processor


def linear(
    x: Float[Tensor, "*rows k"],
    weight: Float[Tensor, "n k"],
    bias: Float[Tensor, " m"] | None = None,
    *,
    gelu: bool = False,
) -> Float[Tensor, "*rows n"]:
    """`x weightᵀ + bias`, then an exact GELU if `gelu`, without a gradient.

    A bias shorter than the outputs is that of the first of them.
    """
    if _is_onednn_faster(x, weight):
        bias = bias if bias is None or len(bias) == len(weight) else F.pad(bias, (0, len(weight) - len(bias)))
        return _onednn(x, weight, bias, "gelu" if gelu else "none")
    if bias is None or len(bias) < len(weight) or x.device.type == "cpu":
        y = F.linear(x, weight)
        if bias is not None:  # torch would first copy it over the whole result
            y[..., : len(bias)] += bias
    else:
        y = F.linear(x, weight, bias)
    return torch.ops.aten.gelu_(y) if gelu else y


def linear_into(
    out: Float[Tensor, "m n"], x: Float[Tensor, "m k"], weight: Float[Tensor, "n k"], bias: Float[Tensor, " n"] | None
) -> None:
    """`out = x weightᵀ + bias`, without a gradient."""
    if _is_onednn_faster_in_fp32(x, weight):
        out.copy_(_onednn(x, weight, bias, "none"))
    elif bias is None:
        torch.mm(x, weight.mT, out=out)
    else:
        torch.addmm(bias, x, weight.mT, out=out)


def add_linear(
    x: Float[Tensor, "*rows n"], y: Float[Tensor, "*rows k"], weight: Float[Tensor, "n k"], bias: Float[Tensor, " n"]
) -> None:
    """Add `y weightᵀ + bias` to `x` in place, without a gradient."""
    if x.dtype == y.dtype and x.is_contiguous() and not _is_onednn_faster(y, weight):
        x.view(-1, x.shape[-1]).addmm_(y.flatten(0, -2), weight.mT).add_(bias)
    else:
        x.add_(linear(y, weight, bias))


def product(a: Float[Tensor, "m k"], b: Float[Tensor, "k n"]) -> Float[Tensor, "m n"]:
    """`a b`, without a gradient."""
    return _onednn(a, b.mT, None, "none") if _is_onednn_faster_in_fp32(a, b) else a @ b


def add_product(into: Float[Tensor, "m n"], a: Float[Tensor, "m k"], b: Float[Tensor, "k n"], *, beta: int = 1) -> None:
    """`into = beta into + a b`, without a gradient; with `beta=0`, what `into` held before is ignored."""
    if not _is_onednn_faster_in_fp32(a, b):
        into.addmm_(a, b, beta=beta)
    elif beta:
        into.add_(_onednn(a, b.mT, None, "none"))
    else:
        into.copy_(_onednn(a, b.mT, None, "none"))


def is_transformed() -> bool:
    """Whether a compiler or a function transform, such as `vmap`, traces the computation."""
    return torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()


def equal_chunks(count: int, *, about: int) -> int:
    """Size of equal chunks of about this size: a short one would cost a pass over the weights for a few rows."""
    return max(-(-count // max(round(count / about), 1)), 1)


def packed(weight: Float[Tensor, "n k"]) -> nn.Parameter:
    """A constant weight for `linear` alone, in the order that the library reads."""
    if weight.device.type != "cpu" or not _prefers_onednn(weight.dtype, device.processor()):
        return nn.Parameter(weight.detach(), requires_grad=False)
    return _Packed(torch.ops.mkldnn._reorder_linear_weight(weight.detach()), requires_grad=False)


class _Packed(nn.Parameter):
    """A weight in oneDNN's order; pickled and copied in the usual order, as its own differs by processor."""

    def __reduce_ex__(self, proto: SupportsIndex) -> tuple[Callable[[Tensor], nn.Parameter], tuple[Tensor]]:
        return packed, (self.to_dense(),)

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Parameter:
        return packed(self.to_dense())


def _is_onednn_faster_in_fp32(a: Tensor, b: Tensor) -> bool:
    """In bf16, torch calls oneDNN itself, and the result needs no copy."""
    return a.dtype == torch.float32 and _is_onednn_faster(a, b)


def _is_onednn_faster(x: Tensor, weight: Tensor) -> bool:
    if weight.is_mkldnn:
        return True
    if x.device.type != "cpu" or x.dtype != weight.dtype or not _prefers_onednn(x.dtype, device.processor()):
        return False
    if torch.is_grad_enabled() or is_transformed():  # its operator has no gradient
        return False
    is_plain = all(type(tensor) in (Tensor, nn.Parameter) for tensor in (x, weight))
    return is_plain and x.numel() > 0 and torch._C._get_mkldnn_enabled()


def _prefers_onednn(dtype: torch.dtype, found: Processor) -> bool:
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    if dtype == torch.bfloat16:
        return (found.avx512_bf16 or found.amx_bf16) and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32 and found.avx512 and not found.is_intel


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "none")
