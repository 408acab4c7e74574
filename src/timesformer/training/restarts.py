"""Launchers that start the processes of a training again: torchrun after one was lost, SLURM after a requeue.

A process that was started again continues the run that its predecessors began, without `resume`. The config in the run
folder names their job, so that a restarted process never continues the run of another one.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from timesformer.errors import ConfigError
from timesformer.training.run_folder import RunFolder

_LAUNCHERS = (
    ("torchrun", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"),
    ("SLURM", "SLURM_JOB_ID", "SLURM_RESTART_COUNT"),
)
"""Launchers, and their variables with the name of a job and the number of its restarts."""
_NAMELESS = "none"
"""Name that torchrun gives to a job without `--standalone` and `--rdzv-id`."""
_MARK = "# Job: "


class Job(NamedTuple):
    """A job of a launcher that may start its processes again."""

    name: str
    """Launcher and name of the job."""
    restarts: int
    """How often its processes were started again."""


def find_jobs(environment: Mapping[str, str]) -> list[Job]:
    """The jobs of this process, from the variables of torchrun and of SLURM, which may have started torchrun."""
    return [
        Job(f"{launcher} {environment[name]}", _number(environment.get(count, "")))
        for launcher, name, count in _LAUNCHERS
        if environment.get(name)
    ]


def continues(jobs: Sequence[Job], folder: RunFolder) -> bool:
    """Whether a job started its processes again and the folder holds the run that it began before."""
    restarted = {f"{_MARK}{job.name}" for job in jobs if job.restarts}
    if not restarted or not folder.config.exists():
        return False
    with open(folder.config, encoding="utf-8", errors="replace") as file:
        return any(line.rstrip("\n") in restarted for line in file)


def marks_of(jobs: Sequence[Job]) -> str:
    """Comments for the config of a run that begins, by which `continues` finds it."""
    return "".join(f"{_MARK}{job.name}\n" for job in jobs)


def check_can_restart(environment: Mapping[str, str], *, overwrite: bool) -> None:
    """Refuse to overwrite a run in a job that has no name, whose restarts could not tell the old run from the new one.

    Raises:
        ConfigError: torchrun may restart the processes, and the job has no name.
    """
    restarts = environment.get("TORCHELASTIC_MAX_RESTARTS", "0")
    if overwrite and restarts != "0" and environment.get("TORCHELASTIC_RUN_ID") == _NAMELESS:
        raise ConfigError(
            f"overwrite=True (--overwrite) with torchrun --max-restarts={restarts}: a restarted process could not tell "
            "the run to replace from its own; name the job: torchrun --rdzv-id=NAME, or --standalone"
        )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
