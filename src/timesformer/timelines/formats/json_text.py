"""JSON files."""

import json
from typing import Any

from timesformer.files import is_utf8


def to_json(value: Any) -> str:
    """Indented JSON, in ASCII if a file name in it is not UTF-8."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, indent=1)
    return f"{text if is_utf8(text) else json.dumps(value, allow_nan=False, indent=1)}\n"
