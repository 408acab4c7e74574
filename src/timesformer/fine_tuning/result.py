"""Result of a run with a probe: both models on the same validation videos, and which is kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from timesformer.config.run import ProbeInput
from timesformer.evaluation.baselines import Baselines
from timesformer.evaluation.intervals import format_interval
from timesformer.evaluation.result import Evaluation
from timesformer.heads.choose import StrengthScore

Way = Literal["probe", "fine-tuned"]
Until = Literal["probe", "end"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A model and what was measured."""

    way: Way
    evaluation: Evaluation
    """On the validation videos, with all views."""
    minutes: float
    """Time of its computation; that of a fine-tuned model does not include its probe."""
    model: Path
    """Its model folder."""

    @property
    def top1(self) -> float:
        """Top-1 accuracy on the validation videos."""
        return self.evaluation.top1

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for JSON."""
        evaluation = self.evaluation
        return {
            "top1": evaluation.top1,
            "top1_interval": list(evaluation.top1_interval),
            "top1_interval_method": evaluation.top1_interval_method,
            "num_groups": evaluation.num_groups,
            "mean_class": evaluation.mean_class,
            "num_videos": evaluation.num_videos,
            "skipped": len(evaluation.skipped),
            "protocol": evaluation.protocol,
            "minutes": round(self.minutes, 3),
            "model": str(self.model),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class InputScore:
    """Cross-validation of the probe of an input."""

    name: ProbeInput
    nll: float
    """Mean negative log-likelihood, in nats."""
    accuracy: float
    """Fraction of views, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FineTuned:
    """What `fine_tune` wrote and measured."""

    folder: Path
    """The folder of the run."""
    model: Path
    """The model folder of the kept model."""
    probe: Candidate
    fine_tuned: Candidate | None
    """None if the run stopped after the probe."""
    baselines: Baselines
    input: ProbeInput
    """The input of both models."""
    inputs: tuple[InputScore, ...]
    """The inputs that the probe tried."""
    strength: float
    """Strength of the penalty of the probe."""
    scores: tuple[StrengthScore, ...]
    """The cross-validation that chose it."""
    head: str
    """That the head is new, and why."""

    @property
    def kept(self) -> Candidate:
        """The more accurate model; the probe if both are equally accurate."""
        tuned = self.fine_tuned
        return tuned if tuned is not None and tuned.top1 > self.probe.top1 else self.probe

    @property
    def reason(self) -> str:
        """Why that model is kept, in a sentence."""
        probe, tuned = self.probe, self.fine_tuned
        videos = f"{probe.evaluation.num_videos} validation videos"
        if tuned is None:
            return f"The probe is kept: the run stopped after it. It is correct on {probe.top1:.1%} of {videos}."
        if tuned.top1 == probe.top1:
            return f"The probe is kept: both models are correct on {probe.top1:.1%} of {videos}, and it changes less."
        names = {"probe": "the probe", "fine-tuned": "the fine-tuned model"}
        winner, other = (tuned, probe) if self.kept is tuned else (probe, tuned)
        low, high = probe.evaluation.top1_interval
        within = "inside" if low <= tuned.top1 <= high else "outside"
        first, second = names[winner.way], names[other.way]
        return (
            f"{first[0].upper()}{first[1:]} is kept: it is correct on {winner.top1:.1%} of {videos}, {second} on "
            f"{other.top1:.1%}. The accuracy of the fine-tuned model lies {within} the interval of the probe "
            f"({format_interval(low, high)})."
        )

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for JSON."""
        return {
            "run": str(self.folder),
            "model": str(self.model),
            "kept": self.kept.way,
            "reason": self.reason,
            "probe": {**self.probe.to_dict(), "strength": self.strength, "input": self.input},
            "inputs": {score.name: {"nll": score.nll, "accuracy": score.accuracy} for score in self.inputs},
            "fine_tuned": None if self.fine_tuned is None else self.fine_tuned.to_dict(),
            "baselines": self.baselines.to_dict(),
        }
