"""The thresholds of a timeline: those given in a call, else those stored with the model, else the defaults."""

from collections.abc import Mapping
from dataclasses import replace

from timesformer.config.thresholds import NAMES, Thresholds, check_classes
from timesformer.data.manifest.background import BACKGROUND
from timesformer.errors import ConfigError

Threshold = float | Mapping[str, float] | None
"""One value for all classes, a value per class name for some, or None for that of the model."""


def default_thresholds(window: float) -> Thresholds:
    """Thresholds of a model that has none: those of `Thresholds`, but `min_on` and `min_off` are half a window.

    A window that shows the end of one action and the beginning of the next looks like neither; what it is taken for
    lasts less than half a window.

    Args:
        window: Length of the windows in seconds.
    """
    return Thresholds(min_on=window / 2, min_off=window / 2)


def merge_thresholds(
    stored: Thresholds,
    *,
    classes: tuple[str, ...],
    onset: Threshold = None,
    offset: Threshold = None,
    min_on: Threshold = None,
    min_off: Threshold = None,
) -> Thresholds:
    """Thresholds with some values replaced.

    One value for all classes replaces the stored values of single classes, too.

    Args:
        stored: Thresholds of the model, or the defaults.
        classes: Class names of the model.
        onset: As `Thresholds.onset`, or values of single classes.
        offset: As `Thresholds.offset`, or values of single classes.
        min_on: As `Thresholds.min_on`, or values of single classes.
        min_off: As `Thresholds.min_off`, or values of single classes.

    Raises:
        ConfigError: A value is out of range, or the model does not have a class.
    """
    common: dict[str, float] = {}
    per_class = {label: dict(values) for label, values in stored.per_class.items()}
    for name, value in zip(NAMES, (onset, offset, min_on, min_off), strict=True):
        if isinstance(value, Mapping):
            for label, own in value.items():
                per_class.setdefault(label, {})[name] = own
        elif value is not None:
            common[name] = value
            for values in per_class.values():
                values.pop(name, None)
    merged = replace(stored, **common, per_class={label: values for label, values in per_class.items() if values})
    check_classes(merged, classes)
    return merged


def refuse_without_effect(mode: str, *, classes: tuple[str, ...], given: Mapping[str, Threshold]) -> None:
    """Refuse thresholds given for a mode that does not read them.

    Raises:
        ConfigError: `onset` or `offset` in exclusive mode, or `min_off` there if the model has no background.
    """
    if mode != "exclusive":
        return
    for name in ("onset", "offset"):
        if given.get(name) is not None:
            raise ConfigError(f"{name} has no effect on mode='exclusive', only on 'overlapping'")
    if given.get("min_off") is not None and BACKGROUND not in classes:
        raise ConfigError(
            f"min_off has no effect on mode='exclusive' here: the model has no class {BACKGROUND!r}, "
            "so there are no pauses"
        )
