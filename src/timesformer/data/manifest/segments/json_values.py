"""Values in JSON files of annotation tools."""

import json


def is_time(value: object) -> bool:
    """Whether a value is a finite number, such as seconds or the number of a frame."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e12


def short(value: object) -> str:
    """A value for a message, as JSON of at most 80 characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}..."
