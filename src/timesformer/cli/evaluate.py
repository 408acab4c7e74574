"""`timesformer evaluate`"""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args

from cyclopts import Parameter

from timesformer.cli.console import OnProgress, note, note_rate, print_json, progress
from timesformer.cli.evaluate_features import FeatureFiles, evaluate_features, reads_features
from timesformer.cli.evaluate_timelines import (
    Request,
    TimelineOptions,
    check_request,
    refuse_idle,
    refuse_without_effect,
    run_timelines,
)
from timesformer.cli.measures import summary
from timesformer.cli.options import (
    DATA,
    DEFAULT_MODEL,
    EVALUATE_COMPUTE,
    FLAG,
    LIST,
    MODEL,
    OUTPUT,
    AsJson,
    EvaluateCompute,
    Model,
    Overwrite,
    choice,
    compute_options,
    given_model,
    gives_precision,
    model_overrides,
    parse_top_k,
)
from timesformer.cli.precision_hint import hint_for_videos
from timesformer.config.compute import DEFAULTS
from timesformer.config.io import parse_overrides
from timesformer.config.schema import ClipConfig, Fusion, Sampling
from timesformer.data.manifest.inputs import list_files, video_files
from timesformer.data.manifest.model_classes import read_manifest
from timesformer.errors import ConfigError
from timesformer.evaluation.distributed import evaluate_distributed
from timesformer.evaluation.process_group import ProcessInfo, find_process_info, process_group
from timesformer.evaluation.protocol import change_views
from timesformer.evaluation.report.page import write_report
from timesformer.evaluation.result import Evaluation, write_predictions
from timesformer.inference.onnx_model import Classifier, open_model
from timesformer.inference.throughput import Meter
from timesformer.outputs import check_files, refuse_inputs
from timesformer.weights.load import model_files

_CLIP = "clip."
_COMPUTE_NAMES = {"fast": "--no-fast", "allow_codecs": "--allow-codec"}
"""Options whose names are not those of their fields."""


@Parameter(name="*", group=MODEL)
@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Views of a video; None keeps the model's own."""

    sampling: Annotated[Sampling | None, choice("sampling", get_args(Sampling))] = None
    """Position of clips: `dense` from frame 0, `center`, `coverage` of the whole video, `segment` or `uniform`."""
    num_clips: int | None = None
    """Clips (temporal views) per video, with `dense` sampling."""
    num_crops: int | None = None
    """Crops (spatial views) per clip: 1 or 3."""
    fusion: Annotated[Fusion | None, Parameter(show_choices=False)] = None
    """Average views as probabilities (`softmax`, the paper) or as `logits` (the released code)."""


_VIEWS = Views()
_TIMELINES = TimelineOptions()
_TOP_K = ("1", "5")


