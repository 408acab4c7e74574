"""The errors that a user can cause.

    TimeSformerError
    ├── ConfigError       a configuration value, key or combination that is invalid
    ├── DataError         a manifest, label or data folder that cannot be used
    ├── DecodeError       a file that holds no video, or whose frames cannot be decoded
    │   └── CodecError    a video whose codec is decoded only on request
    ├── WeightsError      weights that do not fit, are unreadable or unexplained
    ├── ProcessError      a child process that crashed, hung or needed too much memory
    └── DependencyError   an optional dependency that is not installed

Each message says what was given, what is allowed, and where the value came from.
"""

import difflib
from collections.abc import Iterable

from timesformer.names import are_alike, tell_apart


class TimeSformerError(Exception):
    """Base of all errors raised on purpose by this package."""


class ConfigError(TimeSformerError, ValueError):
    """A configuration value, key or combination is invalid."""


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
    """Weights are unreadable, do not fit the model, or hold tensors that nothing explains."""


class ProcessError(TimeSformerError):
    """A child process crashed, hung or needed more memory than it may use; the message says how it ended."""

    def __init__(self, message: str, *, signal: str = "", stderr: str = "") -> None:
        super().__init__(message)
        self.signal = signal
        """Name of the signal that ended the process, such as `SIGSEGV`; empty if none did, or if it was killed for
        its limits."""
        self.stderr = stderr
        """Last lines that the process wrote to stderr."""


class DependencyError(TimeSformerError, ImportError):
    """An optional dependency is missing; the message names the extra that installs it."""


def closest(given: str, known: Iterable[str]) -> str | None:
    """The known name closest to a mistyped one; None if none is close."""
    known = list(known)
    alike = (name for name in known if are_alike(given, name))
    return next(alike, None) or next(iter(difflib.get_close_matches(given, known, n=1)), None)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """The suggestion at the end of a message about a mistyped name; empty if no known name is close.

    A suggestion that looks like the given name is shown with its code points.
    """
    close = closest(given, known)
    return f"; did you mean {tell_apart(given, close)[1]}?" if close else ""
