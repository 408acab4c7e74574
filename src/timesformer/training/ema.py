"""Exponential moving average (EMA) of a model's weights."""

import copy

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from timesformer.model.timesformer import TimeSformer


def ema_copy(model: TimeSformer) -> TimeSformer:
    """The initial average: a copy of the model in eval mode without gradients."""
    return copy.deepcopy(model).requires_grad_(False).eval()


def ema_decay_at(step: int, *, decay: float) -> float:
    """Decay after a step, counted from 1: min(decay, (1 + step) / (10 + step)).

    This is the customary warm-up, which quickly forgets the initial weights.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_ema(average: TimeSformer, model: TimeSformer, *, step: int, decay: float) -> None:
    """Update the average in place: d * average + (1 - d) * model, with d from `ema_decay_at`.

    The running statistics of `head_norm` are averaged like the weights.
    """
    averaged, current = (
        [_local(tensor) for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()]
        for module in (average, model)
    )
    torch._foreach_lerp_(averaged, current, 1 - ema_decay_at(step, decay=decay))


def _local(tensor: Tensor) -> Tensor:
    """The values of a tensor; of a sharded one, those of this process."""
    values = tensor.detach()
    return values.to_local() if isinstance(values, DTensor) else values
