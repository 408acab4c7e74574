"""A real `timesformer serve` on a free port, and what it leaves behind: files, processes, memory, work.

Deaths, hangs, slow models and failing batches are real, but the product has no hook for them: `trapped_serve.py` starts
the same command line after it has wrapped a few functions. Linux only.
"""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_S = 120.0
"""Longest time until a server is ready."""
END_S = 60.0
_POLL_S = 0.05
_ADDRESS = re.compile(r"(?m)^http://127\.0\.0\.1:(\d+)/$")


class ServerError(Exception):
    """The server did not start, or ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server."""

    process: subprocess.Popen[bytes]
    uploads: Path
    """Its temporary folder (`TMPDIR`), in which uploads go."""
    log: Path

    @property
    def is_ready(self) -> bool:
        """Whether it has printed its address, as it does once requests are answered."""
        return bool(_ADDRESS.search(self.log.read_text(errors="replace")))

    @property
    def port(self) -> int:
        """Where it listens."""
        found = _ADDRESS.search(self.log.read_text(errors="replace"))
        if found is None:
            raise ServerError(self.tail())
        return int(found[1])

    @property
    def url(self) -> str:
        """Address without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def processes(self) -> list[int]:
        """The server and all that it started, directly or not."""
        parents = _parents()
        found = [self.process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def memory(self) -> int:
        """Memory of the server process, in bytes."""
        return _resident(self.process.pid)

    def whole_memory(self) -> int:
        """Memory of the server and its children, in bytes; what several share counts once."""
        return sum(_proportional(pid) for pid in self.processes())

    def descriptors(self) -> int:
        """Number of open files and sockets of the server process."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def files(self) -> list[str]:
        """Files below its temporary folder, and files without a name that it holds open."""
        named = [str(path.relative_to(self.uploads)) for path in self.uploads.rglob("*") if _is_left(path)]
        return named + [link for pid in self.processes() for link in _deleted_files(pid)]

    def metrics(self) -> dict[str, float]:
        """What `/metrics` says: value by name with labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def sum_of(self, name: str, *parts: str) -> float:
        """Sum of a metric over all labels that contain some texts."""
        return sum(
            value
            for key, value in self.metrics().items()
            if key.partition("{")[0] == name and all(part in key for part in parts)
        )

    def wait_until_idle(self, *, within_s: float = 60.0) -> bool:
        """Wait until nothing is in flight and no file is left; whether that came to be."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            # the request for the metrics may count itself
            if not self.files() and self.sum_of("timesformer_inflight") <= 0:
                return True
            time.sleep(_POLL_S)
        return False

    def tail(self) -> str:
        """End of its log."""
        return self.log.read_text(errors="replace")[-4000:]


@contextmanager
def serving(
    model: Path, folder: Path, *options: str, traps: Sequence[str] = (), environment: dict[str, str] | None = None
) -> Generator[Server]:
    """Start a server, wait until it is ready, and end it.

    Args:
        model: Model to serve.
        folder: Existing folder for its log and its temporary folder.
        options: Further options of the command line.
        traps: Functions of `trapped_serve.py` to call before, each as `name` or `name=argument`.
        environment: Environment variables to add.

    Raises:
        ServerError: It was not ready in time, ended, or left a process or a file.
    """
    server = start(model, folder, *options, traps=traps, environment=environment)
    try:
        wait_until_ready(server)
        yield server
    finally:
        stop(server)


def start(
    model: Path, folder: Path, *options: str, traps: Sequence[str] = (), environment: dict[str, str] | None = None
) -> Server:
    """Start a server: see `serving`."""
    uploads, log = folder / "uploads", folder / "serve.log"
    uploads.mkdir(exist_ok=True)
    program = [str(Path(__file__).with_name("trapped_serve.py")), *traps, "--"] if traps else ["-m", "timesformer"]
    command = [sys.executable, *program, "serve", "--model", str(model), "--port", "0", *options]
    added = {"TMPDIR": str(uploads), "OMP_NUM_THREADS": "1", **(environment or {})}
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, env={**os.environ, **added}, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    return Server(process=process, uploads=uploads, log=log)


def wait_until_ready(server: Server) -> None:
    """Wait until the server answers requests.

    Raises:
        ServerError: It ended, or was not ready in time.
    """
    end = time.monotonic() + START_S
    while not server.is_ready:
        if server.process.poll() is not None:
            raise ServerError(f"ended with exit status {server.process.returncode}:\n{server.tail()}")
        if time.monotonic() > end:
            raise ServerError(f"was not ready within {START_S:g} s:\n{server.tail()}")
        time.sleep(_POLL_S)


def stop(server: Server) -> int:
    """End a server by SIGTERM; its exit status.

    Raises:
        ServerError: It did not end in time.
    """
    children = server.processes()[1:]
    server.process.send_signal(signal.SIGTERM)
    try:
        status = server.process.wait(END_S)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()
        raise ServerError(f"did not end within {END_S:g} s of SIGTERM:\n{server.tail()}") from None
    end = time.monotonic() + END_S
    while left := [pid for pid in children if _runs(pid)]:
        if time.monotonic() > end:
            raise ServerError(f"left processes: {left}")
        time.sleep(_POLL_S)
    return status


def _is_left(path: Path) -> bool:
    """Whether a path is a file of a request; the server has a lock of its own."""
    return path.name != "lock" and not path.is_dir()


def _parents() -> dict[int, int]:
    """Parent of each living process."""
    found = {}
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        with suppress(OSError):
            state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[pid] = int(parent)
    return found


def _runs(pid: int) -> bool:
    return pid in _parents()


def _resident(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _proportional(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _deleted_files(pid: int) -> list[str]:
    """Files on disk without a name that a process holds open; memory that it shares is none."""
    found = []
    with suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                link = os.readlink(f"/proc/{pid}/fd/{number}")
                if link.endswith(" (deleted)") and not link.startswith(("/memfd:", "/dev/")):
                    found.append(link)
    return found
