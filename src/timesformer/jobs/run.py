"""The driver of a job: it hands out chunks, writes what comes back, and compacts at the end."""

import logging
import os
import platform
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from timesformer.jobs.compaction import compact, finish_compaction
from timesformer.jobs.durable import drop_torn_line
from timesformer.jobs.engine import Chunk, ChunkResult, Engine, Limits
from timesformer.jobs.engine_local import run_local
from timesformer.jobs.folder import JobFolder, Shard, alone_in, clear, create, record_run, tidy
from timesformer.jobs.identity import claim
from timesformer.jobs.ids import salt
from timesformer.jobs.item import Item
from timesformer.jobs.manifest import make_manifest
from timesformer.jobs.progress import Meter, Progress
from timesformer.jobs.recorder import Flush, Recorder
from timesformer.jobs.state import JobState, chunks_of, in_shard, read_state
from timesformer.jobs.task import Task, error_row_of
from timesformer.jobs.workers import Workers, plan_workers

logger = logging.getLogger(__name__)

WHOLE = Shard()
"""The shard of a single driver."""
_LIMITS, _FLUSH = Limits(), Flush()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """What a driver leaves behind."""

    folder: str
    num_items: int
    """Items of the job."""
    num_rows: int
    """Items with a row."""
    num_quarantined: int
    """Items in quarantine."""
    num_computed: int
    """Items that this start computed."""
    seconds: float
    """Time that this start took."""

    @property
    def num_left(self) -> int:
        """Items without a result, which are those of other shards."""
        return self.num_items - self.num_rows - self.num_quarantined

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values, ready for JSON."""
        return {**asdict(self), "num_left": self.num_left}


def run_job(
    task: Task,
    items: Iterable[Item],
    folder: str | os.PathLike[str],
    *,
    engine: Engine = run_local,
    workers: Workers | None = None,
    limits: Limits = _LIMITS,
    shard: Shard = WHOLE,
    overwrite: bool = False,
    retry: bool = False,
    flush: Flush = _FLUSH,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> JobSummary:
    """Compute a row for each item, in a folder that survives kills: the same call again goes on.

    When all items have a result, `rows/part-*.parquet` holds the rows in the order of the items, and `quarantine.jsonl`
    the items without one.

    Args:
        task: What to compute.
        items: The items; one that comes again is left out.
        folder: Folder of the job; see `timesformer.jobs.folder`.
        engine: Where the workers run.
        workers: Number of workers and their threads; None plans them for this machine.
        limits: Limits of each worker.
        shard: Share of this driver.
        overwrite: Remove the job that is in the folder.
        retry: Compute the items in quarantine again.
        flush: When rows are written.
        on_progress: Called at the start and after each chunk.

    Raises:
        ConfigError: The folder holds another job or other files, or another driver computes the shard.
        DataError: A file of the job is damaged.
        DependencyError: pyarrow is not installed.
        TimeSformerError: The task cannot be opened in a worker, or the disk refused.
    """
    start = time.monotonic()
    job, workers = JobFolder(Path(folder)), workers or plan_workers()
    manifest = make_manifest(items, salt=salt(task))  # first: items that cannot be listed cost no folder and no rows
    create(job)
    with alone_in(job, shard):
        if overwrite:
            clear(job)
            create(job)
        if manifest.num_repeated:
            logger.warning("%d items are given again, and are left out", manifest.num_repeated)
        chunk_size = claim(job, task, manifest)
        finish_compaction(job)
        drop_torn_line(job.quarantine_of(shard))
        _record_start(job, engine=engine, shard=shard, workers=workers)
        own = in_shard(manifest, shard=shard, chunk_size=chunk_size)
        has_error_rows = error_row_of(task) is not None
        todo, meter = _plan(read_state(job, manifest, has_error_rows=has_error_rows), own, retry=retry)
        with Recorder(job, shard=shard, task=task, flush=flush) as recorder:
            compute = partial(engine, task, workers=workers, limits=limits)
            _drive(compute, chunks_of(manifest, todo, chunk_size=chunk_size), recorder=recorder, meter=meter,
                   on_progress=on_progress)  # fmt: skip
        state = read_state(job, manifest, has_error_rows=has_error_rows)
        if state.is_done.all():
            compact(job, manifest, task=task)
            tidy(job)
    return _summary(job, state, num_computed=int(todo.sum()), seconds=time.monotonic() - start)


def _plan(state: JobState, own: Bool[np.ndarray, " items"], *, retry: bool) -> tuple[Bool[np.ndarray, " items"], Meter]:
    """The items to compute, and a count of the others."""
    todo = own & ~(state.has_row if retry else state.is_done)
    quarantined = own & ~todo & state.is_quarantined
    return todo, Meter(done=int((own & ~todo).sum()), total=int(own.sum()), quarantined=int(quarantined.sum()))


def _drive(
    compute: Callable[[Iterator[Chunk]], Generator[ChunkResult]],
    chunks: Iterator[Chunk],
    *,
    recorder: Recorder,
    meter: Meter,
    on_progress: Callable[[Progress], None],
) -> None:
    """Record the results of chunks as they come."""
    pending: dict[int, Chunk] = {}
    on_progress(meter.progress())
    first = next(chunks, None)
    if first is None:
        return

    def drawn() -> Iterator[Chunk]:
        for chunk in chain([first], chunks):
            pending[chunk.number] = chunk
            yield chunk

    with closing(compute(drawn())) as results:
        for result in results:
            recorder.record(pending.pop(result.number), result)
            meter.add(result)
            on_progress(meter.progress())


def _record_start(job: JobFolder, *, engine: Engine, shard: Shard, workers: Workers) -> None:
    run = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": platform.node(),
        "engine": getattr(engine, "__name__", type(engine).__name__).removeprefix("run_"),
        "shard": str(shard),
        "workers": workers.count,
        "threads": workers.threads,
        "gpus": list(workers.gpus),
    }
    record_run(job, run)


def _summary(job: JobFolder, state: JobState, *, num_computed: int, seconds: float) -> JobSummary:
    return JobSummary(
        folder=str(job.root),
        num_items=len(state.has_row),
        num_rows=int(state.has_row.sum()),
        num_quarantined=int(state.is_quarantined.sum()),
        num_computed=num_computed,
        seconds=round(seconds, 3),
    )
