"""Optimizer, learning-rate schedule, and which parameters learn, at what rate, and decay."""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from timesformer.config.run import OptimConfig
from timesformer.config.schema import Precision
from timesformer.errors import ConfigError
from timesformer.model.timesformer import TimeSformer


def lr_factor(step: int, *, total_steps: int, optim: OptimConfig) -> float:
    """Share of the peak learning rate at a step: a linear rise, then a cosine to zero or steps down.

    The rise is a line from 0, just before the first step, to 1 at the first step after the warm-up, so that no step is
    taken at rate 0.

    Args:
        step: Steps taken before this one, from 0.
        total_steps: Steps of the whole run; from there on a cosine stays at 0.
        optim: Kind of schedule, share of warm-up, milestones.

    Source: Bertasius et al. 2021, section 4, for the steps; Loshchilov and Hutter 2017, "SGDR", for the cosine.
    """
    rising = warmup_steps(total_steps, optim=optim)
    if step < rising:
        return (step + 1) / (rising + 1)
    if optim.schedule == "steps":
        return 0.1 ** sum(step >= share * total_steps for share in optim.milestones)
    progress = min((step - rising) / max(total_steps - rising, 1), 1.0)
    return (1 + math.cos(math.pi * progress)) / 2


def warmup_steps(total_steps: int, *, optim: OptimConfig) -> int:
    """Steps, of all, over which the rate rises."""
    return round(optim.warmup_fraction * total_steps)


def freeze_parts(model: TimeSformer, freeze: str, *, fresh: Collection[str] = ()) -> list[nn.Module]:
    """Stop the gradients of some parts of a model; what lies below all trained parts then keeps nothing for them.

    Of the embeddings and the first blocks, what no earlier training has set still learns: image weights have no time
    embedding and no `fc`, and with both at zero for good no frame would come before another.

    Args:
        model: The model, changed in place.
        freeze: `none`, `backbone` (all but the head) or `blocks:N` (the embeddings and the first N blocks).
        fresh: Names of the parameters that no earlier training has set.

    Returns:
        The frozen parts. In eval mode they take no dropout and no stochastic depth.

    Raises:
        ConfigError: The model has fewer than N blocks.
    """
    parts: list[nn.Module] = []
    if freeze == "backbone":
        parts = [model.embedding, model.blocks, model.norm]
    elif freeze != "none":
        count, depth = int(freeze.removeprefix("blocks:")), model.config.depth
        if count > depth:
            raise ConfigError(f"optim.freeze={freeze!r} asks for {count} blocks, the model has {depth} (model.depth)")
        parts = [model.embedding, *model.blocks[:count]]
    for part in parts:
        part.requires_grad_(False)
    if freeze != "backbone":
        for name in fresh:
            model.get_parameter(name).requires_grad_(True)
    return parts


def parameter_groups(model: nn.Module, *, optim: OptimConfig, fresh: Collection[str] = ()) -> list[dict[str, Any]]:
    """Divide the parameters that learn by weight decay and by learning rate.

    Matrices of linear maps and of the patch convolution decay. Biases, norms, the class token and the embeddings of
    position and time do not. The released code means the same and never does it: there, everything decays.

    With `layer_decay` d, the embedding has the rate `lr * d ** (L + 1)` and block i of L, from 0, `lr * d ** (L - i)`;
    the last norm and the head have `lr`. All of these are multiplied by `pretrained_lr`; what is in `fresh` has `lr`.

    Args:
        model: The model.
        optim: Rates and weight decay.
        fresh: Names of the parameters that no earlier training has set.

    Source: Clark et al. 2020, "ELECTRA", for the layer-wise rate.
    """
    maps = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    decaying = {id(module.weight) for module in maps}
    depth = len(list(getattr(model, "blocks", ())))
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = optim.weight_decay if id(parameter) in decaying else 0.0
            is_new = name in fresh
            above = 0 if is_new else depth + 1 - layer_of(name, depth=depth)
            rate = optim.lr * optim.layer_decay**above * (1.0 if is_new else optim.pretrained_lr)
            groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def layer_of(name: str, *, depth: int) -> int:
    """The layer of a parameter by its name: 0 for the embedding, i + 1 for block i, `depth + 1` for what follows."""
    if name.startswith("embedding."):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else depth + 1


def build_optimizer(
    model: nn.Module, *, optim: OptimConfig, precision: Precision = "fp32", fresh: Collection[str] = ()
) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum 0.9, at the peak learning rate, of the parameters that need gradients.

    Args:
        model: The model.
        optim: Kind, rates and weight decay.
        precision: Numbers in which the model computes: the trainer cannot clip the gradients of a fused optimizer in
            mixed precision.
        fresh: Names of the parameters that no earlier training has set: they have `lr` itself.
    """
    groups = parameter_groups(model, optim=optim, fresh=fresh)
    # fused: 1 ms a step instead of 2.7 for the tiny model on one core
    fused = precision == "fp32" or optim.clip_grad_norm == 0
    if optim.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=optim.lr, momentum=0.9, nesterov=True, fused=fused)
    return torch.optim.AdamW(groups, lr=optim.lr, fused=fused)
