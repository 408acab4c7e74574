"""Result of a cross-validation, as JSON and as a table of predictions."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from timesformer.cross_validation.held_out import HeldOut
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.evaluation.predictions import DecodeFailure, Outcome, VideoOutput
from timesformer.evaluation.result import Evaluation
from timesformer.evaluation.summary import summarize
from timesformer.files import printable, replacing
from timesformer.outputs import writing


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldResult:
    """Accuracy of the model of one fold on its held-out videos."""

    fold: int
    """Number of the fold, from 1."""
    groups: tuple[str, ...]
    """Groups that were held out; empty if the videos have none."""
    num_videos: int
    """Held-out videos that could be decoded."""
    num_train: int
    """Videos that the model was trained on."""
    num_train_groups: int
    """Groups among them; 0 if they have none."""
    num_val: int
    """Videos that its epoch, or anything else, was chosen by; 0 if nothing was chosen."""
    top1: float
    """Fraction of the held-out videos that are predicted correctly, 0 to 1."""
    seconds: float
    """Time for training and evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CrossValidation:
    """Accuracy on videos that the model has not seen: each video is predicted by the model of the fold without it."""

    folder: Path
    evaluation: Evaluation
    """All measures over all videos; its interval is over groups, if the videos have groups."""
    folds: tuple[FoldResult, ...]
    fold_of_video: tuple[int, ...]
    """The fold of each of `evaluation.predictions`."""
    probabilities: Float[np.ndarray, "n k"]
    """Class probabilities of each of `evaluation.predictions`."""
    chooses: bool
    """Whether the runs chose something by validation videos, which were held out inside their training part."""
    majority_class: str
    """The most frequent class."""

    @property
    def seconds(self) -> float:
        """Time for all folds."""
        return sum(fold.seconds for fold in self.folds)

    @property
    def chance(self) -> float:
        """One divided by the number of classes."""
        return 1 / len(self.evaluation.class_names)

    @property
    def majority(self) -> float:
        """Accuracy of always predicting the most frequent class."""
        labels = [video.label for video in self.evaluation.predictions]
        return labels.count(self.majority_class) / len(labels)

    def describe_choice(self) -> str:
        """What the runs chose by which videos, as text."""
        if not self.chooses:
            return "nothing was chosen by validation: the last epoch of each fold, trained on all other folds"
        return "each fold chose by validation videos held out inside its training part, never by its held-out videos"

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values for JSON."""
        folds = [
            {
                "fold": fold.fold,
                "top1": fold.top1,
                "groups": list(fold.groups),
                "num_videos": fold.num_videos,
                "num_train": fold.num_train,
                "num_val": fold.num_val,
                "minutes": round(fold.seconds / 60, 2),
            }
            for fold in self.folds
        ]
        return {
            "run": str(self.folder),
            "num_folds": len(self.folds),
            "folds": folds,
            "minutes": round(self.seconds / 60, 2),
            "choice": self.describe_choice(),
            "baselines": {
                "chance": self.chance,
                "majority_class": self.majority_class,
                "majority": self.majority,
            },
            "evaluation": self.evaluation.to_dict(),
        }


def pool(held: Sequence[HeldOut], *, manifest: Manifest, folder: Path, chooses: bool) -> CrossValidation:
    """The measures over the held-out videos of all folds together.

    Args:
        held: The folds.
        manifest: All videos, whose order the predictions have; background comes last.
        folder: The folder of the cross-validation.
        chooses: As in `CrossValidation`.

    Raises:
        DataError: No video could be decoded.
    """
    samples, outcomes, folds = _in_order(held, manifest)
    whole = Manifest(samples, held[0].manifest.class_names)
    evaluation = summarize(whole, outcomes, protocol=f"{held[0].protocol}, one model for each fold", top_k=(1, 5))
    read = [(outcome, fold) for outcome, fold in zip(outcomes, folds, strict=True) if isinstance(outcome, VideoOutput)]
    counts = Counter(sample.label for sample in whole.samples)
    return CrossValidation(
        folder=folder,
        evaluation=evaluation,
        folds=tuple(map(_result_of, held)),
        fold_of_video=tuple(fold for _, fold in read),
        probabilities=np.stack([outcome.probabilities for outcome, _ in read]),
        chooses=chooses,
        majority_class=whole.class_names[max(counts, key=lambda label: (counts[label], -label))],
    )


def _in_order(held: Sequence[HeldOut], manifest: Manifest) -> tuple[tuple[Sample, ...], list[Outcome], list[int]]:
    """The videos of all folds in the order of the manifest, their outcomes and folds."""
    place = {sample: index for index, sample in enumerate(manifest.samples)}
    entries = [
        (sample, outcome, part.part)
        for part in held
        for sample, outcome in zip(part.manifest.samples, part.outcomes, strict=True)
    ]
    entries.sort(key=lambda entry: place.get(entry[0], len(place)))
    outcomes = [replace(outcome, index=index) for index, (_, outcome, _) in enumerate(entries)]
    return tuple(sample for sample, _, _ in entries), outcomes, [fold for _, _, fold in entries]


def _result_of(held: HeldOut) -> FoldResult:
    read = [outcome for outcome in held.outcomes if not isinstance(outcome, DecodeFailure)]
    right = [held.manifest.samples[outcome.index].label == int(outcome.probabilities.argmax()) for outcome in read]
    return FoldResult(
        fold=held.part,
        groups=held.manifest.groups,
        num_videos=len(read),
        num_train=held.num_train,
        num_train_groups=held.num_train_groups,
        num_val=held.num_val,
        top1=float(np.mean(right)) if right else float("nan"),
        seconds=held.seconds,
    )


def write_table(result: CrossValidation, path: Path) -> None:
    """Write the predictions as CSV, one row per video: path, times of a segment, label, group, fold, predicted class,
    its probability, and the probability `p_CLASS` of each class.

    `group` is left out if no video has one, and so are `start` and `end`, in seconds. An existing file is replaced.

    Raises:
        TimeSformerError: The file cannot be written.
    """
    evaluation = result.evaluation
    has_groups = any(video.group for video in evaluation.predictions)
    times = ["start", "end"] if evaluation.has_segments else []
    columns = ["path", *times, "label", *(["group"] if has_groups else []), "fold", "predicted", "probability"]
    with writing(path), replacing(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*columns, *(f"p_{name}" for name in evaluation.class_names)])
        for video, fold, row in zip(evaluation.predictions, result.fold_of_video, result.probabilities, strict=True):
            start, end = video.segment or ("", "")
            values = {
                "path": printable(video.path),
                "start": start,
                "end": end,
                "label": video.label,
                "group": video.group,
                "fold": fold,
                "predicted": video.predicted,
                "probability": f"{video.probability:.6f}",
            }
            writer.writerow([*(values[name] for name in columns), *(f"{value:.6f}" for value in row)])
