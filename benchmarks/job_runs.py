"""A job in a process of its own, which can be killed together with its workers; all its processes are told apart.

Every process of a job has a variable in its environment that names the job, so that it is found in `/proc` even if its
parent is dead. Linux only.
"""

import fcntl
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of a job."""

    pid: int
    parent: int
    command: str


class OpenedFiles:
    """A pipe to which processes write the name of each file that they open, at most a megabyte between two reads.

    Args:
        path: The pipe to make.
    """

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, 2**20)

    def names(self) -> set[str]:
        """The names since the last call."""
        content = b""
        with suppress(BlockingIOError):
            while read := os.read(self._descriptor, 2**16):
                content += read
        return set(os.fsdecode(content).splitlines())


@dataclass(slots=True, kw_only=True)
class Job:
    """A command that fills a folder, and its processes."""

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    log: Path
    """File that stdout and stderr of every start are appended to."""
    opened: OpenedFiles
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """What to kill, and when."""

    what: str
    """`driver` or `worker`."""
    at: int
    """Number of files in quarantine from which on."""
    delay_s: float
    """Seconds to wait then."""
    choice: float
    """Which of the workers, from 0 to 1."""


@dataclass(slots=True, kw_only=True)
class Disturbance:
    """What was killed, and what came of it."""

    kills: list[str] = field(default_factory=list)
    """`driver`, `worker`, or `starter`, the process that forks the workers, in the order of the kills."""
    read_again: set[str] = field(default_factory=set)
    """Files that were opened although they had a result in the folder when the driver was started."""


def run_undisturbed(job: Job) -> float:
    """Run a job to its end, and give the seconds.

    Raises:
        RuntimeError: It did not end as a job with bad files does, with exit status 1.
    """
    start = time.monotonic()
    _check_status(job, job.start().wait())
    return time.monotonic() - start


def run_disturbed(
    job: Job,
    kills: Sequence[Kill],
    *,
    count: Callable[[], int],
    finished: Callable[[], set[str]],
    is_worker: Callable[[Process], bool],
) -> Disturbance:
    """Run a job, kill its processes, and start it again whenever its driver died, until it ends by itself.

    Args:
        job: The job.
        kills: The kills, by rising `at`.
        count: Number of files in quarantine.
        finished: Names of the files with a result in the folder.
        is_worker: Whether a process of the job is a worker.

    Raises:
        RuntimeError: It ended with another exit status than a job with bad files.
    """
    disturbance, left = Disturbance(), list(kills)
    status: int | None = -signal.SIGKILL
    while status == -signal.SIGKILL:
        job.opened.names()
        before, driver = finished(), job.start()
        while left and driver.poll() is None:
            time.sleep(_POLL_S)
            if count() < left[0].at:
                continue
            time.sleep(left[0].delay_s)
            if killed := _kill(job, driver, left[0], is_worker=is_worker):
                disturbance.kills.append(killed)
                del left[0]
        status = driver.wait()
        disturbance.read_again |= before & job.opened.names()
    _check_status(job, status)
    return disturbance


def _kill(job: Job, driver: subprocess.Popen[bytes], what: Kill, *, is_worker: Callable[[Process], bool]) -> str:
    """Kill a process, and say which; empty if there is none at this moment."""
    if what.what == "driver":
        driver.kill()
        driver.wait()
        return "driver"
    workers = sorted(filter(is_worker, job.processes()), key=lambda process: process.pid)
    if not workers:
        return ""
    chosen = workers[int(what.choice * len(workers))]
    with suppress(ProcessLookupError):
        os.kill(chosen.pid, signal.SIGKILL)
    return "starter" if chosen.parent == driver.pid else "worker"


def _check_status(job: Job, status: int) -> None:
    if status != 1:
        raise RuntimeError(f"exit status {status}:\n{job.log.read_text(errors='replace')[-4000:]}")
