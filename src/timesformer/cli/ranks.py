"""Processes that run one verb together: rank 0 alone speaks, and all end with the same status."""

import logging
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import timedelta

from timesformer.cli.streams import say
from timesformer.errors import ConfigError, TimeSformerError
from timesformer.evaluation.process_group import ProcessGroup, process_group, raise_failure
from timesformer.processes import ProcessInfo

_SPOKEN = "spoken"
_PATIENCE = timedelta(seconds=10)
"""Time that a rank waits for rank 0 to print an error."""
_POLL_S = 0.5
_GRACE_S = 3.0
"""Time that this process has to notice the error of another one by itself: it may be stuck in an exchange with it."""
_FAREWELL = timedelta(seconds=_GRACE_S + 2)
"""Time that rank 0, which may hold the store, waits for the other ranks to end; a rank that was killed says nothing."""


def refuse_ranks(process: ProcessInfo, *, option: str) -> None:
    """Refuse several processes for an option that one of them can follow; rank 0 alone says so.

    Raises:
        ConfigError: There are several; with an empty message in other ranks.
    """
    if process.num_processes > 1:
        message = f"{option} runs in one process, not in {process.num_processes}: start it without torchrun or srun"
        raise ConfigError(message if process.rank == 0 else "")


def run_in_ranks(process: ProcessInfo, work: Callable[[ProcessGroup | None], int]) -> int:
    """Run a verb in the group of this process, and return the exit status.

    An error is printed once, by rank 0, and the process exits after that: launchers end the other processes as soon as
    one has failed. If rank 0 says nothing for ten seconds, each rank prints its own error. A process that does not
    notice the error of another one within three seconds, as it waits for data of that one, is ended.

    Args:
        process: Rank of this process.
        work: The verb, given the group, which is None for a single process.

    Raises:
        TimeSformerError: As `work`; with an empty message if the error was printed.
    """
    if process.num_processes == 1:
        return work(None)
    if process.rank > 0:
        logging.getLogger("timesformer").setLevel(logging.ERROR)
        for name in ("timesformer.cli", "timesformer.training"):
            logging.getLogger(name).setLevel(logging.ERROR)
    group: ProcessGroup | None = None
    try:
        with process_group(process) as group, _not_stuck(group):
            return work(group)
    except TimeSformerError as error:
        if group is None or not _was_printed(error, group):
            raise
        raise (ConfigError if isinstance(error, ConfigError) else TimeSformerError)("") from error
    except KeyboardInterrupt:
        if process.rank > 0:
            raise SystemExit(130) from None
        raise
    except BaseException:
        if group is not None and process.rank > 0:
            _leave(group)  # rank 0 need not wait: nobody can learn of its error before it is gone
        raise


@contextmanager
def _not_stuck(group: ProcessGroup | None) -> Generator[None]:
    """End this process if another one has stopped, and this one does not notice."""
    assert group is not None
    is_done = threading.Event()
    threading.Thread(target=_watch, args=(group, is_done), daemon=True).start()
    try:
        yield
    finally:
        is_done.set()


def _watch(group: ProcessGroup, is_done: threading.Event) -> None:
    error: TimeSformerError | None = None
    while error is None:
        if is_done.wait(_POLL_S):
            return
        try:
            raise_failure(group)
        except TimeSformerError as found:
            error = found
    if not is_done.wait(_GRACE_S):
        if not _was_printed(error, group):
            say(f"error: {error}")
        os._exit(1)  # the main thread waits outside Python


def _was_printed(error: TimeSformerError, group: ProcessGroup) -> bool:
    """Print an error in rank 0; elsewhere, wait until rank 0 has printed it."""
    if group.process.rank == 0:
        say(f"error: {error}")
    else:
        try:
            group.store.wait([_SPOKEN], _PATIENCE)
        except RuntimeError:  # torch's, of a store without an answer
            return False
    _leave(group)
    return True


def _leave(group: ProcessGroup) -> None:
    """Tell the others that this process ends; rank 0 waits for them."""
    with suppress(RuntimeError):
        if group.process.rank > 0:
            group.store.set(f"{group.process.rank}/left", "")
            return
        group.store.set(_SPOKEN, "")
        group.store.wait([f"{rank}/left" for rank in range(1, group.process.num_processes)], _FAREWELL)
