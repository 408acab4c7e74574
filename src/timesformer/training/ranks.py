"""The processes of one training: what they add up, tell each other and agree on.

Each rank computes its share of every micro-batch. Rank 0 alone writes and speaks. An error in any rank is raised in all
of them, at the next point where they meet: once per optimizer step, per batch of the validation and per file written.
"""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore

from timesformer.errors import ConfigError, TimeSformerError
from timesformer.evaluation.process_group import ProcessGroup, local_device, raise_failure, receive, send
from timesformer.processes import ProcessInfo, num_cores

T = TypeVar("T")

_TIMEOUT = timedelta(minutes=30)
"""Time to wait for the other ranks in one exchange: rank 0 may be writing a large checkpoint to a slow disk."""
_NEWS_S = 2.0
"""Time for the error of a rank that stopped to arrive, after the connection to it was lost."""
_CONNECTION = ("gloo", "nccl", "connection", "socket", "timed out", "store")
"""Words of torch's errors about lost connections."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """All ranks of a training, seen from one of them; by default a training in one process."""

    group: ProcessGroup | None = None
    """The process group; None for a single process."""
    control: Any = None
    """Group of torch.distributed, on the CPU, for counts and errors."""

    @property
    def process(self) -> ProcessInfo:
        """Rank of this process, and their number."""
        return self.group.process if self.group else ProcessInfo()

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return self.process.rank

    @property
    def size(self) -> int:
        """Number of processes."""
        return self.process.num_processes

    @property
    def is_alone(self) -> bool:
        """Whether there is one process."""
        return self.group is None

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes and speaks."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """The values of all ranks, in the order of ranks."""
        if self.is_alone:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def total(self, count: int, *, failure: TimeSformerError | None = None) -> int:
        """Sum of the counts of all ranks; raises like `check` if any has failed.

        Raises:
            TimeSformerError: A rank has failed.
        """
        if self.is_alone:
            self.check(failure)
            return count
        sums = torch.tensor([count, failure is not None])
        dist.all_reduce(sums, group=self.control)
        if sums[1]:
            self._raise_first(failure)
        return int(sums[0])

    def check(self, failure: TimeSformerError | None) -> None:
        """Raise the failure of a rank, if any, in all ranks: that of the lowest rank.

        Raises:
            TimeSformerError: A rank has failed.
        """
        if not self.is_alone:
            self.total(0, failure=failure)
        elif failure is not None:
            raise failure

    @contextmanager
    def agreed(self) -> Generator[None]:
        """Run a block that may fail in some ranks; its error is raised in all at the end."""
        if self.is_alone:
            yield
            return
        failure = None
        try:
            yield
        except TimeSformerError as error:
            failure = error
        self.check(failure)

    def first(self, function: Callable[[], T]) -> T:
        """Result of a function that rank 0 runs; its error is raised in all ranks.

        Raises:
            TimeSformerError: The function failed.
        """
        if self.is_alone:
            return function()
        result: list[Any] = [None]
        with self.agreed():
            if self.is_first:
                result = [function()]
        dist.broadcast_object_list(result, src=0, group=self.control)
        return result[0]

    def num_sharing(self, device: torch.device) -> int:
        """Number of ranks that share the memory of this one's device: those of the machine on a CPU, else one."""
        hosts = self.gather(socket.gethostname() if device.type == "cpu" else str(self.rank))
        return hosts.count(hosts[self.rank])

    def _raise_first(self, failure: TimeSformerError | None) -> None:
        failures = self.gather(failure)
        rank = next(rank for rank, error in enumerate(failures) if error is not None)
        if rank == self.rank:
            assert failure is not None
            raise failure
        error = failures[rank]
        assert error is not None
        assert self.group is not None
        if rank > 0 and failures[0] is None:
            error.args = (f"{self.group.describe(rank)}: {error}",)
        raise error


ALONE = Ranks()
"""A training in one process."""


@contextmanager
def joined_ranks(group: ProcessGroup | None, *, device: str) -> Generator[tuple[Ranks, str]]:
    """Connect the ranks of a training, and disconnect them at the end.

    Args:
        group: The process group; None for a single process.
        device: Device of the run: `auto` and `cuda` give each rank of a machine its own GPU.

    Yields:
        The ranks and the device of this one.

    Raises:
        ConfigError: The ranks cannot train on this device.
        TimeSformerError: Another rank stopped.
    """
    if group is None:
        yield ALONE, device
        return
    device = local_device(device, group.process)
    if device == "mps":
        raise ConfigError(f"device='mps' trains in one process, not in {group.process.num_processes}")
    _meet(group)
    with _noticing_lost_ranks(group), _torch_group(group, uses_gpu=device.startswith("cuda")) as control:
        ranks = Ranks(group, control)
        _check_devices(ranks, device)
        _share_cores(ranks)
        yield ranks, device


def _meet(group: ProcessGroup) -> None:
    """Wait for all ranks, or for the error of one that stopped before."""
    send(group, "here", "")
    for rank in range(group.process.num_processes):
        receive(group, "here", rank=rank)


@contextmanager
def _torch_group(group: ProcessGroup, *, uses_gpu: bool) -> Generator[Any]:
    """The default group of torch.distributed, and a group for small tensors on the CPU; those of the caller if any."""
    if dist.is_initialized():
        yield dist.new_group(backend="gloo", timeout=_TIMEOUT)
        return
    dist.init_process_group(
        "nccl" if uses_gpu else "gloo",
        store=PrefixStore("training", group.store),
        rank=group.process.rank,
        world_size=group.process.num_processes,
        timeout=_TIMEOUT,
    )
    yield dist.new_group(backend="gloo", timeout=_TIMEOUT) if uses_gpu else dist.group.WORLD
    dist.destroy_process_group()  # not after an error: a rank may be gone, and NCCL would wait for it


@contextmanager
def _noticing_lost_ranks(group: ProcessGroup) -> Generator[None]:
    """Turn torch's error about a lost connection into the error of the rank that stopped."""
    try:
        yield
    except RuntimeError as error:
        if not any(word in f"{type(error).__name__} {error}".lower() for word in _CONNECTION):
            raise
        end = time.monotonic() + _NEWS_S
        while time.monotonic() < end:
            raise_failure(group)
            time.sleep(0.05)
        raise TimeSformerError(
            f"{group.describe(group.process.rank)} lost the connection to another rank, which was killed or cannot be "
            "reached: start all ranks again, with resume=True (--resume)"
        ) from error


def _check_devices(ranks: Ranks, device: str) -> None:
    """Refuse two ranks on one GPU.

    Raises:
        ConfigError: Two ranks have the same GPU.
    """
    places = ranks.gather((socket.gethostname(), _gpu(device)))
    for place, count in Counter(place for place in places if place[1]).items():
        if count > 1:
            raise ConfigError(
                f"{count} ranks share GPU {place[1]} of {place[0]}: start one process per GPU, with device='cuda'"
            )


def _gpu(device: str) -> str:
    if not device.startswith("cuda"):
        return ""
    return str(torch.cuda.get_device_properties(device).uuid)


def _share_cores(ranks: Ranks) -> None:
    """Divide the cores of a machine among its ranks, unless `OMP_NUM_THREADS` is set (as by torchrun)."""
    cores = tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()
    mine = socket.gethostname(), cores
    sharing = ranks.gather(mine).count(mine)
    if "OMP_NUM_THREADS" not in os.environ:
        threads = max(num_cores() // sharing, 1)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # which also keeps the trainer from choosing another number
        torch.set_num_threads(threads)
