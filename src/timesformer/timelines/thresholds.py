"""The thresholds of a timeline: those given in a call, else those stored with the model, else the defaults."""

from collections.abc import Mapping
from dataclasses import replace

from timesformer.config.thresholds import NAMES, Thresholds, check_classes
from timesformer.errors import ConfigError

Threshold = float | Mapping[str, float] | None
"""One value for all classes, a value per class name for some, or None for that of the model."""


def merge_thresholds(
    stored: Thresholds | None,
    *,
    classes: tuple[str, ...],
    onset: Threshold = None,
    offset: Threshold = None,
    min_on: Threshold = None,
    min_off: Threshold = None,
) -> Thresholds:
    """Thresholds of the model, or the defaults, with some values replaced.

    One value for all classes replaces the stored values of single classes, too.

    Args:
        stored: Thresholds of the model; None takes the defaults.
        classes: Class names of the model.
        onset: As `Thresholds.onset`, or values of single classes.
        offset: As `Thresholds.offset`, or values of single classes.
        min_on: As `Thresholds.min_on`, or values of single classes.
        min_off: As `Thresholds.min_off`, or values of single classes.

    Raises:
        ConfigError: A value is out of range, or the model does not have a class.
    """
    base = stored or Thresholds()
    common: dict[str, float] = {}
    per_class = {label: dict(values) for label, values in base.per_class.items()}
    for name, value in zip(NAMES, (onset, offset, min_on, min_off), strict=True):
        if isinstance(value, Mapping):
            for label, own in value.items():
                per_class.setdefault(label, {})[name] = own
        elif value is not None:
            common[name] = value
            for values in per_class.values():
                values.pop(name, None)
    merged = replace(base, **common, per_class={label: values for label, values in per_class.items() if values})
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


BACKGROUND = "background"
"""The class that stands for none of the others; it gives no segments."""
