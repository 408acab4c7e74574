"""`timesformer embed`"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from timesformer.cli.analysis import NO_ANALYSIS, Analysis, analyze
from timesformer.cli.job import run
from timesformer.cli.options import (
    DATA,
    DEFAULT_MODEL,
    NO_WORK,
    OUTPUT,
    OUTPUT_NAMES,
    PREDICT_COMPUTE,
    AsJson,
    ListFile,
    Model,
    Overrides,
    Overwriting,
    PredictCompute,
    Work,
    choice,
    compute_options,
    given_model,
    gives_precision,
    model_overrides,
)
from timesformer.cli.precision_hint import hint_for_job
from timesformer.cli.predict import job_items
from timesformer.data.manifest.manifest import load_manifest
from timesformer.errors import ConfigError
from timesformer.jobs.embed import embed_task
from timesformer.jobs.embedding_schema import StoredType
from timesformer.jobs.item import Item
from timesformer.jobs.workers import plan_workers
from timesformer.model.tokens import Level

_ANNOTATIONS = (".csv", ".tsv", ".txt", ".json", ".eaf")
"""Suffixes of files that hold labels."""


def embed(
    paths: Annotated[tuple[str, ...], Parameter(negative=(), group=DATA)] = (),
    /,
    *,
    output: Annotated[Path, OUTPUT_NAMES],
    data: Annotated[tuple[str, ...], Parameter(negative=(), group=DATA, metavar="DATA")] = (),
    list_file: ListFile = None,
    model: Model = DEFAULT_MODEL,
    overrides: Overrides = (),
    compute: PredictCompute = PREDICT_COMPUTE,
    level: Annotated[Level, choice("level", ("cls", "frame", "patch")), Parameter(group=OUTPUT)] = "cls",
    dtype: Annotated[StoredType, choice("dtype", ("f16", "f32")), Parameter(group=OUTPUT)] = "f16",
    json: AsJson = False,
    work: Work = NO_WORK,
    overwrite: Overwriting = False,
    analysis: Analysis = NO_ANALYSIS,
) -> int:
    """Write the features of videos to Parquet, for search and training.

    A row for each video: what the head of the model reads (`embedding`), the predicted class and, with labels, the true
    one. It is a batch job: the same command goes on after a kill, and reads no finished video again. A video that
    cannot be read has a row with its `error`, and the exit status is 1.

    Example: `timesformer embed my_videos --model runs/demo --output embeddings/my_videos`

    `timesformer search --index DIR` finds similar clips, and draws the map of a folder that exists.

    Parameters
    ----------
    paths
        Video files, folders of frames, videos in tar files, folders (searched for videos at any depth) and patterns, as
        for `predict`; annotation files (`.csv`, `.tsv`, `.txt`, `.json`, `.eaf`), as for `--data`.
    output
        Folder of the job: `rows/part-*.parquet`, and `quarantine.jsonl` with the videos that cannot be read.
    data
        Labeled videos, as for `train`: a folder with one subfolder per class, or an annotation file. Fills the columns
        `true_label` and `group`; repeatable.
    level
        What is embedded: `cls`, the video; `frame`, each frame, as one vector of all; `patch`, each patch of each
        frame, in a file per video.
    dtype
        Type of the stored numbers: `f16`, or `f32` in twice the space.
    """
    sources = [*data, *filter(_is_annotation, paths)]
    videos = [path for path in paths if not _is_annotation(path)]
    if not (videos or sources) and list_file is None:
        raise ConfigError("which videos? Give PATH..., --data with labeled videos, or --list with a file of paths")
    _check_analysis(analysis, output=output, work=work, overwrite=overwrite)
    options, overridden = compute_options(compute), model_overrides(overrides)
    workers = plan_workers(work.workers, device=options.device)
    task = embed_task(
        given_model(model), folder=output, level=level, dtype=dtype, options=options, overrides=overridden,
        num_decoders=workers.decoders, seconds_per_video=work.seconds_per_video,
    )  # fmt: skip
    items = _items(sources, videos, list_file)
    if not gives_precision(compute):
        hint_for_job(task, output, overwrite=overwrite)
    status = run(task, items, output, work, workers=workers, device=options.device, overwrite=overwrite, as_json=json)
    if analysis.is_wanted and status in (0, 1):  # 1: some videos have an error instead of a vector
        analyze(output, analysis, allow_codecs=options.allow_codecs, overwrite=overwrite, as_json=json)
    return status


def _check_analysis(analysis: Analysis, *, output: Path, work: Work, overwrite: bool) -> None:
    """Refuse, before the work, what cannot be computed from its rows.

    Raises:
        ConfigError: The job has several shards, the map already exists, or an option is invalid.
    """
    if analysis.is_wanted and work.shard:
        raise ConfigError(f"--map, --duplicates and --knn need all rows: use them once all shards are done, with "
                          f"`timesformer search --index {output}`")  # fmt: skip
    if analysis.map is not None and analysis.map.exists() and not overwrite:
        raise ConfigError(f"{analysis.map}: already exists, and --overwrite would embed all videos again: use "
                          f"`timesformer search --index {output} --map {analysis.map} --overwrite`")  # fmt: skip
    analysis.check(overwrite=overwrite)


def _is_annotation(path: str) -> bool:
    return path.lower().endswith(_ANNOTATIONS) and os.path.isfile(os.path.expanduser(path))


def _items(sources: Sequence[str], videos: Sequence[str], list_file: Path | None) -> Iterator[Item]:
    """Labeled videos first: of a video that is given again without a label, the first item is kept.

    Raises:
        ConfigError: A video has two labels.
    """
    labels: dict[tuple[str, float | None, float | None], Item] = {}
    for source in sources:
        for item in labeled_items(source):
            first = labels.setdefault((item.path, item.start, item.end), item)
            if (first.label, first.group) != (item.label, item.group):
                raise ConfigError(
                    f"--data {source}: {item.path} has label {item.label!r} and group {item.group!r} here, and "
                    f"{first.label!r} and {first.group!r} before: a video or segment has one row"
                )
    yield from labels.values()
    yield from job_items(videos, list_file)


def labeled_items(source: str) -> Iterator[Item]:
    """The videos and segments of a data set, with their labels and groups.

    Raises:
        DataError: The source is missing, empty or contradicts itself.
    """
    manifest = load_manifest(Path(source).expanduser(), check_exists=False)  # a missing video is a row with its error
    for sample in manifest.samples:
        start, end = sample.segment or (None, None)
        label = manifest.class_names[sample.label]
        yield Item(path=str(sample.path), start=start, end=end, label=label, group=sample.group or None)
