"""Start a command in several processes on a Ray cluster, as torchrun does on one machine.

Example: `python -m timesformer.launch --workers 4 train my_videos --output runs/mine`

The processes are started by Ray Train, each with the environment variables of torchrun, so the commands are those that
torchrun can start: `train` and `evaluate`. Checkpoints are those of the run folder, which all machines must see.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any

from timesformer.config.checks import MOST_WORKERS, check_count
from timesformer.errors import ConfigError, TimeSformerError
from timesformer.ray_cluster import RayCluster, ray_cluster

COMMANDS = ("train", "evaluate")
_PROGRAM = """
import sys
from timesformer.isolation.limits import die_with_parent
die_with_parent(int(sys.argv.pop(1)))
from timesformer.cli.main import main
sys.exit(main())
"""
_POLL_S = 0.2
_OPTIONS = (
    ("--workers", "N", None, "number of processes"),
    ("--ray-address", "ADDRESS", "", "address of the Ray cluster (default: RAY_ADDRESS or, without it, a cluster on "
     "this machine for this command)"),
    ("--cpus", "N", 0, "CPUs of each process (default: an equal share of this machine, or 1 on a cluster with an "
     "address)"),
    ("--restarts", "N", 0, "start all processes again, up to N times, after one was lost; a training continues from "
     "its last checkpoint"),
)  # fmt: skip
"""Options: name, kind of value, default (None if required) and help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A command and where it runs."""

    command: tuple[str, ...]
    """Arguments of `timesformer`."""
    workers: int
    """Number of processes."""
    cpus: int
    """CPUs reserved for each process, and its threads."""
    gpus: bool
    """Whether each process has one GPU."""
    folder: str
    """Working folder."""
    job: str
    """Name of the job, by which a restarted process knows its own run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the launcher.

    Returns:
        The exit status: that of the command, 1 if a process was lost, 2 for wrong usage, 130 after Ctrl-C.
    """
    given = parse(arguments)
    try:
        check_count("workers", given.workers, most=MOST_WORKERS)
        check_count("restarts", given.restarts, least=0)
        check_count("cpus", given.cpus, least=0)
        if not given.command or given.command[0] not in COMMANDS:
            raise ConfigError(f"which command? Give {' or '.join(COMMANDS)}, and its arguments")
        return _launch(given)
    except TimeSformerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the launcher, with the rest in `command`."""
    parser = argparse.ArgumentParser(
        prog="python -m timesformer.launch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, metavar, default, text in _OPTIONS:
        kind = int if metavar == "N" else str
        parser.add_argument(name, type=kind, metavar=metavar, default=default, required=default is None, help=text)
    parser.add_argument("--no-gpus", action="store_true", help="use no GPU (default: one for each process, if any)")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="train or evaluate, and its arguments")
    return parser.parse_args(arguments)


def _launch(given: argparse.Namespace) -> int:
    own_cpus = given.cpus or max(1, (os.cpu_count() or 1) // given.workers)
    with ray_cluster(given.ray_address or None, num_cpus=own_cpus * given.workers) as cluster:
        launch = Launch(
            command=tuple(given.command),
            workers=given.workers,
            cpus=own_cpus if cluster.is_own else given.cpus or 1,
            gpus=not given.no_gpus and any(node.get("GPU", 0) >= 1 for node in cluster.nodes()),
            folder=os.getcwd(),
            job=uuid.uuid4().hex,
        )
        for restart in range(given.restarts + 1):
            status = _run(cluster, launch, restart=restart)
            if status is not None:
                return status
            if restart < given.restarts:
                print(f"a process was lost: restart {restart + 1} of {given.restarts}", file=sys.stderr)
    raise TimeSformerError("a process was lost or killed; --restarts N starts all of them again")


def _run(cluster: RayCluster, launch: Launch, *, restart: int) -> int | None:
    """Run the command in all processes.

    Returns:
        0, or the exit status of the first process that failed; None if one was lost.
    """
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.util.queue import Queue

    queue = Queue(actor_options={"num_cpus": 0})
    resources = {"CPU": launch.cpus} | ({"GPU": 1} if launch.gpus else {})
    with _storage(cluster) as storage, _relayed(queue) as statuses:
        options: dict[str, Any] = {
            "train_loop_config": {"queue": queue, "launch": launch, "restart": restart},
            "torch_config": TorchConfig(backend="gloo"),
            "scaling_config": ScalingConfig(
                num_workers=launch.workers, use_gpu=launch.gpus, resources_per_worker=resources
            ),
            "run_config": RunConfig(storage_path=storage, name="launch"),
        }
        with suppress(RuntimeError):  # of Ray Train, after a process failed or was lost
            TorchTrainer(_work, **options).fit()
    failed = next((status for status in statuses if status), 0)
    if failed > 0:
        return failed
    return 0 if len(statuses) == launch.workers and not failed else None


def _work(config: Mapping[str, Any]) -> None:
    """Run one process; called by Ray Train in each of its workers.

    Raises:
        RuntimeError: The process failed, so that Ray Train ends the others.
    """
    from ray import train

    launch, queue, context = config["launch"], config["queue"], train.get_context()
    environment = {
        "RANK": str(context.get_world_rank()),
        "LOCAL_RANK": str(context.get_local_rank()),
        "WORLD_SIZE": str(launch.workers),
        "MASTER_PORT": str(_agreed_port()),
        "OMP_NUM_THREADS": str(launch.cpus),
        "TORCHELASTIC_RUN_ID": launch.job,
        "TORCHELASTIC_RESTART_COUNT": str(config["restart"]),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(os.getpid()), *launch.command],
        env=os.environ | environment, cwd=launch.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, errors="backslashreplace",
    )  # fmt: skip
    relays = [Thread(target=_relay, args=(queue, *each)) for each in (("out", process.stdout), ("err", process.stderr))]
    for relay in relays:
        relay.start()
    for relay in relays:
        relay.join()
    status = process.wait()
    queue.put(("status", status))
    if status:
        raise RuntimeError(f"exit status {status}")


def _agreed_port() -> int:
    """A free port of the machine of rank 0, whose address Ray Train puts into `MASTER_ADDR`."""
    import torch.distributed as dist

    port: list[Any] = [None]
    if dist.get_rank() == 0:
        with socket.socket() as free:
            free.bind(("", 0))
            port = [free.getsockname()[1]]
    dist.broadcast_object_list(port, src=0)
    return port[0]


def _relay(queue: Any, stream: str, lines: Iterable[str]) -> None:
    for line in lines:
        queue.put((stream, line))


@contextmanager
def _relayed(queue: Any) -> Generator[list[int]]:
    """Print what the processes print; yields the list of their exit statuses, complete at the end."""
    from ray.util.queue import Empty

    statuses: list[int] = []
    is_over = Event()

    def print_all() -> None:
        while not is_over.is_set() or not queue.empty():
            with suppress(Empty):
                kind, value = queue.get(timeout=_POLL_S)
                if kind == "status":
                    statuses.append(value)
                else:
                    print(value, end="", file=sys.stdout if kind == "out" else sys.stderr, flush=True)

    thread = Thread(target=print_all, daemon=True)
    thread.start()
    try:
        yield statuses
    finally:
        is_over.set()
        thread.join()
        queue.shutdown()


@contextmanager
def _storage(cluster: RayCluster) -> Generator[str]:
    """A folder for the notes of Ray Train, which all machines see."""
    with tempfile.TemporaryDirectory(prefix=".ray-train-", dir=None if cluster.is_own else os.getcwd()) as folder:
        yield folder


if __name__ == "__main__":
    sys.exit(main())
