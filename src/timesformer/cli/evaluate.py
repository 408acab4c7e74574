"""`timesformer evaluate`"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from timesformer.cli.console import print_json, progress, say
from timesformer.cli.options import DEFAULT_MODEL, AsJson, Device, Overrides, given_model, model_overrides
from timesformer.errors import ConfigError
from timesformer.evaluation.evaluate import evaluate as run_evaluation
from timesformer.evaluation.report import write_report
from timesformer.evaluation.result import Evaluation, write_predictions
from timesformer.weights.load import load


def evaluate(
    data: str,
    /,
    *,
    model: str = DEFAULT_MODEL,
    csv: Path | None = None,
    page: Path | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    json: AsJson = False,
    device: Device = "auto",
    num_workers: Annotated[int, Parameter(help="Processes that decode; 0 decodes in this one.")] = 2,
    overrides: Overrides = (),
) -> None:
    """Measure a model on labelled videos; every video counts once.

    The protocol (clips, crops, fusion) is the one that travels with the model, and is printed with the number.

    Example: `timesformer evaluate videos/val.csv --model runs/mine --csv predictions.csv`

    Parameters
    ----------
    data
        A folder with one folder a class, or an annotation file; labels are matched to the model's by name.
    model
        Anything that `predict --model` takes.
    csv
        File for one row a video: path, label, prediction, probability, rank of the true class.
    page
        HTML file for a page with the numbers, the confusion matrix and examples.
    on_error
        What an unreadable video does: stop everything, or be left out, counted and listed.
    """
    for file in (csv, page):
        _check_target(file)
    loaded = load(given_model(model), **model_overrides(overrides))
    with progress("evaluating") as on_progress:
        result = run_evaluation(
            loaded,
            data,
            device=device,
            num_workers=num_workers,
            on_error=on_error,
            on_progress=on_progress,
        )
    if csv is not None:
        write_predictions(result, csv)
    if page is not None:
        write_report(result, page, model=loaded, title=f"{model} on {data}")
    for video in result.skipped:
        say(f"skipped {video.path}: {video.reason}")
    if json:
        print_json(result.to_dict())
    else:
        print(summary(result))


def _check_target(file: Path | None) -> None:
    """Refuse a file that cannot be written before the work whose result it gets."""
    if file is not None and file.is_dir():
        raise ConfigError(f"{file}: is a folder; name a file")
    if file is not None and not file.parent.is_dir():
        raise ConfigError(f"{file}: cannot be written: there is no folder {file.parent}")


def summary(result: Evaluation) -> str:
    """The numbers of an evaluation and the protocol that gave them, for people."""
    low, high = result.top1_interval
    skipped = f" ({len(result.skipped)} skipped)" if result.skipped else ""
    return (
        f"top-1              {result.top1:.1%}  (95 % interval {low:.1%} to {high:.1%})\n"
        f"top-5              {result.top5:.1%}\n"
        f"mean over classes  {result.mean_class:.1%}\n"
        f"videos             {result.num_videos}{skipped}\n"
        f"protocol           {result.protocol}"
    )
