"""Ids of items: equal for the same video, segment, model and settings, and different otherwise."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt64

from timesformer.jobs.item import Item
from timesformer.jobs.task import Task


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings as JSON, in one spelling."""
    return json.dumps(settings, sort_keys=True, allow_nan=False)


def salt(task: Task) -> bytes:
    """What an id depends on besides its item: verb, model and settings."""
    parts = (task.verb, task.model_sha256, settings_text(task.settings))
    return hashlib.sha256("\0".join(parts).encode()).digest()


def item_id(item: Item, salt: bytes) -> str:
    """The id of an item: 64 hexadecimal digits.

    Args:
        item: The item.
        salt: That of its task.
    """
    return _digest(item, salt).hexdigest()


def short_id(item: Item, salt: bytes) -> int:
    """The first 8 bytes of an id as a number."""
    return int.from_bytes(_digest(item, salt).digest()[:8], "big")


def shortened(ids: list[str]) -> UInt64[np.ndarray, " n"]:
    """The first 8 bytes of ids as numbers."""
    return np.array([int(text[:16], 16) for text in ids], dtype=np.uint64)


def _digest(item: Item, salt: bytes) -> "hashlib._Hash":
    times = (b"" if time is None else repr(float(time)).encode() for time in (item.start, item.end))
    return hashlib.sha256(b"\0".join((os.fsencode(item.path), *times, salt)))
