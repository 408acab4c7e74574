"""Process group of a distributed evaluation, as torchrun or SLURM starts it.

Results go through torch's key-value store, batch by batch; there is no barrier. A failing process publishes its error;
rank 0 times out after `timeout_s` on one that dies.
"""

import json
import os
import time
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch.distributed import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from timesformer.errors import ConfigError, TimeSformerError
from timesformer.evaluation.predictions import DecodeFailure, Outcome, VideoOutput
from timesformer.processes import ProcessInfo, read_process_info

_FAILURE = "failure"
_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessGroup:
    """A process and the store that it shares with the others."""

    process: ProcessInfo
    store: Store
    timeout_s: float = 600.0
    """Seconds that rank 0 waits for the next batch of another rank."""

    def describe(self, rank: int) -> str:
        """A rank for messages: `rank 1 of 4`."""
        return f"rank {rank} of {self.process.num_processes}"


def find_process_info(environment: Mapping[str, str]) -> ProcessInfo:
    """Read rank and number of processes from the environment.

    Args:
        environment: See `timesformer.processes.read_process_info`.

    Raises:
        ConfigError: A variable is missing or not a number, or several processes have no address for the rendezvous.
    """
    process = read_process_info(environment)
    if process.num_processes > 1 and not {"MASTER_ADDR", "MASTER_PORT"} <= environment.keys():
        raise ConfigError(
            f"{process.launcher_variable}={process.num_processes}, but MASTER_ADDR and MASTER_PORT are not both set: "
            "set them to the host of rank 0 and a free port there, or use torchrun"
        )
    return process


@contextmanager
def process_group(process: ProcessInfo, *, timeout_s: float = 600.0) -> Generator[ProcessGroup | None]:
    """Join the group at `MASTER_ADDR:MASTER_PORT`; an exception inside is published before it propagates.

    Args:
        process: Rank of this process.
        timeout_s: Seconds to wait for the others to join, and for each batch.

    Yields:
        The group; None for a single process.

    Raises:
        TimeSformerError: The others do not join.
    """
    if process.num_processes == 1:
        yield None
        return
    timeout = timedelta(seconds=timeout_s)
    try:
        store, _, _ = next(rendezvous("env://", process.rank, process.num_processes, timeout=timeout))
    except (RuntimeError, ValueError, OSError) as error:
        raise TimeSformerError(
            f"rank {process.rank} of {process.num_processes} could not reach the other ranks: {error}"
        ) from error
    # torchrun keeps one store: processes that it starts again must not read the failure that ended the first ones
    store = PrefixStore(f"start{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    group = ProcessGroup(process=process, store=store, timeout_s=timeout_s)
    with broadcast_failure(group):
        yield group


@contextmanager
def broadcast_failure(group: ProcessGroup) -> Generator[None]:
    """Publish the message of an exception, so that the other processes stop as well."""
    try:
        yield
    except BaseException as error:
        reason = f"{group.describe(group.process.rank)} stopped: {str(error) or type(error).__name__}"
        with suppress(RuntimeError):  # rank 0, which holds the store, may have stopped first
            group.store.set(_FAILURE, reason)
        raise


def local_device(device: str, process: ProcessInfo) -> str:
    """Device of one process: `auto` and `cuda` assign the GPUs of a machine to its processes in turn."""
    if device in ("auto", "cuda") and torch.cuda.is_available():
        return f"cuda:{process.local_rank % torch.cuda.device_count()}"
    return device


def send(group: ProcessGroup, name: str, text: str) -> None:
    """Store a text for rank 0.

    Raises:
        TimeSformerError: Another process failed, or rank 0 cannot be reached.
    """
    raise_failure(group)
    with _connection(group):
        group.store.set(f"{group.process.rank}/{name}", text)


def receive(group: ProcessGroup, name: str, *, rank: int) -> str:
    """Wait for a text that another rank sends.

    Raises:
        TimeSformerError: A process failed, or nothing arrived for `timeout_s` seconds.
    """
    key, end = f"{rank}/{name}", time.monotonic() + group.timeout_s
    with _connection(group):
        while not group.store.check([key]):
            raise_failure(group)
            if time.monotonic() > end:
                raise TimeSformerError(
                    f"{group.describe(rank)} sent nothing for {group.timeout_s:g} s: it hangs or was killed; start "
                    "all ranks again"
                )
            time.sleep(_POLL_S)
        return group.store.get(key).decode()


def raise_failure(group: ProcessGroup) -> None:
    """Raise the error that another process published.

    Raises:
        TimeSformerError: Another process failed; the message repeats its error.
    """
    with _connection(group):
        if group.store.check([_FAILURE]):
            raise TimeSformerError(group.store.get(_FAILURE).decode())


def to_text(outcomes: Iterable[Outcome]) -> str:
    """Write outcomes as JSON; probabilities keep every bit."""
    return json.dumps([_to_dict(outcome) for outcome in outcomes])


def _to_dict(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, DecodeFailure):
        return {"index": outcome.index, "reason": outcome.reason}
    return {
        "index": outcome.index,
        "num_views": outcome.num_views,
        "probabilities": outcome.probabilities.tolist(),
    }


def from_text(text: str) -> list[Outcome]:
    """Read outcomes back: the inverse of `to_text`."""
    return [
        DecodeFailure(item["index"], item["reason"])
        if "reason" in item
        else VideoOutput(item["index"], np.array(item["probabilities"], dtype=np.float32), item["num_views"])
        for item in json.loads(text)
    ]


@contextmanager
def _connection(group: ProcessGroup) -> Generator[None]:
    try:
        yield
    except RuntimeError as error:
        raise TimeSformerError(
            f"{group.describe(group.process.rank)} lost the connection to rank 0, which stopped or cannot be reached"
        ) from error
