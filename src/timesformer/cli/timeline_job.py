"""`timesformer timeline --job`: a row for each of any number of videos."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from timesformer.cli.job import run
from timesformer.cli.options import Job
from timesformer.cli.predict import job_items
from timesformer.cli.streams import STDIN
from timesformer.config.compute import ComputeOptions
from timesformer.data.video.live import is_live
from timesformer.errors import ConfigError
from timesformer.jobs.item import Item
from timesformer.jobs.timeline import timeline_task
from timesformer.jobs.workers import plan_workers


def run_timelines(
    videos: Sequence[str],
    list_file: Path | None,
    job: Job,
    *,
    model: str,
    settings: Mapping[str, Any],
    options: ComputeOptions,
    overrides: Mapping[str, Any],
    overwrite: bool,
    as_json: bool,
) -> int:
    """Compute the timelines of a job, and give the exit status.

    Args:
        videos: Paths, folders and patterns.
        list_file: List of more videos; None for none.
        job: Options of the job.
        model: The model.
        settings: `window`, `stride`, `mode` and the thresholds, as for `timesformer.timelines.run.timeline`.
        options: How to compute.
        overrides: Fields of `ModelConfig` to change.
        overwrite: Remove the job in the folder.
        as_json: Print the summary as JSON.

    Raises:
        ConfigError: A video is not a file, or an option has no effect on a job.
    """
    if not videos and list_file is None:
        raise ConfigError("which videos? Give VIDEO..., or --list with a file of paths")
    for video in videos:
        _refuse_unending(video)
    windows = {name: settings[name] for name in ("window", "stride", "mode")}
    given = {name: value for name, value in settings.items() if name not in windows}
    task = timeline_task(model, **windows, given=given, options=options, overrides=overrides)
    workers = plan_workers(job.work.workers, device=options.device)
    items = _whole(job_items(videos, list_file), list_file)
    return run(
        task, items, job.job, job.work, workers=workers, device=options.device, overwrite=overwrite, as_json=as_json
    )


def refuse_files(*, to: Sequence[str], output: str, curves: str) -> None:
    """Refuse the options of files, which one video has and a job has not.

    Raises:
        ConfigError: One is given.
    """
    for name, value in (("--to", to), ("--output", output), ("--curves", curves)):
        if value:
            raise ConfigError(
                f"{name} has no effect with --job, whose rows hold the segments: for curves and other formats, run "
                "timeline on one video without --job"
            )


def _refuse_unending(video: str) -> None:
    if video == STDIN:
        raise ConfigError("-: --job reads files, each in a process that may be restarted; a pipe can be read only once")
    if is_live(video):
        raise ConfigError(f"{video}: is a live stream, which has no end: --job takes files; leave out --job")


def _whole(items: Iterator[Item], list_file: Path | None) -> Iterator[Item]:
    """The items, all of them whole videos."""
    for item in items:
        if item.start is not None:
            raise ConfigError(
                f"--list {list_file}: timeline --job takes whole videos: leave out the columns start, end"
            )
        yield item
