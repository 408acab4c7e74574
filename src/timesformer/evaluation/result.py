"""What an evaluation found, and its forms for machines."""

import csv
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from timesformer.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoResult:
    """What the model said about one video.

    `probability` is that of the predicted class. `rank` is the place of the true class among all, 1 being the first:
    the video counts for top-k accuracy where `rank <= k`.
    """

    path: str
    label: str
    predicted: str
    probability: float
    rank: int
    views: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A video that could not be decoded, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """How good a model is on a set of videos. Accuracies are shares from 0 to 1 of the videos that could be decoded."""

    top1: float
    """Share of videos whose class is predicted."""
    top1_interval: tuple[float, float]
    """95 % bootstrap confidence interval of `top1`."""
    top5: float
    """Share of videos whose class is among the five most probable (all classes, with fewer than five)."""
    mean_class: float
    """Mean of the accuracies of the classes that have videos."""
    class_names: tuple[str, ...]
    """Names of the model's classes, in the order of `per_class` and `confusion`."""
    per_class: Float[np.ndarray, " k"]
    """Accuracy of each class; nan for a class without videos."""
    confusion: Int[np.ndarray, "k k"]
    """Count of videos by true class (row) and predicted class (column)."""
    num_videos: int
    """Videos that were evaluated; the skipped ones come on top."""
    skipped: tuple[Skipped, ...]
    """Videos that could not be decoded; they count in no accuracy."""
    protocol: str
    """Which views of a video were taken, and how their answers were fused."""
    predictions: tuple[VideoResult, ...]
    """One entry a video, in the order of the manifest."""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers, strings and lists, ready for JSON; a class without videos has None."""
        per_class = [None if np.isnan(share) else float(share) for share in self.per_class]
        return {
            "top1": self.top1,
            "top1_interval": list(self.top1_interval),
            "top5": self.top5,
            "mean_class": self.mean_class,
            "num_videos": self.num_videos,
            "protocol": self.protocol,
            "skipped": [asdict(video) for video in self.skipped],
            "class_names": list(self.class_names),
            "per_class": dict(zip(self.class_names, per_class, strict=True)),
            "confusion": self.confusion.tolist(),
            "predictions": [asdict(video) for video in self.predictions],
        }


def write_predictions(evaluation: Evaluation, path: str | Path) -> None:
    """Write the prediction for each video as CSV: path, label, predicted, probability, rank, views; a file is replaced.

    Raises:
        DataError: The file cannot be written.
    """
    try:
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(VideoResult.__dataclass_fields__), lineterminator="\n")
            writer.writeheader()
            writer.writerows(
                {**asdict(video), "probability": f"{video.probability:.6f}"} for video in evaluation.predictions
            )
    except OSError as error:
        raise DataError(f"{path}: predictions cannot be written: {error.strerror}") from error
