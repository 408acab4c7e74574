"""Processes that run one verb together: rank 0 alone speaks, and all end with the same status."""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from timesformer.cli.streams import say
from timesformer.errors import ConfigError, TimeSformerError
from timesformer.evaluation.process_group import ProcessGroup, process_group
from timesformer.processes import ProcessInfo

_SPOKEN = "spoken"
_PATIENCE = timedelta(seconds=10)
"""Time that a rank waits for another one to print an error, or to end."""


def run_in_ranks(process: ProcessInfo, work: Callable[[ProcessGroup | None], int]) -> int:
    """Run a verb in the group of this process, and return the exit status.

    An error is printed once, by rank 0, and the process exits after that: launchers end the other processes as soon as
    one has failed. If rank 0 says nothing for ten seconds, each rank prints its own error.

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
        with process_group(process) as group:
            return work(group)
    except TimeSformerError as error:
        if group is None or not _was_printed(error, group):
            raise
        raise (ConfigError if isinstance(error, ConfigError) else TimeSformerError)("") from error
    except KeyboardInterrupt:
        if process.rank > 0:
            raise SystemExit(130) from None
        raise


def _was_printed(error: TimeSformerError, group: ProcessGroup) -> bool:
    """Print an error in rank 0 and wait for the other ranks to end; elsewhere, wait until it is printed."""
    if group.process.rank > 0:
        return _has_spoken(group)
    say(f"error: {error}")
    with suppress(RuntimeError):  # ranks that were killed never leave
        group.store.set(_SPOKEN, "")
        group.store.wait([_left(rank) for rank in range(1, group.process.num_processes)], _PATIENCE)
    return True


def _has_spoken(group: ProcessGroup) -> bool:
    try:
        group.store.wait([_SPOKEN], _PATIENCE)
        group.store.set(_left(group.process.rank), "")
    except RuntimeError:  # torch's, of a store without an answer
        return False
    return True


def _left(rank: int) -> str:
    return f"{rank}/left"
