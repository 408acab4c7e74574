"""The engine `ray`: worker processes on the machines of a Ray cluster."""

import logging
import os
import pickle
import platform
import re
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from timesformer.config.checks import MOST_WORKERS, check_count
from timesformer.errors import ConfigError, TimeSformerError
from timesformer.jobs.engine import Chunk, ChunkResult, Engine, Limits
from timesformer.jobs.parquet import arrow
from timesformer.jobs.supervised import Supervised
from timesformer.jobs.task import Task
from timesformer.jobs.workers import CORES_PER_WORKER, Workers
from timesformer.processes import given_threads, num_cores
from timesformer.ray_cluster import RayCluster, ray_cluster, require_ray

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

CHUNKS_PER_RUN = 1024
"""Ray Data holds all inputs of a run, 5 KB a chunk and more, so a long job is several runs, each with new workers."""
_CHUNKS_PER_WORKER = 128
"""Least number of chunks for each worker in a run."""


def ray_engine(address: str | None = None, *, count: int | None = None, device: str = "cpu") -> Engine:
    """An engine that computes chunks on a Ray cluster, in actors of Ray Data that each hold one worker process.

    Paths are sent to the workers, and rows come back. All machines need the videos and the model at the same paths.

    Args:
        address: Address of the cluster; None for that in `RAY_ADDRESS` or, without it, a cluster on this machine for
            the time of the job; see `timesformer.ray_cluster.ray_cluster`.
        count: Number of workers; None for as many as the cluster has room for or, on a cluster of this machine, those
            that are given to the engine.
        device: Device of the task. With `auto` or `cuda`, each worker has one GPU if the cluster has any.

    Raises:
        DependencyError: Ray is not installed.
        ConfigError: The number is out of its range.
    """
    require_ray()
    if count is not None:
        check_count("workers", count, most=MOST_WORKERS)

    def run_ray(task: Task, chunks: Iterator[Chunk], *, workers: Workers, limits: Limits) -> Generator[ChunkResult]:
        wanted = replace(workers, count=count or workers.count)
        with ray_cluster(address, num_cpus=max(num_cores(), wanted.count * wanted.threads)) as cluster:
            nodes = cluster.nodes()
            has_gpus = device in ("auto", "cuda") and any(node.get("GPU", 0) >= 1 for node in nodes)
            planned = wanted if cluster.is_own else plan_cluster(nodes, count=count, has_gpus=has_gpus)
            worker = (pickle.dumps(task), limits, planned.threads, os.getcwd(), tuple(sys.path))
            size = max(CHUNKS_PER_RUN, _CHUNKS_PER_WORKER * planned.count)
            while run := [*islice(chunks, size)]:
                with closing(_computed(cluster, worker, run, workers=planned, num_gpus=int(has_gpus))) as results:
                    yield from results

    return run_ray


def plan_cluster(nodes: Sequence[Mapping[str, float]], *, count: int | None, has_gpus: bool) -> Workers:
    """Plan the workers of a cluster: one for each GPU, or one for each 8 CPUs.

    Args:
        nodes: Resources of each machine.
        count: Number of workers; None for as many as there is room for.
        has_gpus: Whether each worker has a GPU.

    Raises:
        ConfigError: There is no room for any, and no number is given.
    """
    able = [node for node in nodes if node.get("CPU", 0) >= 1 and (not has_gpus or node.get("GPU", 0) >= 1)]
    shares = [int(node["CPU"] // node["GPU"]) if has_gpus else int(node["CPU"]) for node in able]
    threads = given_threads(os.environ) or max(1, min([CORES_PER_WORKER, *shares]))
    room = sum(int(min(node["CPU"] // threads, node["GPU"] if has_gpus else node["CPU"])) for node in able)
    if count is None and not room:
        kind = f"{threads} CPUs and a GPU" if has_gpus else f"{threads} CPUs"
        raise ConfigError(f"no machine of the Ray cluster has room for a worker of {kind}: give the number of workers "
                          "if machines are added when they are needed")  # fmt: skip
    if count is not None and room < count:
        logger.warning("the Ray cluster has room for %d of %d workers; the others wait for it", room, count)
    return Workers(count=count or room, threads=threads)


def _computed(
    cluster: RayCluster, worker: tuple[object, ...], chunks: Sequence[Chunk], *, workers: Workers, num_gpus: int
) -> Generator[ChunkResult]:
    """The results of a run of Ray Data, each as it is ready; `worker` holds the arguments of `_Worker`."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # A block, and so a task, for each chunk: its result comes when it is ready, and it alone is lost with an actor.
    rows = [{"chunk": pickle.dumps(chunk)} for chunk in chunks]
    computed = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        _Worker,
        fn_constructor_args=worker,
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(workers.count, len(rows))),
        num_cpus=workers.threads,
        num_gpus=num_gpus,
    )
    computed.context.enable_progress_bars = False
    batches: Any = iter(computed.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
    try:
        with closing(batches):  # otherwise the actors of a cluster that stays would, too
            for batch in batches:
                for answer in batch["answer"].to_pylist():
                    yield _opened(answer)
    except cluster.ray.exceptions.RayError as error:
        raise TimeSformerError(f"the Ray cluster failed: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The line of the original error in the text of one of Ray, which holds a traceback and advice."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next(
        (line.strip() for line in reversed(lines) if re.match(r"\s*[\w.]*(Error|Exception)\b", line)), lines[-1]
    )


def _opened(answer: bytes) -> ChunkResult:
    result = pickle.loads(answer)
    if isinstance(result, TimeSformerError):
        raise result
    return result


class _Worker:
    """An actor's worker process.

    Args:
        task: The pickled task.
        limits: Limits of the process.
        threads: Its threads.
        folder: Working folder of the driver, at which relative paths start.
        modules: `sys.path` of the driver, where the task may be defined.
    """

    def __init__(self, task: bytes, limits: Limits, threads: int, folder: str, modules: tuple[str, ...]) -> None:
        sys.path.extend(path for path in modules if path not in sys.path)
        self._has_folder = os.path.isdir(folder)
        self._folder = folder
        self._worker = Supervised(
            pickle.loads(task),
            limits=limits,
            environment=Workers(threads=threads).environment(0),
            folder=folder if self._has_folder else os.sep,
        )
        # The process ends with the thread that starts it, and Ray may run each call in another.
        self._thread = ThreadPoolExecutor(max_workers=1, initializer=self._worker.__enter__)

    def __call__(self, chunks: "pa.Table") -> "pa.Table":
        pa = arrow()
        answers = [pickle.dumps(self._answer(pickle.loads(chunk))) for chunk in chunks["chunk"].to_pylist()]
        return pa.table({"answer": pa.array(answers, pa.binary())})

    def _answer(self, chunk: Chunk) -> ChunkResult | TimeSformerError:
        relative = [item.path for item in chunk.items if not os.path.isabs(item.path)]
        if relative and not self._has_folder:
            return ConfigError(
                f"{relative[0]}: the folder {self._folder}, at which the path starts, does not exist on "
                f"{platform.node()}: give absolute paths of storage that all machines share"
            )
        try:
            return self._thread.submit(self._worker.run_chunk, chunk).result()
        except TimeSformerError as error:
            return error