def evaluate(
    data: Annotated[str, Parameter(group=DATA)],
    /,
    *,
    model: Model = DEFAULT_MODEL,
    views: Views = _VIEWS,
    overrides: Annotated[
        tuple[str, ...],
        FLAG,
        Parameter(
            name="--set",
            group=MODEL,
            metavar="KEY=VALUE",
            help="Change a field of the model's config or of its clips, such as `num_frames=16` or "
            "`clip.frame_stride=16`; repeatable.",
        ),
    ] = (),
    timelines: TimelineOptions = _TIMELINES,
    compute: EvaluateCompute = EVALUATE_COMPUTE,
    background: Annotated[float, Parameter(group=DATA)] = 0.0,
    top_k: Annotated[tuple[str, ...], LIST, Parameter(group=OUTPUT, metavar="K,...")] = _TOP_K,
    csv: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    page: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Measure the accuracy of a model on labeled videos.

    Every video counts once. The protocol (clips, crops, fusion) comes with the model unless options change it, and is
    printed with the result. Processes started by torchrun or srun share the videos; the first one prints.

    With `--timeline`, the timeline of each video is compared with its annotated segments: frame accuracy, Edit, F1,
    boundaries and mean average precision.

    Embeddings, as `embed` writes them, are evaluated with a head of `train --features`.

    Example: `timesformer evaluate videos/val.csv --model runs/mine --csv predictions.csv --page report.html`

    Parameters
    ----------
    data
        Folder with one subfolder per class, or annotation file; labels are matched to the model's by name. Each segment
        of a video is evaluated by itself. Or embeddings, for a head.
    background
        Seconds of unlabeled time to evaluate per labeled second, as the class `background`; for lists of segments and
        models trained with `data.background`.
    top_k
        Print top-k accuracies: the fraction of videos whose class is among the k most probable.
    csv
        Write a table with one row per video or segment: path, times of a segment, label, prediction, probability, rank
        of the true class, the five most probable classes.
    page
        Write an HTML page with accuracy, calibration, confusion matrix, mistakes and examples; with `--timeline`, with
        its measures and timelines.
    """
    refuse_idle(timelines)
    process, counts, options = find_process_info(os.environ), parse_top_k(top_k), compute_options(compute)
    if reads_features(data, model):
        idle = {
            "--timeline": timelines.timeline,
            "--background": background != 0.0,
            "--set": bool(overrides),
            **{f"--{name.replace('_', '-')}": True for name in _given(views)},
            **{
                _COMPUTE_NAMES.get(name, f"--{name.replace('_', '-')}"): value != DEFAULTS[name]
                for name, value in asdict(options).items()
            },
            "torchrun or srun": process.num_processes > 1,
        }
        files = FeatureFiles(csv=csv, page=page, overwrite=overwrite)
        evaluate_features(data, model, idle=idle, top_k=counts, files=files, as_json=json)
        return
    if timelines.timeline:
        idle = {"--csv": csv is not None, "--top-k": top_k != _TOP_K, "--background": background != 0.0}
        request = Request(
            data=data,
            model=given_model(model),
            timelines=timelines,
            options=options,
            page=page,
            overwrite=overwrite,
            json=json,
        )
        _evaluate_timelines(request, process, views=views, overrides=overrides, idle=idle)
        return
    if overwrite and csv is None and page is None:
        raise ConfigError("--overwrite has no effect without --csv or --page")
    files = [file for file in (csv, page) if file is not None and process.rank == 0]  # only process 0 writes
    check_files(*files, overwrite=overwrite, reads=(*list_files(data), *model_files(model)))
    with process_group(process) as group:
        loaded = _load(given_model(model), _given(views), overrides)
        videos = read_manifest(data, labels=loaded.info.labels)
        refuse_inputs(files, video_files(videos))
        if process.rank == 0 and not gives_precision(compute):
            hint_for_videos(loaded, device=options.device, videos=len(videos.samples))
        meter = Meter()
        with _progress(process) as on_progress:
            result = evaluate_distributed(
                loaded,
                videos,
                group=group,
                options=options,
                on_progress=on_progress,
                top_k=counts,
                background=background,
                meter=meter,
            )
    if result is None:
        return
    note_rate(result.num_videos + len(result.skipped), seconds=meter.seconds, waited_s=meter.waited_s)
    try:
        if csv is not None:
            write_predictions(result, csv, overwrite=overwrite)
        if page is not None:
            title, codecs = f"{model} on {data}", options.allow_codecs
            write_report(result, page, model=loaded, title=title, overwrite=overwrite, allow_codecs=codecs)
    finally:
        _show(result, as_json=json)  # even if the disk is full by now


def _evaluate_timelines(
    request: Request, process: ProcessInfo, *, views: Views, overrides: Sequence[str], idle: Mapping[str, bool]
) -> None:
    """Check the options that timelines do not use, and run."""
    given, options = _given(views), request.options
    idle = {
        **idle,
        "--num-clips": "num_clips" in given,
        "--num-workers": options.num_workers != DEFAULTS["num_workers"],
    }
    refuse_without_effect([name for name, is_given in idle.items() if is_given])
    if process.num_processes > 1:
        raise ConfigError(f"--timeline runs in one process, not in {process.num_processes}")
    if request.timelines.choose_thresholds and (given or overrides):
        raise ConfigError(
            "--choose-thresholds stores thresholds of the model as it is: leave out --set and options of views"
        )
    check_request(request)
    run_timelines(_load(request.model, given, overrides), request)


def _given(views: Views) -> dict[str, Any]:
    return {name: value for name, value in asdict(views).items() if value is not None}


def _load(model: str, views: dict[str, Any], overrides: Sequence[str]) -> Classifier:
    """The model, with the fields of its config and of its clips that options change."""
    of_clip = [text.removeprefix(_CLIP) for text in overrides if text.startswith(_CLIP)]
    of_model = [text for text in overrides if not text.startswith(_CLIP)]
    changes = parse_overrides(of_clip, kind=ClipConfig)
    twice = views.keys() & changes.keys()
    if twice:
        raise ConfigError(f"{min(twice)} is given twice: by its own option and by --set {_CLIP}{min(twice)}")
    loaded = open_model(model, **model_overrides(of_model))
    loaded.info = replace(loaded.info, clip=change_views(loaded.info.clip, views | changes))
    return loaded


def _progress(process: ProcessInfo) -> AbstractContextManager[OnProgress]:
    """A progress bar for the videos of all processes, in process 0."""
    return progress("evaluating") if process.rank == 0 else nullcontext(lambda done, total: None)


def _show(result: Evaluation, *, as_json: bool) -> None:
    for video in result.skipped:
        note(f"skipped {video.name}: {video.reason}")
    if as_json:
        print_json(result.to_dict())
    else:
        print(summary(result))
