"""What an evaluation found, and its forms for machines."""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from timesformer.errors import DataError
from timesformer.evaluation.calibration import Calibration
from timesformer.evaluation.intervals import IntervalMethod, describe_method, format_interval
from timesformer.evaluation.metrics import most_confused
from timesformer.files import printable, replacing
from timesformer.outputs import refuse_existing

_MAX_CONFUSED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoResult:
    """What the model said about one video.

    `probability` is that of the predicted class. `rank` is the place of the true class among all, 1 being the first:
    the video counts for top-k accuracy where `rank <= k`. `top5` has the five most probable classes and their
    probabilities, the first being the predicted one. `group` is the person, camera or recording, empty if not given.
    """

    path: str
    label: str
    predicted: str
    probability: float
    rank: int
    views: int
    true_probability: float
    top5: tuple[tuple[str, float], ...]
    group: str = ""


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
    """95 % confidence interval of `top1`."""
    top5: float
    """Share of videos whose class is among the five most probable (all classes, with fewer than five)."""
    top_k: Mapping[int, float]
    """The same for each k that was asked for."""
    mean_class: float
    """Mean of the accuracies of the classes that have videos."""
    class_names: tuple[str, ...]
    """Names of the model's classes, in the order of `per_class`, `precision` and `confusion`."""
    per_class: Float[np.ndarray, " k"]
    """Accuracy of each class, also called its recall; nan for a class without videos."""
    precision: Float[np.ndarray, " k"]
    """Share of the videos predicted as each class that are of it; nan for a class that is never predicted."""
    confusion: Int[np.ndarray, "k k"]
    """Count of videos by true class (row) and predicted class (column)."""
    calibration: Calibration
    """How far the probabilities are from what comes true."""
    num_videos: int
    """Videos that were evaluated; the skipped ones come on top."""
    skipped: tuple[Skipped, ...]
    """Videos that could not be decoded; they count in no accuracy."""
    protocol: str
    """Which views of a video were taken, and how their answers were fused."""
    predictions: tuple[VideoResult, ...]
    """One entry a video, in the order of the manifest."""
    top1_interval_method: IntervalMethod = "wilson"
    """How `top1_interval` was found: over the videos, or over their groups (`timesformer.evaluation.intervals`)."""
    num_groups: int = 0
    """Groups of the videos, each video without one being its own; 0 if no video has a group."""

    def describe_interval(self) -> str:
        """The interval of `top1` for people, with how it was found."""
        num_alone = sum(not video.group for video in self.predictions)
        method = describe_method(self.top1_interval_method, num_groups=self.num_groups, num_alone=num_alone)
        return f"{format_interval(*self.top1_interval)} ({method})"

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers, strings and lists, ready for JSON; a class without videos has None."""
        per_class = [_or_none(share) for share in self.per_class]
        return {
            "top1": self.top1,
            "top1_interval": list(self.top1_interval),
            "top1_interval_method": self.top1_interval_method,
            "num_groups": self.num_groups,
            "top5": self.top5,
            "top_k": {str(k): share for k, share in self.top_k.items()},
            "mean_class": self.mean_class,
            "num_videos": self.num_videos,
            "protocol": self.protocol,
            "calibration": self.calibration.to_dict(),
            "skipped": [asdict(video) for video in self.skipped],
            "class_names": list(self.class_names),
            "per_class": dict(zip(self.class_names, per_class, strict=True)),
            "classes": self._classes(),
            "confusion": self.confusion.tolist(),
            "most_confused": [
                {"label": self.class_names[true], "predicted": self.class_names[other], "videos": count}
                for true, other, count in most_confused(self.confusion, count=_MAX_CONFUSED)
            ],
            "predictions": [{**asdict(video), "top5": _as_pairs(video)} for video in self.predictions],
        }

    def _classes(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "recall": _or_none(self.per_class[index]),
                "precision": _or_none(self.precision[index]),
                "support": int(self.confusion[index].sum()),
                "predicted": int(self.confusion[:, index].sum()),
            }
            for index, name in enumerate(self.class_names)
        ]


def write_predictions(evaluation: Evaluation, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a row for each video as CSV, all of it or nothing.

    The columns are the fields of `VideoResult` in their order; `group` is left out if no video has one. `top5` is a
    JSON list of labels and probabilities. Bytes of a name that are not UTF-8 are written as escapes such as `\\xe9`.

    Args:
        evaluation: What to write.
        path: The file.
        overwrite: Whether a file that already exists is replaced.

    Raises:
        ConfigError: The file already exists and must not be replaced.
        DataError: The file cannot be written.
    """
    refuse_existing(Path(path), overwrite=overwrite)
    try:
        with replacing(Path(path)) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=_columns(evaluation), lineterminator="\n", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(_row(video) for video in evaluation.predictions)
    except OSError as error:
        raise DataError(f"{path}: predictions cannot be written: {error.strerror}") from error


def _columns(evaluation: Evaluation) -> list[str]:
    has_groups = any(video.group for video in evaluation.predictions)
    return [name for name in VideoResult.__dataclass_fields__ if has_groups or name != "group"]


def _row(video: VideoResult) -> dict[str, Any]:
    return {
        **asdict(video),
        "path": printable(video.path),
        "probability": f"{video.probability:.6f}",
        "true_probability": f"{video.true_probability:.6f}",
        "top5": json.dumps([[label, round(share, 6)] for label, share in video.top5], ensure_ascii=False),
    }


def _as_pairs(video: VideoResult) -> list[list[Any]]:
    return [list(pair) for pair in video.top5]


def _or_none(share: float) -> float | None:
    return None if np.isnan(share) else float(share)
