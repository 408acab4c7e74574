"""Optimizer, learning-rate schedule, parameter groups and frozen modules."""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from timesformer.config.run import OptimConfig
from timesformer.config.schema import PrecisionName
from timesformer.errors import ConfigError
from timesformer.model.timesformer import TimeSformer


def lr_factor(step: int, *, total_steps: int, optim: OptimConfig) -> float:
    """Learning rate of a step relative to the peak: a linear warm-up, then a cosine to zero or steps down.

    The warm-up rises from 0 just before the first step to 1 at the first step after it, so that no step has rate 0.

    Args:
        step: Number of the step, from 0.
        total_steps: Steps of the whole run; beyond them a cosine stays at 0.
        optim: Schedule, warm-up and milestones.

    Source: Bertasius et al. 2021, section 4, for the steps; Loshchilov and Hutter 2017, "SGDR", for the cosine.
    """
    rising = warmup_steps(total_steps, optim=optim)
    if step < rising:
        return (step + 1) / (rising + 1)
    if optim.schedule == "steps":
        return 0.1 ** sum(step >= fraction * total_steps for fraction in optim.milestones)
    progress = min((step - rising) / max(total_steps - rising, 1), 1.0)
    return (1 + math.cos(math.pi * progress)) / 2


def warmup_steps(total_steps: int, *, optim: OptimConfig) -> int:
    """Number of warm-up steps."""
    return round(optim.warmup_fraction * total_steps)


def freeze(model: TimeSformer, modules: str, *, newly_initialized: Collection[str] = ()) -> list[nn.Module]:
    """Freeze modules of a model. Modules below all trained ones then save no activations.

    Newly initialized parameters of the embeddings and the first blocks are still trained: image weights have no time
    embedding and no `fc`, and the model could not tell the order of frames if both stayed zero.

    Args:
        model: The model, modified in place.
        modules: `none`, `backbone` (all but the head) or `blocks:N` (the embeddings and the first N blocks).
        newly_initialized: Names of the parameters without pretrained values.

    Returns:
        The frozen modules; put them in eval mode to disable dropout and stochastic depth.

    Raises:
        ConfigError: The model has fewer than N blocks.
    """
    frozen: list[nn.Module] = []
    if modules == "backbone":
        frozen = [model.embedding, model.blocks, model.norm]
    elif modules != "none":
        count, depth = int(modules.removeprefix("blocks:")), model.config.depth
        if count > depth:
            raise ConfigError(f"optim.freeze={modules!r} is more than the {depth} blocks of the model (model.depth)")
        frozen = [model.embedding, *model.blocks[:count]]
    for module in frozen:
        module.requires_grad_(False)
    if modules != "backbone":
        for name in newly_initialized:
            model.get_parameter(name).requires_grad_(True)
    return frozen


def parameter_groups(
    model: nn.Module, *, optim: OptimConfig, newly_initialized: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Group the trained parameters by weight decay and learning rate.

    Weight decay applies to the matrices of linear layers and of the patch convolution, not to biases, norms, the class
    token and the position and time embeddings. The released code intends the same but decays everything.

    With `layer_decay` d, the embedding has the rate `lr * d ** (L + 1)` and block i of L, from 0, `lr * d ** (L - i)`;
    the last norm and the head have `lr`. All of these are multiplied by `pretrained_lr`. Newly initialized parameters
    have `lr`.

    Args:
        model: The model.
        optim: Rates and weight decay.
        newly_initialized: Names of the parameters without pretrained values.

    Source: Clark et al. 2020, "ELECTRA", for the layer-wise rate.
    """
    matrices = [module.weight for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    decaying = {id(matrix) for matrix in matrices}
    depth = len(list(getattr(model, "blocks", ())))
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = optim.weight_decay if id(parameter) in decaying else 0.0
            is_new = name in newly_initialized
            above = 0 if is_new else depth + 1 - layer_of(name, depth=depth)
            rate = optim.lr * optim.layer_decay**above * (1.0 if is_new else optim.pretrained_lr)
            groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def layer_of(name: str, *, depth: int) -> int:
    """Layer of a parameter by its name: 0 for the embedding, i + 1 for block i, `depth + 1` for the norm and head."""
    if name.startswith("embedding."):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else depth + 1


def build_optimizer(
    model: nn.Module, *, optim: OptimConfig, precision: PrecisionName = "fp32", newly_initialized: Collection[str] = ()
) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum 0.9, at the peak learning rate, for the parameters that need gradients.

    Args:
        model: The model.
        optim: Optimizer, rates and weight decay.
        precision: Precision of the model: the trainer cannot clip the gradients of a fused optimizer in mixed
            precision.
        newly_initialized: Names of the parameters without pretrained values, which have the rate `lr`.
    """
    groups = parameter_groups(model, optim=optim, newly_initialized=newly_initialized)
    # fused: 1 ms a step instead of 2.7 for the tiny model on one core
    fused = precision == "fp32" or optim.clip_grad_norm == 0
    if optim.optimizer == "sgd":
        fused = fused and not any(isinstance(parameter, DTensor) for parameter in model.parameters())  # torch has none
        return torch.optim.SGD(groups, lr=optim.lr, momentum=0.9, nesterov=True, fused=fused)
    return torch.optim.AdamW(groups, lr=optim.lr, fused=fused)
