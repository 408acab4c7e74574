"""Several processes that share one evaluation, as torchrun or SLURM starts them.

They meet at a key-value store (torch's, without a process group). Every process puts its answers there batch by batch,
and process 0 collects them. So nobody waits at a barrier: a process that fails leaves its message for the others, and
one that vanishes is missed after `timeout_s` seconds without an answer.
"""

import json
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from torch.distributed import Store
from torch.distributed.rendezvous import rendezvous

from timesformer.errors import ConfigError, TimeSformerError
from timesformer.evaluation.predictions import DecodeFailure, Outcome, VideoOutput
from timesformer.processes import ProcessInfo, read_process_info

_FAILURE = "failure"
_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessGroup:
    """A process among others, and the store at which they meet."""

    place: ProcessInfo
    store: Store
    timeout_s: float = 600.0
    """How long process 0 waits for the next answer of another process."""


def find_process_info(environment: Mapping[str, str]) -> ProcessInfo:
    """Read from the environment which process this is.

    Args:
        environment: See `timesformer.processes.read_process_info`.

    Raises:
        ConfigError: A variable is missing or no number, or several processes have no place to meet.
    """
    place = read_process_info(environment)
    if place.num_processes > 1 and not {"MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
        raise ConfigError(
            f"{place.launcher_variable}={place.num_processes}, but MASTER_ADDR and MASTER_PORT are not both set: set "
            "them to the host of rank 0 and a free port there, or use torchrun"
        )
    return place


@contextmanager
def join(place: ProcessInfo, *, timeout_s: float = 600.0) -> Generator[ProcessGroup | None]:
    """Meet the other processes at `MASTER_ADDR:MASTER_PORT`; a failure inside is told to them before it goes on.

    Args:
        place: Which process this is.
        timeout_s: Seconds to wait for the others, here and for every answer.

    Yields:
        This process and its way to the others; None where it is alone.

    Raises:
        TimeSformerError: The others do not come.
    """
    if place.num_processes == 1:
        yield None
        return
    timeout = timedelta(seconds=timeout_s)
    try:
        store, _, _ = next(rendezvous("env://", place.rank, place.num_processes, timeout=timeout))
    except (RuntimeError, ValueError, OSError) as error:
        raise TimeSformerError(
            f"process {place.rank} of {place.num_processes} did not meet the others: {error}"
        ) from error
    team = ProcessGroup(place=place, store=store, timeout_s=timeout_s)
    with broadcast_failure(team):
        yield team


@contextmanager
def broadcast_failure(team: ProcessGroup) -> Generator[None]:
    """Leave the message of an exception for the other processes, so that they stop as well."""
    try:
        yield
    except BaseException as error:
        reason = (
            f"process {team.place.rank} of {team.place.num_processes} stopped: {str(error) or type(error).__name__}"
        )
        with suppress(RuntimeError):  # whoever keeps the store may have gone first
            team.store.set(_FAILURE, reason)
        raise


def local_device(device: str, place: ProcessInfo) -> str:
    """The device of one process of several: `auto` and `cuda` mean a GPU for each process of a machine in turn."""
    if device in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{place.local_rank % torch.cuda.device_count()}"
    return device


def send(team: ProcessGroup, name: str, text: str) -> None:
    """Put a text where process 0 finds it.

    Raises:
        TimeSformerError: Another process failed, or process 0 is gone.
    """
    refuse_failure(team)
    with _connection(team):
        team.store.set(f"{team.place.rank}/{name}", text)


def receive(team: ProcessGroup, name: str, *, rank: int) -> str:
    """Wait for a text that another process sends.

    Raises:
        TimeSformerError: A process failed, or nothing came for `timeout_s` seconds.
    """
    key, end = f"{rank}/{name}", time.monotonic() + team.timeout_s
    with _connection(team):
        while not team.store.check([key]):
            refuse_failure(team)
            if time.monotonic() > end:
                raise TimeSformerError(
                    f"process {rank} of {team.place.num_processes} gave no answer for {team.timeout_s:g} s: it hangs "
                    f"or was killed; nothing was measured"
                )
            time.sleep(_POLL_S)
        return team.store.get(key).decode()


def refuse_failure(team: ProcessGroup) -> None:
    """Stop where another process has failed.

    Raises:
        TimeSformerError: It has; the message is that of its error.
    """
    with _connection(team):
        if team.store.check([_FAILURE]):
            raise TimeSformerError(team.store.get(_FAILURE).decode())


def to_text(outcomes: Iterable[Outcome]) -> str:
    """Write outcomes as JSON, every bit of the probabilities included."""
    return json.dumps(
        [
            {"index": outcome.index, "reason": outcome.reason}
            if isinstance(outcome, DecodeFailure)
            else {"index": outcome.index, "views": outcome.views, "probabilities": outcome.probabilities.tolist()}
            for outcome in outcomes
        ]
    )


def from_text(text: str) -> list[Outcome]:
    """Read outcomes back: the inverse of `to_text`."""
    return [
        DecodeFailure(item["index"], item["reason"])
        if "reason" in item
        else VideoOutput(item["index"], np.array(item["probabilities"], dtype=np.float32), item["views"])
        for item in json.loads(text)
    ]


@contextmanager
def _connection(team: ProcessGroup) -> Generator[None]:
    try:
        yield
    except RuntimeError as error:
        raise TimeSformerError(
            f"process {team.place.rank} of {team.place.num_processes} lost the connection to process 0, which has "
            f"stopped or cannot be reached"
        ) from error
