"""`Thresholds`: when a class begins and ends in a timeline, for all classes and for single ones."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

from timesformer.config.checks import check_not_negative, refuse
from timesformer.errors import ConfigError, did_you_mean


class ClassThresholds(NamedTuple):
    """The thresholds of one class."""

    onset: float
    offset: float
    min_on: float
    min_off: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When a class begins and ends in a timeline.

    In overlapping mode a class is on from where its probability reaches `onset` to where it falls below `offset`;
    then pauses shorter than `min_off` are filled, and after that segments shorter than `min_on` are removed. In
    exclusive mode only `min_on` and `min_off` count.

    Raises:
        ConfigError: A value is out of its range, `offset` is greater than `onset`, or `per_class` holds another name.
    """

    onset: float = 0.6
    """Probability at which a segment starts, from 0 (excluded) to 1."""
    offset: float = 0.4
    """Probability below which it ends, from 0 (excluded) to `onset`."""
    min_on: float = 0.5
    """Shortest segment, in seconds."""
    min_off: float = 0.5
    """Shortest pause between two segments of a class, in seconds; in exclusive mode the shortest background."""
    per_class: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Other values for single classes, by class name: `{"wave": {"onset": 0.8}}`."""

    def __post_init__(self) -> None:
        per_class = {label: dict(values) for label, values in self.per_class.items()}
        object.__setattr__(self, "per_class", per_class)
        _check(self._common())
        for label, values in per_class.items():
            unknown = next((name for name in values if name not in NAMES), None)
            if unknown is not None:
                raise ConfigError(
                    f"thresholds of class {label!r}: {unknown!r} is not one of {', '.join(NAMES)}"
                    f"{did_you_mean(unknown, NAMES)}"
                )
            _check(self.of(label), label=label)

    def of(self, label: str) -> ClassThresholds:
        """The thresholds of a class."""
        return self._common()._replace(**self.per_class.get(label, {}))

    def to_dict(self) -> dict[str, Any]:
        """The same as plain numbers and dictionaries, ready for JSON; without `per_class` if it is empty."""
        values = asdict(self)
        return values if self.per_class else {name: values[name] for name in NAMES}

    def _common(self) -> ClassThresholds:
        return ClassThresholds(self.onset, self.offset, self.min_on, self.min_off)


NAMES = tuple(each.name for each in fields(Thresholds) if each.name != "per_class")
"""Names of the four values."""


def check_classes(thresholds: Thresholds, classes: tuple[str, ...]) -> None:
    """Refuse thresholds of a class that the model does not have.

    Raises:
        ConfigError: A name in `per_class` is not among `classes`.
    """
    for label in thresholds.per_class:
        if label not in classes:
            raise ConfigError(
                f"thresholds: the model has no class {label!r}, only {len(classes)} others"
                f"{did_you_mean(label, classes)}"
            )


def _check(values: ClassThresholds, *, label: str = "") -> None:
    where = f"thresholds of class {label!r}: " if label else ""
    for name in ("onset", "offset"):
        value = getattr(values, name)
        refuse(
            not _is_number(value) or not 0 < value <= 1, f"{where}{name}={value!r} must be greater than 0, at most 1"
        )
    for name in ("min_on", "min_off"):
        value = getattr(values, name)
        refuse(not _is_number(value), f"{where}{name}={value!r} must be a number of seconds")
        check_not_negative(f"{where}{name}", value)
    refuse(
        values.offset > values.onset,
        f"{where}offset={values.offset:g} must be at most onset={values.onset:g}: a class would end before it starts",
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
