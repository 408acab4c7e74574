"""Batch jobs on the command line: options to arguments, progress, and the result."""

import os
import re
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from timesformer.cli.console import logger, note, note_rate, print_json
from timesformer.cli.options import Work
from timesformer.cli.streams import say
from timesformer.errors import ConfigError
from timesformer.jobs.engine import Engine, Limits
from timesformer.jobs.engine_local import run_local
from timesformer.jobs.folder import JobFolder, Shard
from timesformer.jobs.item import Item
from timesformer.jobs.progress import Progress
from timesformer.jobs.run import JobSummary, run_job
from timesformer.jobs.task import Task, error_row_of
from timesformer.jobs.workers import Workers
from timesformer.signals import ending_at_once

_LOG_EVERY_S = 60.0
_RATED = ("predict", "embed")
"""Verbs whose workers measure how long a model waits for videos."""
_CONTINUE = "run the same command to continue"


def run(
    task: Task,
    items: Iterable[Item],
    folder: str | Path,
    work: Work,
    *,
    workers: Workers,
    device: str = "cpu",
    overwrite: bool = False,
    as_json: bool = False,
) -> int:
    """Run a job and print its result.

    Args:
        task: What to compute.
        items: The items.
        folder: Folder of the job.
        work: The options.
        workers: Number of workers and their threads.
        device: Device of the task.
        overwrite: Remove the job in the folder.
        as_json: Print the summary as JSON.

    Returns:
        The exit status: 0 if all items have a row, 1 if some are in quarantine, 130 after Ctrl-C.

    Raises:
        ConfigError: An option is invalid.
        TimeSformerError: As `timesformer.jobs.run.run_job`.
    """
    summary = compute_job(task, items, folder, work, workers=workers, device=device, overwrite=overwrite)
    if isinstance(summary, int):
        return summary
    _print(summary, JobFolder(Path(folder)), shard=parse_shard(work.shard), as_json=as_json,
           has_error_rows=error_row_of(task) is not None)  # fmt: skip
    return 1 if summary.num_quarantined else 0


def compute_job(
    task: Task,
    items: Iterable[Item],
    folder: str | Path,
    work: Work,
    *,
    workers: Workers,
    device: str = "cpu",
    overwrite: bool = False,
) -> JobSummary | int:
    """As `run`, without the print: the summary, or the exit status after Ctrl-C."""
    shard = parse_shard(work.shard)
    if overwrite and shard.count > 1:
        raise ConfigError("--overwrite with --shard would remove the work of other shards: remove the folder instead")
    limits = Limits(seconds_per_item=work.seconds_per_video, memory=round(work.memory_per_worker * 2**30))
    try:
        with ending_at_once(_say_terminated), _shown(task.verb) as on_progress:
            last: list[Progress] = []

            def show(now: Progress) -> None:
                last[:] = [now]
                on_progress(now)

            summary = run_job(
                task, items, folder, engine=_engine(work, device=device), workers=workers, limits=limits, shard=shard,
                overwrite=overwrite, retry=work.retry, on_progress=show,
            )  # fmt: skip
    except KeyboardInterrupt:
        say(f"interrupted: {_CONTINUE}")
        return 130
    if task.verb in _RATED:
        note_rate(summary.num_computed, seconds=summary.seconds, waited_s=last[-1].waiting * summary.seconds)
    return summary


def parse_shard(text: str) -> Shard:
    """The shard of `I/N`; the whole job for an empty text.

    Raises:
        ConfigError: The text is not two numbers, or I is not from 0 to N - 1.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text) if text else None
    if match is None:
        if text:
            raise ConfigError(f"--shard {text}: is not I/N, such as 0/8")
        return Shard()
    index, count = int(match[1]), int(match[2])
    if index >= count:
        raise ConfigError(f"--shard {text}: shards count from 0: I is from 0 to {max(0, count - 1)}, such as with "
                          f"--array=0-{max(0, count - 1)}")  # fmt: skip
    return Shard(index=index, count=count)


def _engine(work: Work, *, device: str) -> Engine:
    if work.engine == "local":
        if work.ray_address:
            raise ConfigError("--ray-address has no effect without --engine ray")
        return run_local
    from timesformer.jobs.engine_ray import ray_engine

    return ray_engine(work.ray_address or None, count=work.workers, device=device)


def _say_terminated(_: str) -> None:
    say(f"terminated: {_CONTINUE}")


@contextmanager
def _shown(verb: str) -> Generator[Callable[[Progress], None]]:
    """Show progress on stderr: a bar on a terminal, a line a minute elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Log(verb)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[detail]}"))
    with Bar(*columns, console=console, disable=not logger.isEnabledFor(20)) as bar:
        task = bar.add_task(verb, total=None, detail="")
        yield lambda now: bar.update(task, completed=now.done, total=now.total, detail=describe(now))


class _Log:
    """Notes progress once a minute."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        self._last = time.monotonic()

    def __call__(self, now: Progress) -> None:
        if time.monotonic() - self._last >= _LOG_EVERY_S:
            self._last = time.monotonic()
            note(f"{self._verb}: {now.done} of {now.total}, {describe(now)}")


def describe(now: Progress) -> str:
    """Rate, share of waiting, time left and quarantine, as text."""
    left = "" if now.left_s is None else f", {_duration(now.left_s)} left"
    quarantined = f", {now.quarantined} in quarantine" if now.quarantined else ""
    return f"{now.per_second:.3g}/s, {now.waiting:.0%} waiting for videos{left}{quarantined}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _print(summary: JobSummary, folder: JobFolder, *, shard: Shard, as_json: bool, has_error_rows: bool) -> None:
    if as_json:
        print_json(summary.to_dict())
    elif summary.num_left:
        print(f"{folder.root}: shard {shard} is done; {summary.num_left} videos of other shards are left")
    else:
        count = summary.num_items if has_error_rows else summary.num_rows
        print(f"{folder.rows}{os.sep}: {count} row{'' if count == 1 else 's'}")
    if summary.num_quarantined:
        lack = "an error in their row" if has_error_rows else "no row"
        say(f"{summary.num_quarantined} of {summary.num_items} videos have {lack}: {folder.quarantine} says why; "
            "--retry computes them again")  # fmt: skip
