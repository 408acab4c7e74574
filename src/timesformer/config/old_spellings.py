"""Keys and values that earlier versions spelled otherwise: read everywhere, never written."""

from collections.abc import Mapping
from typing import Any, TypeVar

from timesformer.errors import ConfigError

T = TypeVar("T")

KEYS: Mapping[str, str] = {"licence": "license", "crop_spread": "crop_jitter"}
"""Today's name of a key, by its old one."""

VALUES: Mapping[str, Mapping[str, str]] = {
    "sampling": {"centre": "center"},
    "scheme": {"sparse_local_global_centred": "sparse_local_global_centered"},
}
"""Today's name of a value, by its key and its old name."""


def current_key(key: str) -> str:
    """The key of today for a dotted key; other keys stay."""
    section, dot, last = key.rpartition(".")
    return f"{section}{dot}{KEYS.get(last, last)}"


def current_value(key: str, value: T) -> T:
    """The value of today for one of `key`, dotted or not; other values stay."""
    known = VALUES.get(key.rpartition(".")[2], {})
    return known.get(value, value) if isinstance(value, str) else value


def current(values: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """A table of a configuration, and the tables in it, with the keys and values of today.

    Raises:
        ConfigError: A key is given by both of its names.
    """
    table: dict[str, Any] = {}
    for old, value in values.items():
        key = current_key(old)
        if key in values and key != old:
            raise ConfigError(f"{source}: {old} is the old name of {key}; give one of them")
        table[key] = current(value, source=source) if isinstance(value, Mapping) else current_value(key, value)
    return table
