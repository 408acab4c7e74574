"""Plan of an experiment, without reading videos or building models."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from timesformer.evaluation.protocol import describe_protocol
from timesformer.model.cost import cost
from timesformer.reproduce.experiment import Experiment, Training


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """One training before it starts."""

    name: str
    """Name of the training."""
    parameters: int
    """Parameters of the model; with the base's number of classes where the videos are not known."""
    gmacs: float
    """10^9 multiply-accumulates of one clip, forward."""
    epochs: int
    """Passes over its videos."""
    steps: int | None
    """Steps of the optimizer in all; None where the videos are not known."""
    start: str
    """Weights, or the training, that it starts from; empty starts from nothing."""
    protocol: str
    """Clips of a video as the model is trained for them."""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for JSON."""
        return asdict(self)


def plan_trainings(experiment: Experiment, *, num_train: int | None) -> tuple[TrainingPlan, ...]:
    """Describe each training of an experiment, in running order.

    Args:
        experiment: The experiment.
        num_train: Training videos; None where nobody knows yet.

    Raises:
        ConfigError: A training does not fit the base run.
    """
    return tuple(_plan(experiment, training, num_train) for training in experiment.trainings)


def _plan(experiment: Experiment, training: Training, num_train: int | None) -> TrainingPlan:
    run = training.run(experiment.base)
    size = cost(run.model)
    steps = None if num_train is None else run.epochs * run.steps_per_epoch(math.ceil(num_train * training.fraction))
    return TrainingPlan(
        name=training.name,
        parameters=size.parameters,
        gmacs=size.macs / 1e9,
        epochs=run.epochs,
        steps=steps,
        start=training.start or run.init_from,
        protocol=describe_protocol(run.model, run.clip),
    )
