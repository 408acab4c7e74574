"""Thresholds that turn a curve of probabilities into segments."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from timesformer.config.checks import check_not_negative, check_range, refuse
from timesformer.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Hysteresis of one class: where its segments start and end, and which are too short.

    Raises:
        ConfigError: A probability is not from 0 to 1, `offset` is above `onset`, or a duration is negative.
    """

    onset: float = 0.6
    """Probability at which a segment starts, 0 to 1."""
    offset: float = 0.4
    """Probability below which a segment ends, 0 to `onset`."""
    min_on: float = 0.5
    """Shortest segment in seconds; shorter ones are left out."""
    min_off: float = 0.5
    """Shortest pause between two segments of a class in seconds; shorter ones are filled."""

    def __post_init__(self) -> None:
        check_range("onset", self.onset, 0, 1)
        check_range("offset", self.offset, 0, 1)
        refuse(self.offset > self.onset, f"offset={self.offset} must be at most onset={self.onset}")
        check_not_negative("min_on", self.min_on)
        check_not_negative("min_off", self.min_off)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassThresholds:
    """Thresholds of every class of a model, one tuple for each field of `Thresholds`, in index order.

    Empty tuples stand for a model whose thresholds were not chosen.

    Raises:
        ConfigError: The tuples differ in length, or a value is out of range; the message names the class.
    """

    onset: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    min_on: tuple[float, ...] = ()
    min_off: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in _FIELDS:
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
            count = len(getattr(self, name))
            refuse(count != len(self.onset), f"thresholds: {len(self.onset)} of onset, {count} of {name}")
        for index in range(len(self.onset)):
            try:
                self.of_class(index)
            except ConfigError as error:
                raise ConfigError(f"thresholds of class {index}: {error}") from error

    @classmethod
    def of(cls, thresholds: Iterable[Thresholds]) -> "ClassThresholds":
        """From the thresholds of each class, in index order."""
        rows = [*thresholds]
        return cls(**{name: tuple(getattr(row, name) for row in rows) for name in _FIELDS})

    def __len__(self) -> int:
        """Number of classes; 0 if no thresholds were chosen."""
        return len(self.onset)

    def of_class(self, index: int) -> Thresholds:
        """Thresholds of a class."""
        return Thresholds(**{name: getattr(self, name)[index] for name in _FIELDS})


_FIELDS = tuple(field.name for field in fields(Thresholds))
