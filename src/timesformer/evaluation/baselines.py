"""Accuracies without looking at a video: chance, and the majority class."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from timesformer.evaluation.result import Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """Accuracies without features, 0 to 1."""

    chance: float
    """One divided by the number of classes."""
    majority_class: str
    """The most frequent class of the training rows."""
    majority: float
    """Accuracy of always predicting it, on the rows of the evaluation."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"chance": self.chance, "majority_class": self.majority_class, "majority": self.majority}


def baselines_of(evaluation: Evaluation, *, majority_class: str) -> Baselines:
    """Chance and majority class on the rows of an evaluation."""
    supports = dict(zip(evaluation.class_names, evaluation.confusion.sum(axis=1).tolist(), strict=True))
    return Baselines(
        chance=1 / len(evaluation.class_names),
        majority_class=majority_class,
        majority=supports[majority_class] / evaluation.num_videos,
    )


def majority_class(labels: Sequence[str], class_names: Sequence[str]) -> str:
    """The most frequent class of training labels; of equally frequent ones the first of `class_names`."""
    counts = Counter(labels)
    return max(class_names, key=lambda name: counts[name])
