"""Metadata stored with the weights: preprocessing, label names, license, origin."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from timesformer.config.checks import check_positive
from timesformer.config.schema import ClipConfig
from timesformer.config.thresholds import Thresholds, check_classes
from timesformer.errors import ConfigError
from timesformer.files import is_utf8, printable


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """Metadata of a model: how it reads videos, its class names, its license.

    Raises:
        ConfigError: A label name is empty, holds a line break or is not UTF-8, or `clip_seconds` is not greater than 0,
            or `thresholds` names another class.
    """

    clip: ClipConfig = field(default_factory=ClipConfig)
    """How a video becomes clips for this model."""
    labels: tuple[str, ...] = ()
    """Class names in index order; empty if unnamed."""
    license: str = "unspecified"
    """License of the weights, as an SPDX identifier if there is one."""
    source: str = ""
    """Origin of the weights, as free text."""
    clip_seconds: float | None = None
    """Median length in seconds of the videos or segments that the model was trained on; None if unknown."""
    thresholds: Thresholds | None = None
    """Thresholds of timelines, as `evaluate_segments` chose them; None takes the defaults of `Thresholds`."""

    def __post_init__(self) -> None:
        if self.clip_seconds is not None:
            check_positive("clip_seconds", self.clip_seconds)
        object.__setattr__(self, "labels", tuple(self.labels))
        for name in ("license", "source"):  # they may contain file names, which are not always UTF-8
            object.__setattr__(self, name, printable(getattr(self, name)))
        for index, label in enumerate(self.labels):
            if not label.strip() or "\n" in label or "\r" in label:
                raise ConfigError(f"label {index} is {label!r}; a label is one line of text")
            if not is_utf8(label):
                raise ConfigError(f"label {index} is '{printable(label)}', which is not UTF-8")
        if self.thresholds is not None and self.labels:
            check_classes(self.thresholds, self.labels)

    def with_labels(self, labels: Sequence[str]) -> "ModelInfo":
        """The same with other names of the same classes; thresholds keep their classes."""
        if self.thresholds is None:
            return replace(self, labels=tuple(labels))
        names = {self.label(index): label for index, label in enumerate(labels)}
        per_class = {names.get(label, label): values for label, values in self.thresholds.per_class.items()}
        return replace(self, labels=tuple(labels), thresholds=replace(self.thresholds, per_class=per_class))

    def label(self, index: int) -> str:
        """Name of a class, or `class <index>` if it has none."""
        return self.labels[index] if index < len(self.labels) else f"class {index}"
