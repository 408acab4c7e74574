"""Hooks of schemathesis, which loads them by `SCHEMATHESIS_HOOKS`: whole and damaged clips as bodies."""

import os
from pathlib import Path

import schemathesis
from hypothesis import strategies

from serve_schema import CLIP


def bodies(clip: bytes) -> strategies.SearchStrategy[bytes]:
    """The clip, its first half, the clip with a byte changed, and any bytes."""
    changed = strategies.integers(0, len(clip) - 1).map(lambda at: clip[:at] + bytes([clip[at] ^ 255]) + clip[at + 1 :])
    return strategies.one_of(
        strategies.just(clip), strategies.just(clip[: len(clip) // 2]), changed, strategies.binary(min_size=1)
    )


for kind in ("video/mp4", "application/octet-stream"):
    schemathesis.openapi.media_type(kind, bodies(Path(os.environ[CLIP]).read_bytes()))
