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
    """Parameters of the model; with the base's number of classes if the videos are unknown."""
    gmacs: float
    """10^9 multiply-accumulates of one forward pass of one clip."""
    epochs: int
    """Passes over the training videos."""
    steps: int | None
    """Total optimizer steps; None if the videos are unknown."""
    start: str
    """Weights or training that it starts from; empty for training from scratch."""
    protocol: str
    """Test protocol in the config of the training; a variant may change it."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def plan_trainings(experiment: Experiment, *, num_train: int | None) -> tuple[TrainingPlan, ...]:
    """Describe each training of an experiment, in running order.

    Args:
        experiment: The experiment.
        num_train: Number of training videos; None if unknown.

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
