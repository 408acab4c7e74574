"""Which live source a text names: a camera number, or the address of a network stream."""

import math
import time
from collections.abc import Callable, Collection
from functools import partial

from timesformer.data.video.codecs import allowed_codecs
from timesformer.data.video.live_address import access_to, has_scheme
from timesformer.data.video.live_camera import connect_camera
from timesformer.data.video.live_feed import LiveFeed
from timesformer.data.video.live_network import connect_network
from timesformer.errors import ConfigError
from timesformer.files import without_secrets

TIMEOUT_S = 5.0
"""Default of the longest time without a frame, in seconds."""
_MOST_S = 86400.0


def is_live(source: str) -> bool:
    """Whether a text names a live source: it is a number, or an address of any scheme."""
    return (source.isascii() and source.isdecimal()) or has_scheme(source)


def open_live(
    source: str,
    *,
    timeout: float = TIMEOUT_S,
    max_gap: float = math.inf,
    duration: float = math.inf,
    num_threads: int = 1,
    allow_codecs: Collection[str] = (),
    on_note: Callable[[str], None] = lambda text: None,
) -> LiveFeed:
    """The feed of a live source, for a `with` statement; nothing is opened before it is entered.

    Credentials in the address are in no message and no result.

    Args:
        source: Number of a camera, from 0, or an address of a scheme in `timesformer.data.video.live_address.SCHEMES`.
        timeout: Time without a frame after which a stream counts as cut, in seconds.
        max_gap: See `LiveFeed`, as for `duration` and `on_note`.
        duration: See `LiveFeed`.
        num_threads: Decoding threads; 0 means one per core.
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`; no effect on cameras.
        on_note: See `LiveFeed`.

    Raises:
        ConfigError: The source is neither, the address is one that is not read, or a value is out of range.
    """
    _check("timeout", timeout, least=0.001, most=_MOST_S)
    _check("max_gap", max_gap, least=0, most=math.inf)
    _check("duration", duration, least=0.001, most=math.inf)
    allowed_codecs(allow_codecs)
    now = time.monotonic
    if has_scheme(source):
        access_to(source)
        connect = partial(connect_network, source, timeout=timeout, now=now, num_threads=num_threads,
                          allow_codecs=allow_codecs)  # fmt: skip
    elif is_live(source):
        connect = partial(connect_camera, int(source), timeout=timeout, now=now)
    else:
        raise ConfigError(f"{without_secrets(source)!r} is neither the number of a camera nor an address")
    path = without_secrets(source) if has_scheme(source) else f"camera {int(source)}"
    return LiveFeed(connect, path=path, max_gap=max_gap, duration=duration, on_note=on_note, now=now)


def _check(name: str, value: float, *, least: float, most: float) -> None:
    if not least <= value <= most:
        limit = f" and at most {most:g}" if math.isfinite(most) else ""
        raise ConfigError(f"{name}={value:g} must be at least {least:g}{limit} seconds")
