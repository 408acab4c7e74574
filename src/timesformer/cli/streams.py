"""stdin, stdout and stderr, in any state: closed, full, gone, or of an encoding that lacks a letter."""

import io
import os
import sys
from contextlib import suppress
from typing import TextIO

_STREAMS = {"stdin": "r", "stdout": "w", "stderr": "w"}


def prepare_streams() -> None:
    """Open what is closed to nothing, and let text be escaped that an encoding lacks: a file can have any name.

    Without the first, a file that is opened later takes the number of the closed stream and gets what is printed.
    """
    for name, mode in _STREAMS.items():
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8", errors="backslashreplace"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Tell the person at the terminal something; results never go this way."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:  # nobody is left to be told
        discard(sys.stderr)


def stdout_error() -> OSError | None:
    """What is wrong with stdout, if what was printed cannot be written."""
    try:
        sys.stdout.flush()
    except OSError as error:
        return error
    return None


def finish_streams(status: int) -> int:
    """Write what is still to be written, and give the exit status, which is 1 at least where results were lost."""
    error = stdout_error()
    if error is not None:
        discard(sys.stdout)
        status = status or 1
        if not isinstance(error, BrokenPipeError):  # the reader of a pipe has had enough
            say(f"error: stdout: {error.strerror}")
    with suppress(OSError):
        sys.stderr.flush()
        return status
    discard(sys.stderr)
    return status


def discard(stream: TextIO) -> None:
    """Let a stream that cannot be written to lead to nothing: the interpreter, too, writes what is left in it."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
