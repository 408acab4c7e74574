"""Checks of configuration values, with one wording each."""

import math
import operator
from typing import get_args

from timesformer.errors import ConfigError
from timesformer.files import is_utf8, printable

MOST_WORKERS = 1000
"""Limit of decoding processes; each is a full Python process."""
MOST_IN_BATCH = 2**31 - 1
MOST_SEED = 2**64 - 1
"""The largest seed that torch accepts."""


def refuse(condition: bool, message: str) -> None:
    """Raise a `ConfigError` if the condition holds."""
    if condition:
        raise ConfigError(message)


def check_choice(name: str, value: object, choices: object) -> None:
    """Refuse a value that is not one of a `Literal`."""
    allowed = get_args(choices)
    refuse(value not in allowed, f"{name}={value!r} is not one of {', '.join(map(repr, allowed))}")


def check_positive(name: str, value: float) -> None:
    """Refuse a number that is not finite and greater than 0."""
    refuse(not 0 < value < math.inf, f"{name}={value} must be greater than 0, and finite")


def check_not_negative(name: str, value: float) -> None:
    """Refuse a number that is not finite or is less than 0."""
    refuse(not 0 <= value < math.inf, f"{name}={value} must be finite and not negative")


def check_range(name: str, value: float, least: float, most: float, *, unit: str = "") -> None:
    """Refuse a number outside `least` to `most`, both included."""
    refuse(not least <= value <= most, f"{name}={value} must lie between {least} and {most}{unit}")


def check_factor(name: str, value: float) -> None:
    """Refuse a number outside 0 (excluded) to 1 (included)."""
    refuse(not 0 < value <= 1, f"{name}={value} must be greater than 0 and at most 1")


def check_at_most(name: str, value: float, most: float) -> None:
    """Refuse a number above every model's and video's, which would only overflow later."""
    refuse(value > most, f"{name}={str(value)[:20]} must be at most {most}")


def check_count(name: str, value: object, *, least: int = 1, most: int = 2**63 - 1) -> None:
    """Refuse anything but a whole number from `least` to `most`, both included."""
    try:
        number = operator.index(value)  # ty: ignore[invalid-argument-type]
    except TypeError as error:
        raise ConfigError(f"{name}={value!r} is not a whole number") from error
    refuse(isinstance(value, bool), f"{name}={value} is not a whole number")
    refuse(number < least, f"{name}={value} must {f'be at least {least}' if least else 'not be negative'}")
    check_at_most(name, number, most)


def check_probability(name: str, value: float) -> None:
    """Refuse a number outside 0 (included) to 1 (excluded)."""
    refuse(not 0.0 <= value < 1.0, f"{name}={value} must be at least 0 and less than 1")


def check_utf8(name: str, value: str) -> None:
    """Refuse a path that a configuration file, which is UTF-8, cannot hold."""
    refuse(
        not is_utf8(value),
        f"{name}='{printable(value)}' is not UTF-8, which run files require: rename it first",
    )
