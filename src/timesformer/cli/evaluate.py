"""`timesformer evaluate`"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from timesformer.cli.console import OnProgress, print_json, progress, say
from timesformer.cli.options import (
    DEFAULT_MODEL,
    AllowCodecs,
    AsJson,
    Compile,
    ComputeIn,
    Device,
    Fast,
    Overwrite,
    given_model,
    model_overrides,
)
from timesformer.config.compute import ComputeOptions
from timesformer.config.io import parse_overrides
from timesformer.config.schema import ClipConfig, Fusion, Sampling
from timesformer.data.manifest.classes import read_manifest
from timesformer.data.manifest.inputs import list_files, video_files
from timesformer.errors import ConfigError
from timesformer.evaluation.distributed import evaluate_shared
from timesformer.evaluation.process_group import ProcessInfo, find_process_info, join
from timesformer.evaluation.protocol import change_views
from timesformer.evaluation.report.page import write_report
from timesformer.evaluation.result import Evaluation, write_predictions
from timesformer.inference.onnx_model import Classifier, open_model
from timesformer.outputs import check_files, refuse_inputs
from timesformer.weights.load import model_files

_CLIP = "clip."


def evaluate(
    data: str,
    /,
    *,
    model: str = DEFAULT_MODEL,
    sampling: Sampling | None = None,
    num_clips: int | None = None,
    num_crops: int | None = None,
    fusion: Fusion | None = None,
    top_k: str = "1,5",
    csv: Path | None = None,
    page: Path | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    overwrite: Overwrite = False,
    json: AsJson = False,
    device: Device = "auto",
    batch_size: int = 8,
    fast: Fast = True,
    compile: Compile = False,
    precision: ComputeIn = "fp32",
    num_workers: Annotated[int, Parameter(help="Processes that decode; 0 decodes in this one.")] = 2,
    allow_codecs: AllowCodecs = (),
    overrides: Annotated[
        tuple[str, ...],
        Parameter(
            name="--set",
            negative=(),
            help="Change one field of the model's config or of its clips, such as `--set num_frames=16` or "
            "`--set clip.frame_stride=16`; can be given several times.",
        ),
    ] = (),
) -> None:
    """Measure a model on labeled videos; every video counts once.

    The protocol (clips, crops, fusion) is the one that travels with the model, unless options ask for another; it is
    printed with the number. Started by torchrun or srun, the processes share the videos and the first one prints.

    Example: `timesformer evaluate videos/val.csv --model runs/mine --csv predictions.csv --page report.html`

    Parameters
    ----------
    data
        A folder with one folder a class, or an annotation file; labels are matched to the model's by name.
    model
        Anything that `predict --model` takes.
    sampling
        Where clips lie: `dense` from frame 0, `center`, `coverage` of the whole video, `segment`, or `uniform`.
    num_clips
        Temporal views of a video, with `dense` sampling.
    num_crops
        Spatial views of a clip: 1 or 3.
    fusion
        Views are averaged as probabilities (`softmax`, the paper) or as `logits` (the released code).
    top_k
        Print the share of videos whose class is among the k most probable, such as `1,5,10`.
    csv
        File for one row a video: path, label, prediction, probability, rank of the true class, the five best classes.
    page
        HTML file for a page with the numbers, calibration, the confusion matrix, mistakes and examples.
    on_error
        What an unreadable video does: stop everything, or be left out, counted and listed.
    batch_size
        Views that go through the model at once.
    """
    given = {"sampling": sampling, "num_clips": num_clips, "num_crops": num_crops, "fusion": fusion}
    views = {name: value for name, value in given.items() if value is not None}
    place, ks = find_process_info(os.environ), _parse_top_k(top_k)
    options = ComputeOptions(
        device=device,
        batch_size=batch_size,
        num_workers=num_workers,
        on_error=on_error,
        fast=fast,
        compile=compile,
        precision=precision,
        allow_codecs=allow_codecs,
    )
    if overwrite and csv is None and page is None:
        raise ConfigError("--overwrite has no effect without --csv or --page")
    files = [file for file in (csv, page) if file is not None and place.rank == 0]  # only process 0 writes
    check_files(*files, overwrite=overwrite, reads=(*list_files(data), *model_files(model)))
    with join(place) as team:
        loaded = _load(given_model(model), views, overrides)
        videos = read_manifest(data, labels=loaded.info.labels)
        refuse_inputs(files, video_files(videos))
        with _progress(place) as on_progress:
            result = evaluate_shared(loaded, videos, team=team, options=options, on_progress=on_progress, top_k=ks)
    if result is None:
        return
    try:
        if csv is not None:
            write_predictions(result, csv, overwrite=overwrite)
        if page is not None:
            title = f"{model} on {data}"
            write_report(result, page, model=loaded, title=title, overwrite=overwrite, allow_codecs=allow_codecs)
    finally:
        _show(result, as_json=json)  # also where a disk became full meanwhile


def _load(model: str, views: dict[str, Any], overrides: Sequence[str]) -> Classifier:
    """The model, with the fields of its config and of its clips that the options ask for."""
    of_clip = [text.removeprefix(_CLIP) for text in overrides if text.startswith(_CLIP)]
    of_model = [text for text in overrides if not text.startswith(_CLIP)]
    changes = parse_overrides(of_clip, kind=ClipConfig)
    twice = views.keys() & changes.keys()
    if twice:
        raise ConfigError(f"{min(twice)} is given twice: by its own option and by --set {_CLIP}{min(twice)}")
    loaded = open_model(model, **model_overrides(of_model))
    loaded.info = replace(loaded.info, clip=change_views(loaded.info.clip, views | changes))
    return loaded


def _parse_top_k(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--top-k {text!r} is not a list of whole numbers from 1, such as 1,5,10")
    return [int(part) for part in parts]


def _progress(place: ProcessInfo) -> AbstractContextManager[OnProgress]:
    """A bar for the videos of all processes, in the first of them."""
    return progress("evaluating") if place.rank == 0 else nullcontext(lambda done, total: None)


def _show(result: Evaluation, *, as_json: bool) -> None:
    for video in result.skipped:
        say(f"skipped {video.path}: {video.reason}")
    if as_json:
        print_json(result.to_dict())
    else:
        print(summary(result))


def summary(result: Evaluation) -> str:
    """The numbers of an evaluation and the protocol that gave them, for people."""
    skipped = f" ({len(result.skipped)} skipped)" if result.skipped else ""
    others = "".join(f"{f'top-{k}':<19}{share:.1%}\n" for k, share in result.top_k.items() if k > 1)
    return (
        f"top-1              {result.top1:.1%}  95 % interval {result.describe_interval()}\n"
        f"{others}"
        f"mean over classes  {result.mean_class:.1%}\n"
        f"calibration error  {result.calibration.ece:.1%}\n"
        f"videos             {result.num_videos}{skipped}\n"
        f"protocol           {result.protocol}"
    )
