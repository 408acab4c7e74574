"""`timesformer check`"""

import json as json_text
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich import box
from rich.console import Console
from rich.table import Table

from timesformer.cli.check_job import check_by_job, refuse_with_job
from timesformer.cli.console import note, print_json, progress
from timesformer.cli.options import (
    COMPUTE,
    DATA,
    NO_JOB,
    OUTPUT,
    OUTPUT_NAMES,
    AllowCodecs,
    AsJson,
    Job,
    Overwrite,
    Val,
)
from timesformer.data.check.clean import CleanData, LeftOut, check_target, clean, save_clean
from timesformer.data.check.data_check import KINDS, DataCheck, check_dataset, spread
from timesformer.data.check.report import write_check_page
from timesformer.data.manifest.inputs import list_files
from timesformer.data.manifest.manifest import holds_splits
from timesformer.data.manifest.video_search import describe_others
from timesformer.data.video.segment import seconds_text
from timesformer.errors import ConfigError, DataError
from timesformer.files import replacing
from timesformer.outputs import check_folder, refuse_existing, refuse_inputs, writing
from timesformer.processes import num_cores

_MAX_LINES = 40
_MAX_FILES = 20
_PAGE, _RESULT = "index.html", "check.json"
_LISTS = ("train.csv", "val.csv")


def check(
    data: Annotated[str, Parameter(group=DATA)],
    /,
    *,
    val: Val = "",
    num_frames: Annotated[int, Parameter(group=DATA)] = 8,
    allow_codecs: AllowCodecs = (),
    num_workers: Annotated[int | None, Parameter(group=COMPUTE)] = None,
    output: Annotated[Path | None, OUTPUT_NAMES] = None,
    fix: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
    job: Job = NO_JOB,
) -> int:
    """Find what is wrong with a data set before you train on it.

    Decodes every file on all cores and caches the findings, so a second run reads only changed files. Finds missing,
    unreadable, truncated, damaged and too short files; segments that overlap or are not in their video; duplicates
    (also re-encoded) between training and validation or with two labels; groups in both training and validation;
    meaningless labels; and classes without videos or with ten times as many as another. Changes nothing. Exit status: 0
    without errors (warnings are possible), 1 with errors.

    Example: `timesformer check my_videos --output checks/my_videos`

    With `--job`, the scans are rows of a batch job instead of entries of the cache. `--overwrite` then removes the job,
    unless it is for `--output` or `--fix`.

    Parameters
    ----------
    data
        Folder with one subfolder per class (or with `train/` and `val/`), or annotation file, as for `train`.
    num_frames
        Minimum number of frames of a video: the `num_frames` of your model.
    output
        Folder for a page with images (`index.html`) and for `check.json`.
    fix
        Write a clean list without the faulty videos, such as `clean.csv`; with validation videos, a folder for
        `train.csv` and `val.csv`. Of duplicates the first is kept; a training video or group that is also in
        validation is dropped from training.
    num_workers
        Processes that decode videos; 0 decodes in the main process (default: one per core).
    """
    if job.job:
        refuse_with_job(job, num_workers=num_workers, output=output, fix=fix)
    else:
        job.refuse_without_job()
    has_files = fix is not None or output is not None
    if overwrite and not (has_files or job.job):
        raise ConfigError("--overwrite has no effect without --fix, --output or --job")
    has_val = bool(val) or holds_splits(data)
    if fix is not None:
        _check_fix(fix, data=data, val=val, has_val=has_val, overwrite=overwrite)
    if output is not None:
        _check_output(output, reads=list_files(data, val), overwrite=overwrite)
    settings: dict[str, Any] = {"val": val, "num_frames": num_frames, "allow_codecs": allow_codecs}
    if job.job:
        result = check_by_job(data, job, **settings, overwrite=overwrite and not has_files)
    else:
        result = _checked(data, **settings, num_workers=num_cores() if num_workers is None else num_workers)
    if isinstance(result, int):  # the exit status of a job that has no findings yet
        return result
    content = result.to_dict()
    if output is not None:
        content["page"] = str(_write_output(result, content, output, overwrite=overwrite))
    try:
        if fix is not None:
            cleaned = clean(result)
            content["fix"] = _fixed(cleaned, save_clean(cleaned, fix, overwrite=overwrite))
    finally:  # the findings are printed even if no list can hold them
        if json:
            print_json(content)
        else:
            _print(result, content)
    return 1 if result.num_errors else 0


def _checked(data: str, **settings: Any) -> DataCheck:
    with progress("checking") as on_progress:
        return check_dataset(data, **settings, on_progress=on_progress)


def _check_fix(fix: Path, *, data: str, val: str, has_val: bool, overwrite: bool) -> None:
    """Refuse, before the work, a target of `--fix` that cannot be written or that holds what is read."""
    refuse_inputs([fix, *map(fix.joinpath, _LISTS)], list_files(data, val))
    check_target(fix, has_val=has_val, overwrite=overwrite)
    check_folder(fix if has_val else fix.parent)
    if has_val and any(fix.resolve() == Path(source).resolve() for source in (data, val) if source):
        raise ConfigError(
            f"--fix {fix}: is the data set itself, which would then have two sources for each split; name another "
            "folder"
        )


def _check_output(folder: Path, *, reads: Iterable[Path], overwrite: bool) -> None:
    files = [folder / name for name in (_PAGE, _RESULT)]
    check_folder(folder)
    refuse_inputs(files, reads)
    refuse_existing(*files, overwrite=overwrite)


