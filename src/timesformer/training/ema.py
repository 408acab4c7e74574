"""A running average of a model's weights."""

import copy

import torch

from timesformer.model.timesformer import TimeSformer


def averaged_copy(model: TimeSformer) -> TimeSformer:
    """A copy of a model for the average: it starts at the model's weights, needs no gradient and never trains."""
    return copy.deepcopy(model).requires_grad_(False).eval()


def decay_at(step: int, *, decay: float) -> float:
    """Decay of the average after a step, the first being 1: small at first, so that the first weights are forgotten.

    It is min(decay, (1 + step) / (10 + step)), the customary warm-up.
    """
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(average: TimeSformer, model: TimeSformer, *, step: int, decay: float) -> None:
    """Move every averaged number, in place, to d times itself plus 1 - d times the model's, with d of `decay_at`.

    The statistics of `head_norm` are averaged like the weights whose features they are of.
    """
    own, theirs = (
        [tensor.detach() for tensor in (*module.parameters(), *module.buffers()) if tensor.is_floating_point()]
        for module in (average, model)
    )
    torch._foreach_lerp_(own, theirs, 1 - decay_at(step, decay=decay))
