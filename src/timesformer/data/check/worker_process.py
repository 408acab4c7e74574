"""Scan files in separate processes, which import PyAV and little else.

`multiprocessing` would import the calling program in each process, which takes as long as decoding a hundred small
videos, and a forked process may hang in FFmpeg. So new processes are started: they read lists of paths, respond to each
with a list of scans, and end at the end of their input.
"""

import pickle
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from queue import SimpleQueue
from subprocess import PIPE, Popen
from threading import Thread
from types import TracebackType

from timesformer.data.check.scan import Scan
from timesformer.errors import DecodeError

_PROGRAM = """
import os, pickle, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the parent handles Ctrl-C
responses = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # prints of a library must not mix with the responses
sys.path[:] = pickle.load(sys.stdin.buffer)
from timesformer.data.check.scan import serve
serve(sys.stdin.buffer, responses, allow_codecs=sys.argv[1:])
"""
_MAX_BATCH = 4
"""Largest number of files in one request."""

_Batch = Sequence[Path]
_Response = list[Scan] | Exception


def scan_apart(
    paths: Sequence[Path], *, num_workers: int, allow_codecs: Collection[str] = ()
) -> Iterator[tuple[Path, Scan]]:
    """Scan files, each once, in order of completion.

    Args:
        paths: The files.
        num_workers: Processes, at least 1.
        allow_codecs: Codecs to decode in addition to the default ones.

    Raises:
        DecodeError: A process crashed; the message names the files it was scanning.
    """
    size = max(1, min(_MAX_BATCH, len(paths) // (8 * num_workers)))
    batches = [paths[start : start + size] for start in range(0, len(paths), size)]
    todo = iter(batches)
    responses: SimpleQueue[tuple[_Batch, _Response]] = SimpleQueue()
    with ExitStack() as stack:
        for _ in range(min(num_workers, len(batches))):
            worker = stack.enter_context(_Worker(allow_codecs))
            thread = Thread(target=_feed, args=(worker, todo, responses), daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(worker.kill)
        for _ in batches:
            batch, response = responses.get()
            if isinstance(response, Exception):
                suspects = ", ".join(map(str, batch))
                raise DecodeError(
                    f"a decoding process crashed or ran out of memory, at one of {suspects}"
                ) from response
            yield from zip(batch, response, strict=True)


class _Worker:
    """A scanning process, killed at the end of its `with`."""

    def __init__(self, allow_codecs: Collection[str]) -> None:
        # -P: otherwise a pickle.py in the working folder would be imported
        self._process = Popen([sys.executable, "-P", "-c", _PROGRAM, *allow_codecs], stdin=PIPE, stdout=PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._responses = self._process.stdin, self._process.stdout

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._process.wait()
        self._responses.close()
        with suppress(OSError):  # requests that a dead process did not read
            self._requests.close()

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()

    def send(self, request: Sequence[Path] | Sequence[str]) -> None:
        """Send a request."""
        pickle.dump(request, self._requests)
        self._requests.flush()

    def receive(self) -> list[Scan]:
        """Wait for the scans of the oldest pending request."""
        return pickle.load(self._responses)


def _feed(worker: _Worker, todo: Iterator[_Batch], responses: "SimpleQueue[tuple[_Batch, _Response]]") -> None:
    """Feed a worker with the remaining batches, always one request ahead of its response."""
    batch = ahead = next(todo, ())
    if not batch:  # other workers were faster
        return
    try:
        worker.send(sys.path)
        worker.send(ahead)
        while batch := ahead:
            if ahead := next(todo, ()):
                worker.send(ahead)
            responses.put((batch, worker.receive()))
    except Exception as error:  # any error must reach the main thread, which waits for a response
        responses.put((batch, error))
