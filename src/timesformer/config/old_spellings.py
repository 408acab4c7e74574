"""Former spellings of keys and values: read everywhere, never written."""

from collections.abc import Mapping
from typing import Any, TypeVar

from timesformer.errors import ConfigError

T = TypeVar("T")

KEYS: Mapping[str, str] = {"licence": "license", "crop_spread": "crop_jitter"}
"""Current name of a key, by its old name."""

VALUES: Mapping[str, Mapping[str, str]] = {
    "sampling": {"centre": "center"},
    "scheme": {"sparse_local_global_centred": "sparse_local_global_centered"},
}
"""Current name of a value, by its key and its old name."""


def current_key(key: str) -> str:
    """Current spelling of a dotted key; other keys are unchanged."""
    section, dot, last = key.rpartition(".")
    return f"{section}{dot}{KEYS.get(last, last)}"


def current_value(key: str, value: T) -> T:
    """Current spelling of a value of `key`, dotted or not; other values are unchanged."""
    known = VALUES.get(key.rpartition(".")[2], {})
    return known.get(value, value) if isinstance(value, str) else value


def current(values: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """A configuration table and its nested tables with current keys and values.

    Raises:
        ConfigError: A key is given under both names.
    """
    table: dict[str, Any] = {}
    for old, value in values.items():
        key = current_key(old)
        if key in values and key != old:
            raise ConfigError(f"{source}: {old} is the old name of {key}; give only one")
        table[key] = current(value, source=source) if isinstance(value, Mapping) else current_value(key, value)
    return table
