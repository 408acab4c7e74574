"""Rank and number of the processes that a launcher started, and the cores and threads of this one."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from timesformer.errors import ConfigError

_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
)
"""Environment variables with rank, number of processes and local rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessInfo:
    """Rank of this process among `num_processes`, from 0; `local_rank` counts within the machine."""

    rank: int = 0
    num_processes: int = 1
    local_rank: int = 0
    launcher_variable: str = field(default="", compare=False)
    """Environment variable with the number of processes; empty without a launcher."""


def read_process_info(environment: Mapping[str, str]) -> ProcessInfo:
    """Read rank and number of processes from the environment.

    torchrun sets `RANK`, `WORLD_SIZE` and `LOCAL_RANK`; `srun` sets `SLURM_PROCID`, `SLURM_STEP_NUM_TASKS` and
    `SLURM_LOCALID`. (`SLURM_NTASKS` is also set in a batch script that runs one process.) `mpirun` sets the names of
    Open MPI or of MPICH. Without any of these there is one process.

    Raises:
        ConfigError: A variable is missing or not a number, or rank and number of processes contradict each other.
    """
    names = next((names for names in _LAUNCHERS if names[0] in environment and names[1] in environment), _LAUNCHERS[0])
    if names[0] not in environment:
        return ProcessInfo()
    rank, size = _number(environment, names[0]), _number(environment, names[1])
    local_rank = _number(environment, names[2]) if names[2] in environment else 0
    if not 0 <= rank < size:
        raise ConfigError(f"{names[0]}={rank} and {names[1]}={size} in the environment contradict each other")
    return ProcessInfo(rank=rank, num_processes=size, local_rank=local_rank, launcher_variable=names[1])


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def given_threads(environment: Mapping[str, str]) -> int | None:
    """Threads that `OMP_NUM_THREADS` sets; None if it sets none."""
    text = environment.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdecimal() and int(text) > 0 else None


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not text.isdecimal():
        raise ConfigError(f"{name}={text!r} in the environment is not a number, which several processes need")
    return int(text)
