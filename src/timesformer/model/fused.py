"""An attention step computed faster than by its modules in turn: fused kernels in training, the class token alone.

`timesformer.model.block` says what a step is, and calls these functions when they compute the same.
"""

from typing import TYPE_CHECKING, Protocol, cast

from jaxtyping import Bool, Float
from torch import Tensor, nn

from timesformer.model import kernels
from timesformer.model.attention import attend, attend_from_first
from timesformer.model.layers import Attention, DropPath
from timesformer.model.schemes import Scheme

if TYPE_CHECKING:

    class StepModules(Protocol):
        """The modules of a `timesformer.model.block.Step`."""

        norm: nn.LayerNorm
        attention: Attention
        drop_path: DropPath
        fc: nn.Linear | nn.Identity
else:  # from Python 3.12 on, isinstance with a protocol does not see the submodules of a module
    StepModules = nn.Module


def applies_to(step: StepModules) -> bool:
    """Whether `all_tokens` may compute a step now: in training mode, and if all of its modules are plain and learn."""
    attention = step.attention
    replaced = (step.norm, attention.qkv, attention.proj, attention.dropout, step.fc)
    return type(attention) is Attention and kernels.can_fuse(cast(nn.Module, step), replacing=replaced)


def all_tokens(
    step: StepModules, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None
) -> Float[Tensor, "b n d"]:
    """The output of a step for every token of its sequences; keeps `x`, not the normalized `x`, for its gradient."""
    attention = step.attention
    q, k, v = kernels.norm_qkv(x, step.norm, attention.qkv)
    y = attend(q, k, v, num_heads=attention.num_heads, mask=mask, dropout_p=attention.dropout_p)
    return _project(step, y)


def first_token(
    step: StepModules, x: Float[Tensor, "b n d"], mask: Bool[Tensor, "n n"] | None = None
) -> Float[Tensor, "b 1 d"]:
    """The output of a step for the first token of each sequence, without keys and values of the others."""
    attention = step.attention
    y = attend_from_first(
        step.norm(x), attention.qkv, num_heads=attention.num_heads, mask=mask, dropout_p=attention.dropout_p
    )
    return _project(step, y)


def skips_patches(block: nn.Module, scheme: Scheme) -> bool:
    """Whether the last block computes the class token alone: in fused training, if every step learns from that token.

    Otherwise a step would get no gradient instead of zero, which weight decay tells apart.
    """
    steps = cast(nn.ModuleDict, block.steps)
    are_fused = all(applies_to(cast(StepModules, steps[name])) for name in scheme.stages[-1])
    return scheme.ends_in_cls and are_fused and not kernels.has_hooks(block)


def _project(step: StepModules, y: Float[Tensor, "b m d"]) -> Float[Tensor, "b m d"]:
    """Output projection, drop path and `fc`; projection and `fc` are merged unless dropout lies between them."""
    proj, dropout = step.attention.proj, step.attention.dropout
    if isinstance(step.fc, nn.Identity) or dropout.p:
        return step.fc(step.drop_path(dropout(kernels.linear(y, proj))))
    if not step.drop_path.rate:
        return kernels.merged_linear(y, proj, step.fc)
    return step.drop_path(kernels.merged_linear(y, proj, step.fc, has_bias=False)) + step.fc.bias
