"""Typed reading of JSON objects that other programs wrote; an error names the file and the key."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timesformer.bounds import MAX_CONFIG_BYTES, read_bounded_text
from timesformer.errors import WeightsError

_LARGEST = 2**31 - 1  # above every size of a model; larger values only overflow later


@dataclass(frozen=True, slots=True)
class Fields:
    """The top level of a JSON file.

    Every method raises `WeightsError` if the value has another type, or is absent without a default.
    """

    path: Path
    values: Mapping[str, Any]

    def wrong(self, key: str, must: str) -> WeightsError:
        """The error for a wrong value; `must` completes "must be"."""
        return WeightsError(f"{self.path}: {key}={show(self.values.get(key))} must be {must}")

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number from 1."""
        value = self._get(key, default)
        if not is_size(value):
            raise self.wrong(key, "a whole number from 1")
        return value

    def square(self, key: str, default: int | None = None) -> tuple[int, int]:
        """Height and width from 1; a single number stands for both."""
        value = self._get(key, default)
        sides = value if isinstance(value, list) else [value, value]
        if len(sides) != 2 or not all(map(is_size, sides)):
            raise self.wrong(key, "a whole number from 1, or a list of two")
        return sides[0], sides[1]

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        value = as_number(self._get(key, default))
        if value is None:
            raise self.wrong(key, "a finite number")
        return value

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """True or false; 0 and 1 stand for them."""
        value = self._get(key, default)
        if not isinstance(value, bool | int) or value not in (0, 1):
            raise self.wrong(key, "true or false")
        return bool(value)

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a string")
        return value

    def channels(self, key: str, default: tuple[float, float, float]) -> tuple[float, float, float]:
        """A finite number for each of three channels; a single number stands for all three."""
        value = self._get(key, list(default))
        numbers = [as_number(item) for item in (value if isinstance(value, list) else [value] * 3)]
        if len(numbers) != 3 or None in numbers:
            raise self.wrong(key, "a finite number, or a list of three")
        red, green, blue = (number for number in numbers if number is not None)
        return red, green, blue

    def _get(self, key: str, default: Any) -> Any:
        if key not in self.values and default is None:
            raise WeightsError(f"{self.path}: has no {key!r}")
        return self.values.get(key, default)


def is_size(value: object) -> bool:
    """Whether a JSON value is a size: a whole number from 1 to 2**31 - 1."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _LARGEST


def as_number(value: object) -> float | None:
    """A JSON number as a float; None for anything else, nan and infinity included."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= 1e300:
        return None
    return float(value)


def as_index(text: str) -> int | None:
    """A whole number from 0 written as text; None for other text."""
    return int(text) if re.fullmatch(r"\s*[0-9]{1,9}\s*", text) else None


def show(value: object) -> str:
    """A value for a message: JSON, cut to 80 characters."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        WeightsError: The file is missing or is not a JSON object.
    """
    try:
        content = json.loads(read_bounded_text(path, most=MAX_CONFIG_BYTES, error=WeightsError))
    except WeightsError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON, too long a number
        raise WeightsError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds a {type(content).__name__}, expected a JSON object")
    return content
