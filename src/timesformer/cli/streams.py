"""stdin, stdout and stderr in any state: closed, full, gone, or in an encoding that lacks a character."""

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

from timesformer.files import without_secrets

STDIN = "/dev/stdin"
"""Path of stdin, which `-` stands for."""
_STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}


def prepare_streams() -> None:
    """Open closed streams to the null device, and escape characters that an encoding lacks (in file names, say).

    Otherwise a file opened later would get the number of a closed stream, and with it everything that is printed.
    """
    for name, mode in _STREAMS.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8", errors="backslashreplace"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print a message to stderr, without the credentials of addresses in it; results go to stdout."""
    try:
        print(without_secrets(text), file=sys.stderr, flush=True)
    except OSError:  # stderr is gone, too
        discard(sys.stderr)


def stdout_error() -> OSError | None:
    """The error of stdout, if its buffer cannot be written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return error
    return None


def finish_streams(status: int) -> int:
    """Flush the streams and return the exit status, which is at least 1 if results were lost."""
    error = stdout_error()
    if error is not None:
        discard(sys.stdout)
        status = status or 1
        if not isinstance(error, BrokenPipeError):  # the reader of the pipe has gone
            say(f"error: stdout: {error.strerror}")
    with suppress(OSError):
        sys.stderr.flush()
        return status
    discard(sys.stderr)
    return status


def discard(stream: TextIO) -> None:
    """Redirect a broken stream to the null device, because the interpreter flushes it at exit."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
