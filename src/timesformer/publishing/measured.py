"""Accuracy that a card reports, from an evaluation or from its JSON form."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from timesformer.bounds import read_bounded_text
from timesformer.errors import ConfigError, DataError
from timesformer.evaluation.intervals import IntervalMethod, describe_method, format_interval
from timesformer.evaluation.metrics import wilson_interval
from timesformer.evaluation.result import Evaluation

_MOST_BYTES = 2**30
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Class(BaseModel):
    name: str
    recall: Fraction | None
    support: int


class _Calibration(BaseModel):
    model_config = ConfigDict(extra="ignore")
    ece: Fraction


class _Stored(BaseModel):
    """What is read of `timesformer evaluate --json`."""

    model_config = ConfigDict(extra="ignore")
    top1: Fraction
    top1_interval: tuple[Fraction, Fraction]
    top1_interval_method: IntervalMethod
    num_groups: int
    group_kind: str = "group"
    top5: Fraction
    mean_class: Fraction
    num_videos: int
    protocol: str
    calibration: _Calibration
    skipped: list[Any]
    class_names: list[str]
    classes: list[_Class]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassAccuracy:
    """Recall of one class over `support` videos, with its 95 % interval."""

    name: str
    recall: float
    interval: tuple[float, float]
    support: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An evaluation, as far as a card reports it. Accuracies are fractions, 0 to 1."""

    data: str
    """Name of the evaluated data set."""
    top1: float
    top1_interval: tuple[float, float]
    interval: str
    """`top1_interval` and its method, as text."""
    interval_method: str
    top5: float
    mean_class: float
    calibration_error: float
    num_videos: int
    num_groups: int
    num_skipped: int
    protocol: str
    classes: tuple[ClassAccuracy, ...]
    """Classes that have videos, in index order."""


def measured(evaluation: Evaluation, *, data: str) -> Measured:
    """What a card reports of an evaluation.

    Args:
        evaluation: The evaluation.
        data: Name of the evaluated data set.
    """
    return _measured(_Stored.model_validate(evaluation.to_dict()), data=data)


def read_measured(path: Path, *, data: str, labels: Sequence[str]) -> Measured:
    """Accuracy from a file that `timesformer evaluate --json` wrote.

    Args:
        path: The file.
        data: Name of the evaluated data set.
        labels: Names of the model's classes; those of the evaluation must be equal.

    Raises:
        DataError: The file cannot be read, or is not such a file.
        ConfigError: The evaluation is of a model with other classes.
    """
    stored = _read(path)
    if list(labels) != stored.class_names:
        raise ConfigError(
            f"{path}: evaluates a model with other classes: {_short(stored.class_names)} instead of {_short(labels)}"
        )
    return _measured(stored, data=data)


def _read(path: Path) -> _Stored:
    try:
        values = json.loads(read_bounded_text(path, most=_MOST_BYTES, error=DataError))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is not JSON: {error}") from error
    try:
        return _Stored.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg'].lower()}" if place else "it is not an object"
        raise DataError(f"{path}: is not the output of `timesformer evaluate --json`: {reason}") from error


def _measured(stored: _Stored, *, data: str) -> Measured:
    text = describe_method(
        stored.top1_interval_method, num_groups=stored.num_groups, num_alone=0, kind=stored.group_kind
    )
    return Measured(
        data=data,
        top1=stored.top1,
        top1_interval=stored.top1_interval,
        interval=f"{format_interval(*stored.top1_interval)} ({text})",
        interval_method=stored.top1_interval_method,
        top5=stored.top5,
        mean_class=stored.mean_class,
        calibration_error=stored.calibration.ece,
        num_videos=stored.num_videos,
        num_groups=stored.num_groups,
        num_skipped=len(stored.skipped),
        protocol=stored.protocol,
        classes=tuple(_class(each) for each in stored.classes if each.support and each.recall is not None),
    )


def _class(stored: _Class) -> ClassAccuracy:
    recall = stored.recall or 0.0
    low, high = wilson_interval(recall, num_trials=stored.support)
    return ClassAccuracy(name=stored.name, recall=recall, interval=(low, high), support=stored.support)


def _short(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{len(names)} ({shown}, ...)" if len(names) > 3 else f"{len(names)} ({shown})"
