"""The command line in several ranks, as torchrun and srun start it, without the seconds of importing it each time."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

VARIABLES = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
}
"""Names of rank, number of ranks and rank on the machine."""


class Ended(NamedTuple):
    """How a rank ended: a signal is a negative status."""

    status: int
    out: str
    err: str


Launch = Callable[..., list[Ended]]
"""Arguments of the command line, `ranks`, and perhaps `plant` and `starter`, as in `_launch`; gives how they ended."""


@contextmanager
def rank_host(errors: Path) -> Generator[Launch]:
    """Start `rank_host`; its own errors go to a file."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    with (
        errors.open("w") as stderr,
        subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("rank_host.py"))],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        ) as host,
    ):
        yield partial(_launch, host)
        assert host.stdin is not None
        host.stdin.close()


def free_port() -> int:
    """A port of this machine that nobody listens to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _launch(
    host: subprocess.Popen[str], *arguments: object, ranks: int, plant: str = "nothing()", starter: str = "torchrun"
) -> list[Ended]:
    """Run the command line in several ranks.

    Args:
        plant: An expression of `rank_faults`.
        starter: Whose environment variables the ranks get.
    """
    assert host.stdin is not None
    assert host.stdout is not None
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    names = VARIABLES[starter]
    task = [
        {
            "arguments": [str(argument) for argument in arguments],
            "environment": {**meeting, **dict(zip(names, (str(rank), str(ranks), str(rank)), strict=True))},
        }
        for rank in range(ranks)
    ]
    print(json.dumps({"ranks": task, "plant": plant}), file=host.stdin, flush=True)
    return [Ended(*ended) for ended in json.loads(host.stdout.readline())]
