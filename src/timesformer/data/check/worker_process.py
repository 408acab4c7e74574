"""Scan files in processes of their own, which import PyAV and little else.

`multiprocessing` would import in each the program that asks, which takes as long as decoding a hundred small videos; a
forked process may hang in FFmpeg. So these are new ones: they read lists of paths, answer each with a list of scans,
and end where what they read ends.
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
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent alone
answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # what a library prints must not stand among the answers
sys.path[:] = pickle.load(sys.stdin.buffer)
from timesformer.data.check.scan import serve
serve(sys.stdin.buffer, answers, allow_codecs=sys.argv[1:])
"""
_MAX_BATCH = 4
"""Files that a process is asked for at once."""

_Batch = Sequence[Path]
_Answer = list[Scan] | Exception


def scan_apart(
    paths: Sequence[Path], *, num_workers: int, allow_codecs: Collection[str] = ()
) -> Iterator[tuple[Path, Scan]]:
    """Scan files, each once, in the order in which they are done.

    Args:
        paths: The files.
        num_workers: Processes, at least 1.
        allow_codecs: Codecs that may be decoded beside the usual ones.

    Raises:
        DecodeError: A process ended without an answer.
    """
    size = max(1, min(_MAX_BATCH, len(paths) // (8 * num_workers)))
    batches = [paths[start : start + size] for start in range(0, len(paths), size)]
    todo = iter(batches)
    answers: SimpleQueue[tuple[_Batch, _Answer]] = SimpleQueue()
    with ExitStack() as stack:
        for _ in range(min(num_workers, len(batches))):
            worker = stack.enter_context(_Worker(allow_codecs))
            thread = Thread(target=_feed, args=(worker, todo, answers), daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(worker.kill)
        for _ in batches:
            batch, answer = answers.get()
            if isinstance(answer, Exception):
                suspects = ", ".join(map(str, batch))
                raise DecodeError(f"a decoding process crashed or ran out of memory, at one of {suspects}") from answer
            yield from zip(batch, answer, strict=True)


class _Worker:
    """A process that scans; killed where a `with` ends."""

    def __init__(self, allow_codecs: Collection[str]) -> None:
        # -P: otherwise a pickle.py that lies where the user is would be run
        self._process = Popen([sys.executable, "-P", "-c", _PROGRAM, *allow_codecs], stdin=PIPE, stdout=PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._process.wait()
        self._answers.close()
        with suppress(OSError):  # what a dead process did not read
            self._questions.close()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def ask(self, question: Sequence[Path] | Sequence[str]) -> None:
        """Send something to read."""
        pickle.dump(question, self._questions)
        self._questions.flush()

    def answer(self) -> list[Scan]:
        """Wait for the scans of the oldest question that is not answered."""
        return pickle.load(self._answers)


def _feed(worker: _Worker, todo: Iterator[_Batch], answers: "SimpleQueue[tuple[_Batch, _Answer]]") -> None:
    """Have a worker scan what is left to do; it is asked for the next files before it has answered for the last."""
    batch = ahead = next(todo, ())
    if not batch:  # others were faster
        return
    try:
        worker.ask(sys.path)
        worker.ask(ahead)
        while batch := ahead:
            if ahead := next(todo, ()):
                worker.ask(ahead)
            answers.put((batch, worker.answer()))
    except Exception as error:  # whatever it is: the parent waits for an answer
        answers.put((batch, error))
