"""Distillation: a model learns from labels and from the mean probabilities of trained models, its teachers.

Source: Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network".
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from timesformer.config.run import RunConfig
from timesformer.config.schema import ClipConfig
from timesformer.errors import ConfigError
from timesformer.model.fast import FastTimeSformer
from timesformer.model.timesformer import TimeSformer
from timesformer.names import compose
from timesformer.weights.load import load

_TEST_ALONE = ("num_clips", "num_crops", "test_scale", "fusion")
"""Clip settings that no training clip depends on."""


@dataclass(frozen=True, slots=True, eq=False)
class Teachers:
    """Trained models whose probabilities a run learns; they are neither trained nor in its checkpoints."""

    models: tuple[nn.Module, ...]
    """Models in eval mode, on the device of the run."""
    classes: tuple[Int[Tensor, " k"], ...]
    """For each class of the run, its number in each teacher."""
    weight: float
    temperature: float

    @torch.no_grad()
    def probabilities(self, clips: Float[Tensor, "b 3 t h w"]) -> Float[Tensor, "b k"]:
        """Mean of the teachers' probabilities at the temperature, in the order of the run's classes."""
        logits = (model(clips).float()[:, order] for model, order in zip(self.models, self.classes, strict=True))
        return torch.stack([each.div(self.temperature).softmax(dim=1) for each in logits]).mean(dim=0)

    def loss(
        self, loss: Float[Tensor, ""], logits: Float[Tensor, "b k"], clips: Float[Tensor, "b 3 t h w"]
    ) -> Float[Tensor, ""]:
        """The loss of clips from their cross entropy: (1 - weight) times it, plus weight times the divergence.

        The Kullback-Leibler divergence from the teachers' probabilities to those of the run is multiplied by the square
        of the temperature, which keeps the size of its gradients.

        Args:
            loss: Cross entropy with the targets.
            logits: Those of the run for the clips.
            clips: The clips that the run has seen, augmented and mixed.
        """
        log_probabilities = logits.div(self.temperature).log_softmax(dim=1)
        divergence = F.kl_div(log_probabilities, self.probabilities(clips), reduction="batchmean")
        return torch.lerp(loss, divergence * self.temperature**2, self.weight)


def load_teachers(run: RunConfig, *, labels: Sequence[str], device: torch.device) -> Teachers | None:
    """Load the models of `run.distill_from`; None if it names none.

    Args:
        run: The run.
        labels: Names of its classes.
        device: Where it computes.

    Raises:
        ConfigError: A teacher has other clips or other classes than the run.
        WeightsError: A teacher cannot be loaded.
    """
    if not run.distill_from:
        return None
    teachers = [load(source) for source in run.distill_from]
    for source, teacher in zip(run.distill_from, teachers, strict=True):
        _check_clips(teacher, run, source=source)
    return Teachers(
        models=tuple(_frozen(teacher, run, device=device) for teacher in teachers),
        classes=tuple(
            _order(teacher, labels, source=source).to(device)
            for source, teacher in zip(run.distill_from, teachers, strict=True)
        ),
        weight=run.optim.distill_weight,
        temperature=run.optim.distill_temperature,
    )


def _frozen(teacher: TimeSformer, run: RunConfig, *, device: torch.device) -> nn.Module:
    """A teacher for inference: the fast one where it computes in fp32, since autocast does not know its products."""
    model = FastTimeSformer(teacher).pack() if run.precision == "fp32" and device.type == "cpu" else teacher
    return model.eval().requires_grad_(False).to(device)


def _check_clips(teacher: TimeSformer, run: RunConfig, *, source: str) -> None:
    pairs = {
        **{f"model.{name}": (teacher.config, run.model) for name in ("num_frames", "image_size", "in_channels")},
        **{f"clip.{each.name}": (teacher.info.clip, run.clip) for each in fields(ClipConfig) if _is_shared(each.name)},
    }
    found = {key: [getattr(each, key.partition(".")[2]) for each in pair] for key, pair in pairs.items()}
    others = [f"{key}={theirs!r}, not {ours!r}" for key, (theirs, ours) in found.items() if theirs != ours]
    if others:
        raise ConfigError(
            f"distill_from: {source} has {'; '.join(others)}: a teacher sees the clips of the run, so both need the "
            "same settings"
        )


def _is_shared(name: str) -> bool:
    return name not in _TEST_ALONE


def _order(teacher: TimeSformer, labels: Sequence[str], *, source: str) -> Int[Tensor, " k"]:
    """The number that each class of the run has in a teacher."""
    theirs = {compose(label): number for number, label in enumerate(teacher.info.labels)}
    if not theirs:
        raise ConfigError(f"distill_from: {source} does not say the names of its classes")
    ours = [*map(compose, labels)]
    lacking, surplus = sorted({*ours} - theirs.keys()), sorted(theirs.keys() - {*ours})
    if lacking or surplus:
        what = f"lacks the class {lacking[0]!r}" if lacking else f"has the class {surplus[0]!r}, which the run lacks"
        raise ConfigError(f"distill_from: {source} {what}: the classes of a teacher must be those of the run")
    return torch.tensor([theirs[label] for label in ours])
