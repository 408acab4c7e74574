"""Optimizer settings of a training run, as a frozen dataclass."""

import re
from dataclasses import dataclass
from typing import Literal

from timesformer.config.checks import (
    check_at_most,
    check_choice,
    check_factor,
    check_not_negative,
    check_positive,
    check_probability,
    refuse,
)

Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["cosine", "steps"]

_MILESTONES = (11 / 15, 14 / 15)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """Optimizer and learning-rate schedule.

    Raises:
        ConfigError: A value is out of range, or set without having an effect.

    Source: paper, section 4 (SGD, steps at epochs 11 and 14 of 15).
    """

    optimizer: Optimizer = "adamw"
    """AdamW, or SGD with Nesterov momentum 0.9 as released."""
    lr: float = 1e-3
    """Peak learning rate for the whole batch."""
    weight_decay: float = 0.05
    """Weight decay of matrices; not applied to biases, norms, embeddings and the class token."""
    schedule: Schedule = "cosine"
    """`cosine` to zero, or `steps`: division by ten at each of `milestones`."""
    warmup_fraction: float = 0.05
    """Fraction of all steps over which the learning rate rises linearly from 0."""
    milestones: tuple[float, ...] = _MILESTONES
    """Fractions of all steps at which `steps` divides the learning rate by ten."""
    label_smoothing: float = 0.0
    """Weight of each target that is spread evenly over all classes."""
    clip_grad_norm: float = 1.0
    """Largest gradient norm; 0 does not clip."""
    layer_decay: float = 1.0
    """Layer-wise learning-rate decay: learning rate of a block relative to the next one. 1 is off, 0.75 suits
    fine-tuning. The head and the last norm have `lr`, the embeddings the smallest rate. Parameters that `init_from`
    lacks, such as the time embedding of an image ViT, have `lr`. Clark et al. 2020, "ELECTRA"."""
    pretrained_lr: float = 1.0
    """Learning rate of pretrained parameters relative to newly initialized ones (head, time embedding, `fc`), on top of
    `layer_decay`. Values below 1 protect pretrained weights while the new ones adapt."""
    freeze: str = "none"
    """Parameters that are not trained: `none`, `backbone` (all but the head: a linear probe), or `blocks:N` (the
    embeddings and the first N blocks, except for parameters that `init_from` lacks)."""
    ema_decay: float = 0.0
    """Decay per step of an exponential moving average of the weights, which is validated and saved instead of the
    trained weights; 0 is off."""

    distill_weight: float = 0.5
    """Weight of the teachers' probabilities (`distill_from`) in the loss; the labels have the rest."""
    distill_temperature: float = 2.0
    """Divisor of the logits of teachers and model in their part of the loss; above 1 it shows more of the classes that
    teachers find less probable. Hinton et al. 2015."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        check_choice("optimizer", self.optimizer, Optimizer)
        check_choice("schedule", self.schedule, Schedule)
        check_positive("lr", self.lr)
        for name in ("weight_decay", "clip_grad_norm"):
            check_not_negative(name, getattr(self, name))
        for name in ("warmup_fraction", "label_smoothing", "ema_decay"):
            check_probability(name, getattr(self, name))
        for name in ("pretrained_lr", "layer_decay", "distill_weight"):
            check_factor(name, getattr(self, name))
        check_positive("distill_temperature", self.distill_temperature)
        check_at_most("distill_temperature", self.distill_temperature, 1000)
        refuse(
            re.fullmatch(r"none|backbone|blocks:[1-9][0-9]*", self.freeze) is None,
            f"freeze={self.freeze!r} is not 'none', 'backbone' or 'blocks:N' with N from 1",
        )
        is_rising = list(self.milestones) == sorted(self.milestones)
        refuse(
            not is_rising or any(not 0 < milestone < 1 for milestone in self.milestones),
            f"milestones={self.milestones} must rise between 0 and 1",
        )
        self._refuse_values_without_effect()

    def _refuse_values_without_effect(self) -> None:
        for name in ("layer_decay", "pretrained_lr"):
            refuse(
                self.freeze == "backbone" and getattr(self, name) != 1,
                f"{name}={getattr(self, name)} has no effect with freeze='backbone'",
            )
        refuse(
            self.schedule == "cosine" and self.milestones != _MILESTONES,
            f"milestones={self.milestones} have no effect on schedule='cosine'",
        )
