"""The command line in processes of its own, forked from one that has imported it: a start costs no import of torch.

A fault is a function of `faults.injections`, called in the new process before the command line.
"""

import atexit
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from faults.small_disk import SmallDisk, enter_namespaces

LIMIT_S = 200.0
"""A command that takes longer hangs; the slowest takes 5 s."""
TERMINATED = 128
"""Added to the number of a signal, the exit status of a command that ends because of it."""


class Result(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The last line on stderr."""
        return self.err.rstrip("\n").rpartition("\n")[2]


@dataclass(slots=True)
class Host:
    """The client of the process that forks."""

    _process: subprocess.Popen[str]
    _ended: dict[int, int] = field(default_factory=dict)

    def start(
        self, *arguments: object, folder: Path, fault: Sequence[object] = (), disk: SmallDisk | None = None
    ) -> "Command":
        """Start `timesformer ARGUMENTS` in a folder.

        Args:
            arguments: The arguments.
            folder: The working folder.
            fault: Name of a function of `faults.injections`, and its arguments.
            disk: A disk to see.
        """
        logs = Path(tempfile.mkdtemp(dir=folder.parent, prefix="logs-"))
        request = {
            "arguments": [str(argument) for argument in arguments],
            "fault": [str(part) for part in fault],
            "folder": str(folder),
            "logs": str(logs),
            "disk": disk.pid if disk else 0,
        }
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        while "started" not in (event := self._next()):
            pass
        return Command(self, pid=event["started"], logs=logs)

    def run(
        self, *arguments: object, folder: Path, fault: Sequence[object] = (), disk: SmallDisk | None = None
    ) -> Result:
        """Run `timesformer ARGUMENTS` in a folder to its end; see `start`."""
        return self.start(*arguments, folder=folder, fault=fault, disk=disk).wait()

    def wait(self, pid: int) -> int:
        """Exit status of a process; the negative number of the signal that killed it."""
        while pid not in self._ended:
            self._next()
        return self._ended[pid]

    def has_ended(self, pid: int) -> bool:
        """Whether a process has ended."""
        assert self._process.stdout is not None
        while pid not in self._ended and select.select([self._process.stdout], [], [], 0)[0]:
            self._next()
        return pid in self._ended

    def _next(self) -> dict[str, int]:
        """The next event of the process."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], LIMIT_S)[0]:
            raise AssertionError(f"no command has ended for {LIMIT_S} s")
        event: dict[str, int] = json.loads(self._process.stdout.readline())
        if "ended" in event:
            self._ended[event["ended"]] = event["status"]
        return event


@dataclass(frozen=True, slots=True)
class Command:
    """A started command."""

    host: Host
    pid: int
    logs: Path

    def wait(self) -> Result:
        """Wait for the end, and check that no traceback was printed."""
        status = self.host.wait(self.pid)
        out, err = ((self.logs / name).read_text() for name in ("out", "err"))
        assert "Traceback" not in err, err
        return Result(status, out, err)

    def wait_for(self, pattern: str) -> None:
        """Wait until stdout or stderr has a line that starts with a pattern."""
        end = time.monotonic() + LIMIT_S
        while not any(re.search(f"(?m)^{pattern}", (self.logs / name).read_text()) for name in ("out", "err")):
            assert not self.host.has_ended(self.pid), (self.logs / "err").read_text()
            assert time.monotonic() < end, pattern
            time.sleep(0.005)

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)


@contextmanager
def open_host() -> Generator[Host]:
    """Start the process that forks, and end it."""
    paths = [path for path in sys.path if path]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, bufsize=1, env=env, **pipes) as process:
        yield Host(process)
        assert process.stdin is not None
        process.stdin.close()


# --- In the process that forks ----------------------------------------------------------------------------------------


def serve() -> None:
    """Fork for each request, and tell of each end."""
    _import_everything()
    running: dict[int, int] = {}
    while True:
        ready = select.select([0, *running], [], [])[0]
        for descriptor in set(ready) - {0}:
            os.close(descriptor)
            pid = running.pop(descriptor)
            _tell({"ended": pid, "status": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])})
        if 0 in ready:
            line = _read_line()
            if not line:
                return
            pid = _fork(json.loads(line))
            running[os.pidfd_open(pid)] = pid
            _tell({"started": pid})


def _read_line() -> str:
    """A line of stdin, unbuffered: `select` does not see what a buffer holds."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return ""
        line += byte
    return line.decode()


def _tell(event: dict[str, int]) -> None:
    os.write(1, (json.dumps(event) + "\n").encode())


def _fork(request: dict[str, Any]) -> int:
    for name in ("out", "err"):
        (Path(request["logs"]) / name).touch()
    pid = os.fork()
    if pid:
        return pid
    from faults import injections
    from timesformer.cli.main import main

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(request["logs"]) / name, os.O_WRONLY | os.O_APPEND), descriptor)
    if request["disk"]:
        enter_namespaces(request["disk"])
    os.chdir(request["folder"])
    if request["fault"]:
        name, *arguments = request["fault"]
        getattr(injections, name)(*arguments)
    try:
        main(request["arguments"])
    except SystemExit as stop:  # ending a process that has imported torch takes a second
        atexit._run_exitfuncs()
        os._exit(int(stop.code or 0))
    raise AssertionError("main returned")


def _import_everything() -> None:
    """Import what the verbs import, once."""
    import importlib

    import torch

    from timesformer.cli.main import VERBS

    for verb in VERBS:
        importlib.import_module(f"timesformer.cli.{verb}")
    for name in ("matplotlib.pyplot", "timesformer.training.curve", "faults.injections"):
        importlib.import_module(name)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for jobs in the background


if __name__ == "__main__":
    serve()
