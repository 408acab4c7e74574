"""`timesformer predict`"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from timesformer.cli.console import note, note_rate, print_json, progress
from timesformer.cli.job import run as run_job
from timesformer.cli.options import (
    DATA,
    DEFAULT_MODEL,
    LIST,
    NO_JOB,
    OUTPUT,
    PREDICT_COMPUTE,
    AsJson,
    Job,
    ListFile,
    Model,
    Overrides,
    Overwriting,
    PredictCompute,
    compute_options,
    given_model,
    gives_precision,
    model_overrides,
    parse_top_k,
)
from timesformer.cli.precision_hint import hint_for_job, hint_for_videos
from timesformer.cli.streams import say
from timesformer.data.manifest.path_list import read_path_list
from timesformer.data.manifest.patterns import find_matches, is_pattern
from timesformer.data.manifest.video_search import describe_passed_over, find_videos_below
from timesformer.data.video.paths import SUFFIXES_IN_SHORT, holds_frames, is_visible_video
from timesformer.errors import ConfigError, DecodeError
from timesformer.files import is_address
from timesformer.inference.predictor import Prediction, Predictor
from timesformer.inference.throughput import Meter
from timesformer.jobs.item import Item
from timesformer.jobs.predict import predict_task
from timesformer.jobs.workers import plan_workers


def predict(
    paths: Annotated[tuple[str, ...], Parameter(negative=(), group=DATA)] = (),
    /,
    *,
    list_file: ListFile = None,
    model: Model = DEFAULT_MODEL,
    overrides: Overrides = (),
    compute: PredictCompute = PREDICT_COMPUTE,
    top_k: Annotated[tuple[str, ...], LIST, Parameter(group=OUTPUT, metavar="K")] = ("5",),
    json: AsJson = False,
    job: Job = NO_JOB,
    overwrite: Overwriting = False,
) -> int:
    """Classify videos.

    An unreadable video is reported on one line; the others are still classified, and the exit status is 1.

    Example: `timesformer predict clip.mp4 more/ 'videos/*.webm' --model runs/demo --top-k 3`

    Any number of videos, in worker processes and with restarts: `timesformer predict --list videos.txt --job jobs/1`

    Parameters
    ----------
    paths
        Video files, folders of frames, videos in tar files (`shard-000000.tar/clip.mp4`), folders (searched for videos
        at any depth) and patterns such as `'videos/*.mp4'`.
    top_k
        Show the k most probable classes of each video.
    """
    if not paths and list_file is None:
        raise ConfigError("which videos? Give PATH..., or --list with a file of paths")
    count = _top_k(top_k)
    if job.job:
        options, overridden = compute_options(compute), model_overrides(overrides)
        workers = plan_workers(job.work.workers, device=options.device)
        task = predict_task(
            given_model(model), top_k=count, options=options, overrides=overridden, num_decoders=workers.decoders,
            seconds_per_video=job.work.seconds_per_video,
        )  # fmt: skip
        items = job_items(paths, list_file)
        if not gives_precision(compute):
            hint_for_job(task, job.job, overwrite=overwrite)
        return run_job(
            task, items, job.job, job.work, workers=workers, device=options.device, overwrite=overwrite, as_json=json
        )
    job.refuse_without_job()
    if overwrite:
        raise ConfigError("--overwrite has no effect without --job")
    files = [*find_videos(paths), *_listed(list_file)]
    predictor = Predictor(given_model(model), options=compute_options(compute), **model_overrides(overrides))
    if not gives_precision(compute):
        hint_for_videos(predictor.model, device=compute.device, videos=len(files))
    failures = 0
    with progress("predicting") as on_progress:
        meter = Meter()
        results = predictor.each(files, top_k=count, on_error="yield", meter=meter)
        for done, (path, result) in enumerate(zip(files, results, strict=True), start=1):
            failures += isinstance(result, DecodeError)
            _show(path, result, as_json=json)
            on_progress(done, len(files))
    note_rate(meter.num_videos, seconds=meter.seconds, waited_s=meter.waited_s)
    if failures:
        say(f"{failures} of {len(files)} videos could not be read")
    return 1 if failures else 0


def job_items(paths: Sequence[str], list_file: Path | None) -> Iterator[Item]:
    """The items of a job, listed as they are drawn.

    Raises:
        ConfigError: As `find_videos`; or the list names no video.
        DataError: A folder or the list cannot be read.
    """
    for path in find_videos(paths):
        yield Item(path=str(path))
    if list_file is None:
        return
    is_empty = True
    for path, segment in read_path_list(list_file):
        start, end = segment or (None, None)
        yield Item(path=path, start=start, end=end)
        is_empty = False
    if is_empty:
        raise ConfigError(f"--list {list_file}: names no video")


def _listed(list_file: Path | None) -> Iterator[Path]:
    for path, segment in read_path_list(list_file) if list_file is not None else ():
        if segment is not None:
            raise ConfigError(f"--list {list_file}: segments need --job, the folder of a batch job")
        yield Path(path)


def _top_k(items: Sequence[str]) -> int:
    """The one number of classes to show.

    Raises:
        ConfigError: It is not a whole number from 1, or there are several.
    """
    counts = parse_top_k(items)
    if len(counts) != 1:
        raise ConfigError(f"--top-k {','.join(items)}: predict shows one list of classes; give the largest k alone")
    return counts[0]


def find_videos(paths: Sequence[str]) -> list[Path]:
    """Videos of paths, folders and patterns: sorted within each, and each video once; a note names skipped files.

    A folder is searched; if no video is found in it, images in it make it a video itself. Of the folders that match a
    pattern, only those that hold frames and no video file are used.

    Raises:
        ConfigError: A folder holds no video, a pattern matches nothing, or a path is a URL.
        DataError: A folder cannot be read.
    """
    found: list[Path] = []
    for text in paths:
        if is_address(text):
            raise ConfigError(f"{text} is an address, not a path: download it first, and name the file")
        path = Path(text).expanduser()
        if path.is_dir():
            files = _search_folder(path)
        elif is_pattern(text) and not path.exists():
            files = _match(path)
        else:
            files = [path]
        if not files:
            raise ConfigError(f"{text}: no videos found (looked for {SUFFIXES_IN_SHORT})")
        found += files
    return list(dict.fromkeys(found))


def _search_folder(folder: Path) -> list[Path]:
    found = find_videos_below(folder)
    if not found.videos and holds_frames(folder):
        return [folder]
    passed_over = describe_passed_over(found.passed_over, found.others, root=folder)
    if passed_over:
        note(f"{folder}: {passed_over}")
    return list(found.videos)


def _match(pattern: Path) -> list[Path]:
    matches = find_matches(pattern)
    files = [path for path in matches if path.is_file() or _is_clip(path)]
    folders = [path for path in matches if path not in files]
    if folders:
        note(f"{pattern}: folders that match are not searched: {len(folders)} (such as {folders[0]})")
    return files


def _is_clip(folder: Path) -> bool:
    return holds_frames(folder) and not any(map(is_visible_video, folder.iterdir()))


def _show(path: Path, result: Prediction | DecodeError, *, as_json: bool) -> None:
    if isinstance(result, DecodeError):
        say(f"error: {result}")
        if as_json:
            print_json({"path": str(path), "error": str(result)})
        return
    if as_json:
        print_json(result.to_dict())
        return
    print(result.path)
    for label, probability in zip(result.labels, result.probabilities, strict=True):
        print(f"  {probability:6.1%}  {label}", flush=True)
