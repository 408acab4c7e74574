"""`timesformer check --job`: the scans of a data set as a batch job, and the findings from its rows."""

from collections.abc import Collection
from pathlib import Path

from timesformer.cli.console import note
from timesformer.cli.job import compute_job
from timesformer.cli.options import Job
from timesformer.data.check.data_check import DataCheck, assess, present_files
from timesformer.data.check.listing import ListedDataset, read_listing
from timesformer.data.video.codecs import allowed_codecs
from timesformer.errors import ConfigError
from timesformer.files import printable
from timesformer.jobs.check import CheckTask, Scans, scans_of
from timesformer.jobs.folder import JobFolder
from timesformer.jobs.ids import item_id, salt
from timesformer.jobs.item import Item
from timesformer.jobs.results import iter_quarantine, iter_rows
from timesformer.jobs.workers import Workers
from timesformer.processes import num_cores


def check_by_job(
    data: str,
    job: Job,
    *,
    val: str,
    num_frames: int,
    allow_codecs: Collection[str],
    overwrite: bool,
) -> DataCheck | int:
    """Scan the files of a data set in a job, and find what is wrong; an exit status if there are no findings yet.

    Raises:
        ConfigError: The job folder lies in the data set, or holds another job, or an option is invalid.
        DataError: A source is missing, empty or cannot be read at all.
    """
    allowed_codecs(allow_codecs)
    _refuse_inside(job, data, val)
    listing = read_listing(data, val=val)
    task = CheckTask(allow_codecs=tuple(allow_codecs), with_times=listing.has_segments)
    paths = {item_id(Item(path=str(path)), salt(task)): path for path in _paths(listing)}
    count = job.work.workers if job.work.workers is not None else min(num_cores(), len(paths))
    workers = Workers(count=max(1, count), threads=1)
    summary = compute_job(
        task, (Item(path=str(path)) for path in paths.values()), job.job, job.work, workers=workers, overwrite=overwrite
    )
    if isinstance(summary, int):
        return summary
    if job.work.shard:
        print(f"{job.job}: shard {job.work.shard} is done; {summary.num_left} files of other shards are left")
        note("without --shard, the same command makes the findings when all shards are done")
        return 0
    folder = JobFolder(Path(job.job))
    scans = scans_of(paths, rows=iter_rows(folder), quarantined=iter_quarantine(folder))
    _tell_changed(scans)
    present = present_files(listing)
    return assess(
        data,
        listing,
        fingerprints={path: scans.fingerprints[path] for path in present},
        frame_times=scans.frame_times,
        num_frames=num_frames,
        allow_codecs=allow_codecs,
    )


def refuse_with_job(job: Job, *, num_workers: int | None, output: Path | None, fix: Path | None) -> None:
    """Refuse options without effect on a job.

    Raises:
        ConfigError: `--num-workers`, or files of findings together with `--shard`, which makes none.
    """
    if num_workers is not None:
        raise ConfigError("--num-workers has no effect with --job: pass --workers")
    for name, value in (("--output", output), ("--fix", fix)):
        if value is not None and job.work.shard:
            raise ConfigError(
                f"{name} has no effect with --shard, which only scans: the same command without --shard makes the "
                "findings when all shards are done"
            )


def _paths(listing: ListedDataset) -> list[Path]:
    return list(dict.fromkeys(video.path for video in listing.videos))


def _refuse_inside(job: Job, *sources: str) -> None:
    """Refuse a job folder in a data set, of which it would be a class."""
    folder = Path(job.job).resolve()
    for source in filter(None, sources):
        root = Path(source).resolve()
        if root.is_dir() and folder.is_relative_to(root):
            raise ConfigError(f"--job {job.job}: lies in the data set {source}; name a folder outside")


def _tell_changed(scans: Scans) -> None:
    if scans.changed:
        note(
            f"{len(scans.changed)} files have changed since they were scanned (such as "
            f"{printable(str(scans.changed[0]))}); the findings are about what they were: a new --job folder scans all"
        )
