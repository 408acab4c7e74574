"""Result of a curve over numbers of training videos: its points, the gain of the last doubling, and what it means."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from timesformer.evaluation.intervals import difference_interval, format_interval
from timesformer.evaluation.result import Evaluation

_SMALL = 0.02
"""Gain that hardly anybody would make videos for."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CurvePoint:
    """Accuracy with a part of the training videos."""

    percentage: int
    """Part of the training videos, in percent."""
    num_train: int
    """Videos or segments that the model was trained on; with folds, their mean."""
    num_groups: int
    """Groups among them; 0 if they have none."""
    evaluation: Evaluation
    """All measures; its interval is over groups, if the evaluated videos have groups."""
    seconds: float
    """Time for training and evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VideoCurve:
    """Accuracy over the number of training videos, on the same videos."""

    folder: Path
    points: tuple[CurvePoint, ...]
    """The points, the smallest part first; each has about twice the videos of the one before."""
    gain: float
    """Accuracy with all training videos minus that with half of them."""
    gain_interval: tuple[float, float]
    """95 % interval of `gain`, over groups if the evaluated videos have groups."""
    unit: str
    """What the parts consist of: `groups`, `videos of the same groups` or `videos`."""
    num_folds: int
    """Folds of each point; 0 for one run each."""
    chooses: bool
    """Whether the runs chose their epoch by validation videos."""

    def describe(self) -> str:
        """What more videos would give, in a sentence."""
        before, now = self.points[-2:]
        low, high = self.gain_interval
        told = f"{100 * self.gain:+.1f} points, 95 % interval {100 * low:+.1f} to {100 * high:+.1f}"
        of = [f" of {point.num_groups} groups" if self.unit == "groups" else "" for point in (now, before)]
        counts = f"{now.num_train} training videos{of[0]} instead of {before.num_train}{of[1]}"
        if low > 0:
            errors = [1 - point.evaluation.top1 for point in (before, now)]
            return (
                f"{counts} gave {told}: more {self.unit} help; if errors keep falling at that rate, twice as many "
                f"again give about {1 - errors[1] ** 2 / errors[0]:.0%}."
            )
        if high < _SMALL:
            return f"{counts} gave no gain ({told}): more {self.unit} of this kind will hardly help."
        evaluation = now.evaluation
        groups = f" of {evaluation.num_groups} groups" if evaluation.num_groups else ""
        advice = "" if self.num_folds else "; with folds all videos are evaluated"
        return (
            f"{counts} gave {told}: whether more {self.unit} help cannot be told from the {evaluation.num_videos} "
            f"videos{groups} of the evaluation{advice}."
        )

    def describe_choice(self) -> str:
        """What the epochs were chosen by, as text."""
        if not self.chooses:
            return "nothing was chosen by validation"
        if self.num_folds:
            return "each run chose its epoch by videos held out inside its training part"
        return (
            "each run chose its epoch by the videos of this evaluation, so all points are a little too high; keep "
            "'last' or folds avoid that"
        )

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values for JSON."""
        points = [
            {
                "percentage": point.percentage,
                "num_train": point.num_train,
                "num_groups": point.num_groups,
                "top1": point.evaluation.top1,
                "top1_interval": list(point.evaluation.top1_interval),
                "top1_interval_method": point.evaluation.top1_interval_method,
                "num_videos": point.evaluation.num_videos,
                "minutes": round(point.seconds / 60, 2),
            }
            for point in self.points
        ]
        return {
            "run": str(self.folder),
            "points": points,
            "gain": self.gain,
            "gain_interval": list(self.gain_interval),
            "unit": self.unit,
            "num_folds": self.num_folds,
            "choice": self.describe_choice(),
            "conclusion": self.describe(),
        }


def compare(points: Sequence[CurvePoint], *, folder: Path, unit: str, num_folds: int, chooses: bool) -> VideoCurve:
    """The curve of points that were evaluated on the same videos; arguments as the fields of `VideoCurve`."""
    half, whole = (
        {(video.path, video.segment): video for video in point.evaluation.predictions} for point in points[-2:]
    )
    both = [(half[key], whole[key]) for key in half if key in whole]
    before, after = (np.array([pair[place].rank == 1 for pair in both], dtype=bool) for place in (0, 1))
    return VideoCurve(
        folder=folder,
        points=tuple(points),
        gain=float(after.mean() - before.mean()),
        gain_interval=difference_interval(before, after, groups=[video.unit for video, _ in both]),
        unit=unit,
        num_folds=num_folds,
        chooses=chooses,
    )


def format_curve(curve: VideoCurve) -> str:
    """The curve as a table, and the sentence."""
    lines = ["part    trained on  groups   top-1  95 % interval        minutes"]
    for point in curve.points:
        low_high = format_interval(*point.evaluation.top1_interval)
        groups = str(point.num_groups) if point.num_groups else "–"
        lines.append(
            f"{f'{point.percentage} %':<6}{point.num_train:>12}{groups:>8}{point.evaluation.top1:>8.1%}  {low_high:<19}"
            f"{point.seconds / 60:>9.1f}"
        )
    evaluation = curve.points[-1].evaluation
    kind = "" if evaluation.has_segments else " videos"
    lines += [
        f"evaluated on       {evaluation.describe_size()}{kind}",
        f"choice             {curve.describe_choice()}",
        curve.describe(),
    ]
    return "\n".join(lines)
