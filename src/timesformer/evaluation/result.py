"""Result of an evaluation, as JSON and as a table of predictions."""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from timesformer.data.video.segment import Segment, segment_name
from timesformer.errors import DataError
from timesformer.evaluation.calibration import Calibration
from timesformer.evaluation.intervals import IntervalMethod, describe_method, format_interval
from timesformer.evaluation.metrics import most_confused
from timesformer.files import printable, replacing
from timesformer.outputs import refuse_existing, writing

_MAX_CONFUSED = 20
_OUTPUT_KEYS = {"num_views": "views"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoResult:
    """Prediction for one video, or for one segment of a video.

    `probability` belongs to the predicted class. `rank` is the rank of the true class, from 1: the video counts for
    top-k accuracy if `rank <= k`. `top5` lists the five most probable classes with their probabilities, the predicted
    one first. `group` is the person, camera or recording, empty if not given.
    """

    path: str
    label: str
    predicted: str
    probability: float
    rank: int
    num_views: int
    true_probability: float
    top5: tuple[tuple[str, float], ...]
    group: str = ""
    segment: Segment | None = None

    @property
    def name(self) -> str:
        """The path and the segment, for people."""
        return segment_name(self.path, self.segment)

    @property
    def unit(self) -> str:
        """Name of what is resampled as a whole: the group, or else the video of a segment; empty for a whole video.

        Segments of one video are as little independent as videos of one person.
        """
        return self.group or (self.path if self.segment is not None else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A video or segment that could not be decoded, and the reason."""

    path: str
    reason: str
    segment: Segment | None = None

    @property
    def name(self) -> str:
        """The path and the segment, for people."""
        return segment_name(self.path, self.segment)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """Accuracy of a model on a set of videos. Accuracies are fractions, 0 to 1, of the videos that could be decoded."""

    top1: float
    """Fraction of videos whose true class is predicted."""
    top1_interval: tuple[float, float]
    """95 % confidence interval of `top1`."""
    top5: float
    """Fraction of videos whose true class is among the five most probable; 1 with five classes or fewer."""
    top_k: Mapping[int, float]
    """Top-k accuracy for each requested k."""
    mean_class: float
    """Mean accuracy over the classes that have videos."""
    class_names: tuple[str, ...]
    """Names of the model's classes, in the order of `per_class`, `precision` and `confusion`."""
    per_class: Float[np.ndarray, " k"]
    """Accuracy (recall) of each class; nan for a class without videos."""
    precision: Float[np.ndarray, " k"]
    """Fraction of the predictions of each class that are correct; nan for a class that is never predicted."""
    confusion: Int[np.ndarray, "k k"]
    """Number of videos by true class (row) and predicted class (column)."""
    calibration: Calibration
    """Calibration of the probabilities."""
    num_videos: int
    """Number of evaluated videos, without skipped ones."""
    skipped: tuple[Skipped, ...]
    """Videos that could not be decoded; no accuracy counts them."""
    protocol: str
    """Views of a video and their fusion."""
    predictions: tuple[VideoResult, ...]
    """One entry per video, in the order of the manifest."""
    top1_interval_method: IntervalMethod = "wilson"
    """Method of `top1_interval`: over videos or over their groups (`timesformer.evaluation.intervals`)."""
    num_groups: int = 0
    """Number of groups; a video without a group counts as its own. 0 if no video has a group."""
    group_kind: Literal["group", "video"] = "group"
    """What the groups are: those of the videos, or, of segments without groups, the videos themselves."""

    @property
    def has_segments(self) -> bool:
        """Whether any prediction is for a segment of a video."""
        return any(video.segment is not None for video in (*self.predictions, *self.skipped))

    def describe_size(self) -> str:
        """The number of evaluated videos, as text: `7`, or `20 segments of 7 videos`."""
        if not self.has_segments:
            return str(self.num_videos)
        num_files = len({video.path for video in self.predictions})
        return f"{self.num_videos} segment{'s' * (self.num_videos > 1)} of {num_files} video{'s' * (num_files > 1)}"

    def describe_interval(self) -> str:
        """The interval of `top1` and its method, as text."""
        num_alone = sum(not video.group and video.segment is None for video in self.predictions)
        method = describe_method(
            self.top1_interval_method, num_groups=self.num_groups, num_alone=num_alone, kind=self.group_kind
        )
        return f"{format_interval(*self.top1_interval)} ({method})"

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values for JSON; measures of a class without videos are None."""
        per_class = [_or_none(accuracy) for accuracy in self.per_class]
        return {
            "top1": self.top1,
            "top1_interval": list(self.top1_interval),
            "top1_interval_method": self.top1_interval_method,
            "num_groups": self.num_groups,
            **({"group_kind": self.group_kind} if self.has_segments else {}),
            "top5": self.top5,
            "top_k": {str(k): accuracy for k, accuracy in self.top_k.items()},
            "mean_class": self.mean_class,
            "num_videos": self.num_videos,
            "protocol": self.protocol,
            "calibration": self.calibration.to_dict(),
            "skipped": [_named(asdict(video), has_segments=self.has_segments) for video in self.skipped],
            "class_names": list(self.class_names),
            "per_class": dict(zip(self.class_names, per_class, strict=True)),
            "classes": self._classes(),
            "confusion": self.confusion.tolist(),
            "most_confused": [
                {"label": self.class_names[true], "predicted": self.class_names[other], "videos": count}
                for true, other, count in most_confused(self.confusion, count=_MAX_CONFUSED)
            ],
            "predictions": [_to_dict(video, has_segments=self.has_segments) for video in self.predictions],
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
    """Write the predictions as CSV, one row per video; the file is complete or not written.

    Columns are those of the JSON form, in the order of `VideoResult`; `group` is omitted if no video has one, and so
    are `start` and `end`, the times of a segment in seconds. `top5` is a JSON list of labels and probabilities. Bytes
    of a name that are not UTF-8 are written as escapes such as `\\xe9`.

    Args:
        evaluation: The evaluation.
        path: The file.
        overwrite: Replace an existing file.

    Raises:
        ConfigError: The file already exists and `overwrite` is False.
        DataError: The file cannot be written.
    """
    refuse_existing(Path(path), overwrite=overwrite)
    path = Path(path)
    with (
        writing(path, what="predictions", error=DataError),
        replacing(path) as partial,
        open(partial, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, fieldnames=_columns(evaluation), lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(_row(video, has_segments=evaluation.has_segments) for video in evaluation.predictions)


def _columns(evaluation: Evaluation) -> list[str]:
    has_groups = any(video.group for video in evaluation.predictions)
    names = [name for name in VideoResult.__dataclass_fields__ if has_groups or name != "group"]
    return list(_named({_OUTPUT_KEYS.get(name, name): None for name in names}, has_segments=evaluation.has_segments))


def _row(video: VideoResult, *, has_segments: bool) -> dict[str, Any]:
    return {
        **_to_dict(video, has_segments=has_segments),
        "path": printable(video.path),
        "probability": f"{video.probability:.6f}",
        "true_probability": f"{video.true_probability:.6f}",
        "top5": json.dumps([[label, round(probability, 6)] for label, probability in video.top5], ensure_ascii=False),
    }


def _to_dict(video: VideoResult, *, has_segments: bool) -> dict[str, Any]:
    """Fields for JSON and CSV, where `num_views` is called `views`."""
    fields = {_OUTPUT_KEYS.get(name, name): value for name, value in asdict(video).items()}
    return _named({**fields, "top5": [list(pair) for pair in video.top5]}, has_segments=has_segments)


def _named(fields: Mapping[str, Any], *, has_segments: bool) -> dict[str, Any]:
    """The fields with `start` and `end` after `path` in place of the segment; without them if there are no segments."""
    start, end = fields.get("segment") or (None, None)
    times = {"start": start, "end": end} if has_segments else {}
    others = {name: value for name, value in fields.items() if name not in ("path", "segment")}
    return {"path": fields["path"], **times, **others}


def _or_none(accuracy: float) -> float | None:
    return None if np.isnan(accuracy) else float(accuracy)
