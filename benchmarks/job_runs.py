"""A job in a process of its own, which can be killed together with its workers; all its processes are told apart.

Every process of a job has a variable in its environment that names the job, so that it is found in `/proc` even if its
parent is dead. Linux only.
"""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_MARK = "TIMESFORMER_JOB_FAULTS"
_POLL_S = 0.02
_PATIENCE_S = 3600.0
"""Seconds after which a condition is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of a job."""

    pid: int
    parent: int
    command: str


@dataclass(slots=True, kw_only=True)
class Job:
    """A command that fills a folder, and its processes."""

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    log: Path
    """File that stdout and stderr of every start are appended to."""
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command."""
        environment = {**os.environ, **self.environment, _MARK: self.mark}
        with self.log.open("ab") as log:
            return subprocess.Popen(self.command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def processes(self) -> list[Process]:
        """All living processes of the job, whoever their parent is."""
        return [found for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if (found := self._process(pid))]

    def _process(self, pid: int) -> Process | None:
        with suppress(OSError):
            folder = Path("/proc") / str(pid)
            if f"{_MARK}={self.mark}".encode() not in (folder / "environ").read_bytes().split(b"\0"):
                return None
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            return None if state == "Z" else Process(pid=pid, parent=int(parent), command=command)
        return None


def kill(pid: int) -> None:
    """Kill a process of a job at once, if it still runs."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_for(condition: Callable[[], bool], *, what: str) -> float:
    """Wait until a condition holds, and give the seconds.

    Raises:
        TimeoutError: It does not hold for an hour.
    """
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > _PATIENCE_S:
            raise TimeoutError(f"{what}: not within {_PATIENCE_S:g} s")
        time.sleep(_POLL_S)
    return time.monotonic() - start


@dataclass(slots=True, kw_only=True)
class Disturbance:
    """What was killed, and what it cost."""

    kills: list[tuple[str, int]] = field(default_factory=list)
    """`driver` or `worker`, and the number of finished files at that moment."""
    restart_s: list[float] = field(default_factory=list)
    """Seconds from each start to the first new result in the folder."""


def run_undisturbed(job: Job) -> float:
    """Run a job to its end, and give the seconds.

    Raises:
        RuntimeError: It did not end as a job with bad files does, with exit status 1.
    """
    start = time.monotonic()
    _check_status(job, job.start().wait())
    return time.monotonic() - start


def run_disturbed(
    job: Job, kills: Sequence[tuple[int, str]], *, count: Callable[[], int], workers: Callable[[int], Sequence[int]]
) -> Disturbance:
    """Run a job, kill its processes, start it again whenever its driver died, until it ends by itself.

    Args:
        job: The job.
        kills: Number of finished files at which to kill, ascending, and what: `driver` or `worker`.
        count: Number of finished files in the folder.
        workers: Ids of the worker processes of a driver.
    """
    disturbance, left = Disturbance(), list(kills)
    while True:
        driver, start, before = job.start(), time.monotonic(), count()
        wait_for(lambda: count() > before or driver.poll() is not None, what="a first result")  # noqa: B023
        disturbance.restart_s.append(time.monotonic() - start)
        while left and driver.poll() is None:
            wait_for(lambda: count() >= left[0][0] or driver.poll() is not None, what="the next kill")  # noqa: B023
            if not _kill_next(job, driver, left, workers=workers, count=count, disturbance=disturbance):
                break
        status = driver.wait()
        if status != -signal.SIGKILL:
            _check_status(job, status)
            return disturbance


def _kill_next(
    job: Job,
    driver: subprocess.Popen[bytes],
    left: list[tuple[int, str]],
    *,
    workers: Callable[[int], Sequence[int]],
    count: Callable[[], int],
    disturbance: Disturbance,
) -> bool:
    """Kill the next of `left`; False if it was the driver."""
    _, what = left[0]
    victims = [driver.pid] if what == "driver" else list(workers(driver.pid))
    if not victims:  # between two workers
        time.sleep(_POLL_S)
        return True
    disturbance.kills.append((what, count()))
    kill(victims[len(disturbance.kills) % len(victims)])
    left.pop(0)
    return what != "driver"


def _check_status(job: Job, status: int) -> None:
    if status != 1:
        raise RuntimeError(f"exit status {status}:\n{job.log.read_text(errors='replace')[-4000:]}")
