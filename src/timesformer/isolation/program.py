"""What runs in a child process. It imports the module of its target and nothing else of weight."""

import contextlib
import faulthandler
import os
import pickle
import signal
import socket
import time
import traceback
import warnings
from collections.abc import Callable, Generator
from functools import partial
from importlib import import_module
from typing import IO, Any

from timesformer.errors import TimeSformerError
from timesformer.isolation.limits import Limits, apply_limits, die_with_parent, limit_processor_time
from timesformer.isolation.messages import Kind, fill, read_message, write_message
from timesformer.isolation.progress import on_progress

PROGRAM = """
import sys
sys.path[:] = {path!r}
from timesformer.isolation import program
getattr(program, sys.argv[1])(*sys.argv[2:])
"""
"""Program of a new process, with the module path of its parent; its arguments are a function of this module and the
function's arguments."""
FORK = b"fork"
"""Request to a fork server, with a socket for the child and a pipe for its stderr; the response is the child's id."""
_REPORT_EVERY_S = 0.5


def resolve(target: str) -> Callable[..., Any]:
    """Import the function that `module:function` names."""
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def serve_forks(target: str, control: str) -> None:
    """Import a target, then fork a child per request, until the requests end.

    Nothing but imports runs here, so that no thread or lock is forked in an undefined state.

    Args:
        target: Function as `module:function`.
        control: Descriptor of the socket of the requests.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the parent handles Ctrl-C
    with contextlib.suppress(Exception):  # the error is raised again, and told, in each child
        resolve(target)
    with socket.socket(fileno=int(control)) as requests:
        while True:
            request, descriptors, _, _ = socket.recv_fds(requests, 64, 2)
            if not request:
                os._exit(0)  # at once: the end of an interpreter with torch takes a while, and nothing is left to do
            requests.send(str(_fork(target, requests, *descriptors) if request == FORK else _reap(request)).encode())


def _fork(target: str, requests: socket.socket, channel: int, stderr: int) -> int:
    parent = os.getpid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's threads handle a fork
        child = os.fork()
    if child == 0:
        try:
            die_with_parent(parent)
            requests.close()
            os.dup2(stderr, 2)
            os.dup2(stderr, 1)  # prints of libraries
            os.close(stderr)
            _serve_socket(target, channel)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)  # never back into the loop of the fork server
    os.close(channel)
    os.close(stderr)
    return child


def _reap(request: bytes) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(int(request), 0)[1])


def serve_alone(target: str) -> None:
    """Serve calls in a process of its own: requests come from stdin, responses go to stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests, responses = os.dup(0), os.dup(1)
    os.dup2(2, 1)  # prints of libraries must not mix with the responses
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    with open(requests, "rb", buffering=0) as calls, open(responses, "wb", buffering=0) as results:
        _serve(target, calls, results)


def _serve_socket(target: str, channel: int) -> None:
    with open(channel, "rb", buffering=0) as requests, open(os.dup(channel), "wb", buffering=0) as responses:
        _serve(target, requests, responses)


def _serve(target: str, requests: IO[bytes], responses: IO[bytes]) -> None:
    faulthandler.enable(all_threads=False)
    reporter = _Reporter(responses)
    on_progress(reporter.report)
    with contextlib.suppress(EOFError, ConnectionError):  # the parent has ended
        limits, function = _prepare(target, requests, responses)
        while function is not None:
            _, (args, kwargs) = read_message(partial(fill, requests))
            reporter.restart()
            limit_processor_time(limits.cpu_s)
            try:
                _respond(function(*args, **kwargs), responses)
            except Exception as error:
                write_message(responses, Kind.ERROR, _sendable(error))


def _prepare(target: str, requests: IO[bytes], responses: IO[bytes]) -> tuple[Limits, Callable[..., Any] | None]:
    """Take on the limits and call the target: the limits and the function of the calls, None if there is none."""
    _, (limits, setup) = read_message(partial(fill, requests))
    try:
        prepare = resolve(target)
        apply_limits(limits)
        function = prepare(*setup)
    except Exception as error:
        write_message(responses, Kind.ERROR, _sendable(error))
        return limits, None
    write_message(responses, Kind.RETURN, None)
    return limits, function


def _respond(result: Any, responses: IO[bytes]) -> None:
    if isinstance(result, Generator):
        for value in result:
            write_message(responses, Kind.VALUE, value)
        result = None
    write_message(responses, Kind.RETURN, result)


def _sendable(error: Exception) -> Exception:
    """The error, with its traceback as a note if nobody expects it; if it cannot be pickled, one that says the same."""
    if not isinstance(error, TimeSformerError):
        error.add_note("".join(traceback.format_exception(error)).rstrip())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class does
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _Reporter:
    """Tells the parent that a call makes progress, at most twice a second."""

    def __init__(self, responses: IO[bytes]) -> None:
        self._responses = responses
        self.restart()

    def restart(self) -> None:
        """Begin a call."""
        self._next_s = time.monotonic() + _REPORT_EVERY_S

    def report(self) -> None:
        """Report progress, unless that was done a moment ago."""
        if time.monotonic() >= self._next_s:
            write_message(self._responses, Kind.ALIVE, None)
            self.restart()
