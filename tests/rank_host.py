"""A program that imports everything once, and forks the ranks of one training after another.

Each line of stdin is a JSON object: `ranks`, a list of environment variables and arguments for each, and `plant`, an
expression of `rank_faults`, evaluated in each rank before the command line. Each line of stdout is a list of exit
status, stdout and stderr per rank.
"""

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import torch

import rank_faults
from timesformer.cli.main import main

_LONGEST_S = 100


def serve() -> None:
    torch.set_num_threads(1)
    import matplotlib.figure  # noqa: F401 - all that a training imports on its way

    import timesformer.cli.train  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(_run(**json.loads(line))), flush=True)


def _run(*, ranks: list[dict[str, Any]], plant: str) -> list[tuple[int, str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        files = [(Path(folder) / f"{rank}.out", Path(folder) / f"{rank}.err") for rank in range(len(ranks))]
        pids = [_fork(rank, plant, *paths) for rank, paths in zip(ranks, files, strict=True)]
        statuses = _wait(pids)
        return [(statuses[pid], out.read_text(), err.read_text()) for pid, (out, err) in zip(pids, files, strict=True)]


def _fork(rank: dict[str, Any], plant: str, out: Path, err: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    for number, path in enumerate((os.devnull, out, err)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    try:
        os.environ.update(rank["environment"])
        eval(plant, vars(rank_faults))
        main(rank["arguments"])
    except SystemExit as ended:  # ours, whose handlers would otherwise run in this copy of the host as well
        os._exit(int(ended.code or 0))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(99)


def _wait(pids: list[int]) -> dict[int, int]:
    """Exit status of each process; those that hang are killed."""
    statuses: dict[int, int] = {}
    end = time.monotonic() + _LONGEST_S
    while len(statuses) < len(pids):
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            statuses[pid] = os.waitstatus_to_exitcode(status)
        elif time.monotonic() > end:
            for pid in set(pids) - set(statuses):
                os.kill(pid, signal.SIGKILL)
        else:
            time.sleep(0.01)
    return statuses


if __name__ == "__main__":
    serve()