def _write_output(result: DataCheck, content: dict[str, Any], folder: Path, *, overwrite: bool) -> Path:
    with writing(folder, what="the check", error=DataError):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / _RESULT) as partial:
            partial.write_text(json_text.dumps(content, indent=1) + "\n", "utf-8")
    return write_check_page(result, folder / _PAGE, overwrite=overwrite)


def _fixed(cleaned: CleanData, lists: Sequence[Path]) -> dict[str, Any]:
    return {
        "lists": list(map(str, lists)),
        "num_train": len(cleaned.train.samples),
        "num_val": len(cleaned.val.samples) if cleaned.val else 0,
        "left_out": [
            {"path": str(video.path), **_times(video), "split": video.split, "reason": video.reason}
            for video in cleaned.left_out
        ],
        "dropped_classes": list(cleaned.dropped_classes),
    }


def _times(video: LeftOut) -> dict[str, float]:
    """Start and end of a segment whose times are numbers; nothing for a whole video."""
    times = {} if video.segment is None else {"start": video.segment.start, "end": video.segment.end}
    return {name: time for name, time in times.items() if math.isfinite(time)}


def _print(result: DataCheck, content: dict[str, Any]) -> None:
    console = Console(highlight=False)
    if result.findings:
        console.print(_table(result))
    for finding in result.findings[:_MAX_LINES]:
        print(f"{finding.kind}: {finding.reason}" + "".join(f"\n    {file}" for file in finding.files[:_MAX_FILES]))
        if len(finding.files) > _MAX_FILES:
            print(f"    ... and {len(finding.files) - _MAX_FILES} more files")
    if len(result.findings) > _MAX_LINES:
        print(f"... and {len(result.findings) - _MAX_LINES} more: --json or --output lists all")
    print(summary(result))
    if "page" in content:
        print(content["page"])
    if "fix" in content:
        _print_fix(content["fix"], unit=result.listing.unit)


def _print_fix(fixed: dict[str, Any], *, unit: str) -> None:
    reasons = Counter(video["reason"] for video in fixed["left_out"])
    by_group = f" and {reasons['group_leak']} because their group is" if reasons["group_leak"] else ""
    num_val = f", {fixed['num_val']} for validation" if fixed["num_val"] else ""
    print("\n".join(fixed["lists"]))
    note(
        f"left out {len(fixed['left_out'])} {unit}, {reasons['leak']} of them from training because they are also in "
        f"validation{by_group}; {fixed['num_train']} are left for training{num_val}"
    )
    if fixed["dropped_classes"]:
        note(f"classes without a training video were dropped: {', '.join(fixed['dropped_classes'])}")


def _table(result: DataCheck) -> Table:
    table = Table("finding", "", "what it means", box=box.SIMPLE, pad_edge=False)
    table.add_column("count", justify="right")
    table.add_column("files", justify="right")
    for kind, count in result.counts.items():
        severity, meaning = KINDS[kind]
        files = {file for finding in result.findings if finding.kind == kind for file in finding.files}
        style = "red" if severity == "error" else "yellow"
        table.add_row(kind, f"[{style}]{severity}[/]", meaning, str(count), str(len(files) or ""))
    return table


def summary(result: DataCheck) -> str:
    """Numbers of videos and classes, ranges of sizes, frame rates and durations, and the verdict, as text."""
    names, counts = result.listing.class_names, result.class_counts("train")
    measures = {name: spread(values) for name, values in result.measures().items()}
    sizes = [f"{size} ({count})" for size, count in result.sizes()]
    val = f", {result.num_videos('val')} for validation" if result.num_videos("val") else ""
    lines = [f"videos      {result.num_videos('train')} for training{val}, in {_class_sizes(names, counts)}"]
    if result.listing.has_segments:
        val = f", {result.num_entries('val')} for validation" if result.num_entries("val") else ""
        labeled, unlabeled = result.labeled_seconds()
        lines[0] = lines[0].partition(", in ")[0]
        lines.append(f"segments    {result.num_entries('train')} for training{val}, in {_class_sizes(names, counts)}")
        lines.append(f"labeled     {seconds_text(labeled)} s; {seconds_text(unlabeled)} s have no label")
    groups = {split: result.num_groups(split) for split in ("train", "val")}
    if any(groups.values()):
        val = f", {groups['val']} for validation" if result.num_videos("val") else ""
        lines.append(f"groups      {groups['train']} for training{val}")
    else:
        lines.append("groups      none: persons and places may be in both training and validation")
    if result.readable:
        lines += [
            f"sizes       {', '.join(sizes[:4])}" + (f" and {len(sizes) - 4} more" if len(sizes) > 4 else ""),
            f"frames      {_range(measures['num_frames'])}",
            f"fps         {_range(measures['fps'])}",
            f"duration    {_range(measures['duration_s'])} s",
        ]
    if result.listing.others:
        lines.append(f"not read    {describe_others(result.listing.others)}")
    kinds = (("error", result.num_errors), ("warning", result.num_warnings))
    verdict = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for word, count in kinds)
    verdict = verdict if result.findings else "nothing wrong"
    lines.append(f"found       {verdict}")
    return "\n".join(lines)


def _class_sizes(names: Sequence[str], counts: Sequence[int]) -> str:
    return f"{len(names)} classes" + (f" of {min(counts)} to {max(counts)}" if counts else "")


def _range(measured: dict[str, float]) -> str:
    low, middle, high = (f"{measured[name]:.4g}" for name in ("min", "median", "max"))
    return low if low == high else f"{low} to {high}, median {middle}"
