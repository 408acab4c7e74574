"""Every error that a user can cause, as a small tree.

    TimeSformerError
    ├── ConfigError       a configuration value, key or combination that cannot work
    ├── DataError         a manifest, label or data folder that cannot be used
    ├── DecodeError       a file that holds no video, or whose frames cannot be decoded
    │   └── CodecError    a video whose codec is decoded only where it is asked for
    ├── WeightsError      weights that do not fit, are unreadable or unexplained
    └── DependencyError   an optional dependency that is not installed

Each message says what was given, what is allowed, and where the value came from.
"""

import difflib
from collections.abc import Iterable

from timesformer.names import are_alike, tell_apart


class TimeSformerError(Exception):
    """Base of all errors raised on purpose by this package."""


class ConfigError(TimeSformerError, ValueError):
    """A configuration value, key or combination of them cannot work."""


class DataError(TimeSformerError, ValueError):
    """A manifest, a label or a data folder cannot be used."""


class DecodeError(TimeSformerError):
    """A file holds no video stream, or the wanted frames cannot be decoded; the message names the file."""


class CodecError(DecodeError):
    """A video's codec is not among those that may be decoded; `codec` is FFmpeg's name of it."""

    def __init__(self, message: str, *, codec: str = "") -> None:
        super().__init__(message)
        self.codec = codec


class WeightsError(TimeSformerError, ValueError):
    """Weights are unreadable, do not fit the model, or hold something that nothing explains."""


class DependencyError(TimeSformerError, ImportError):
    """An optional dependency is missing; the message names the extra that installs it."""


def closest(given: str, known: Iterable[str]) -> str | None:
    """The known name that a mistyped one most likely stands for, for a message; None where nothing is near."""
    known = list(known)
    alike = (name for name in known if are_alike(given, name))
    return next(alike, None) or next(iter(difflib.get_close_matches(given, known, n=1)), None)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The end of a message about a mistyped name, which suggests the nearest known one; empty where nothing is near.

    A suggestion that prints like what was given is shown with its code points.
    """
    close = closest(given, known)
    return f"; did you mean {tell_apart(given, close)[1]}?" if close else ""
