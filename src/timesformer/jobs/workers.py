"""How many workers a job has, and the threads and the GPU of each."""

import os
from dataclasses import dataclass

from timesformer.config.checks import MOST_WORKERS, check_count
from timesformer.processes import given_threads, num_cores

CORES_PER_WORKER = 8
"""Threads beyond these speed up a model of this size little, while another worker takes a core's share of memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Number of workers, and what each may use."""

    count: int = 1
    threads: int = 1
    """Threads of torch in each worker."""
    gpus: tuple[str, ...] = ()
    """GPUs as in `CUDA_VISIBLE_DEVICES`; worker i has number i modulo their number. Empty: workers share what the
    process sees."""

    @property
    def decoders(self) -> int:
        """Processes of each worker that decode videos: 2 next to a CPU, the cores that are left next to a GPU."""
        return max(2, self.threads - 1) if self.gpus else 2

    def environment(self, worker: int) -> dict[str, str]:
        """Environment variables of a worker, counted from 0, in addition to those of this process."""
        variables = {"OMP_NUM_THREADS": str(self.threads)}
        return variables | ({"CUDA_VISIBLE_DEVICES": self.gpus[worker % len(self.gpus)]} if self.gpus else {})


def plan_workers(count: int | None = None, *, device: str = "cpu") -> Workers:
    """Plan the workers of this machine: one for each GPU, or one for each 8 cores of a CPU.

    On a CPU each worker has `OMP_NUM_THREADS` threads, if set, or an equal share of the cores.

    Args:
        count: Number of workers; None plans it.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`; `auto` and `cuda` use all GPUs.

    Raises:
        ConfigError: The number is out of its range.
    """
    if count is not None:
        check_count("workers", count, most=MOST_WORKERS)
    cores = num_cores()
    gpus = _gpus() if device in ("auto", "cuda") else ()
    is_on_cpu = not gpus and device in ("auto", "cpu")
    planned = count or len(gpus) or (max(1, cores // CORES_PER_WORKER) if is_on_cpu else 1)
    threads = given_threads(os.environ) or max(1, cores // planned)
    return Workers(count=planned, threads=threads, gpus=gpus)


def _gpus() -> tuple[str, ...]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return tuple(visible.split(",")[:count]) if visible else tuple(map(str, range(count)))
