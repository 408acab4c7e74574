"""`timesformer train --folds` and `--curve`: cross-validation over groups, and accuracy over numbers of videos."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Group, Parameter

from timesformer.cli.console import OnProgress, note, print_json, progress
from timesformer.cli.options import FLAG
from timesformer.cli.ranks import refuse_ranks
from timesformer.cli.run_config import TrainOptions
from timesformer.cli.train_fine_tuning import refuse_until
from timesformer.config.run import RunConfig
from timesformer.cross_validation.curve import draw_curve
from timesformer.cross_validation.curve_result import VideoCurve, format_curve
from timesformer.cross_validation.folder import read_state, study_in
from timesformer.cross_validation.result import CrossValidation
from timesformer.cross_validation.run import cross_validate
from timesformer.errors import ConfigError
from timesformer.fine_tuning.result import Until
from timesformer.fine_tuning.run import continue_fine_tuning
from timesformer.processes import ProcessInfo
from timesformer.retrieval.heads.folder import holds_head

_FOLDS = Group("Cross-validation", sort_key=3.4)


@Parameter(name="*", group=_FOLDS)
@dataclass(frozen=True, slots=True, kw_only=True)
class FoldOptions:
    """The options of `train` that measure a run instead of making one model."""

    folds: Annotated[int | None, Parameter(metavar="K")] = None
    """Cross-validation: deal the videos to K folds, whole groups together, train once without each, evaluate on it,
    and write `predictions.csv` and `report.html`. Validation videos of DATA are not used."""
    curve: Annotated[bool, FLAG] = False
    """Would more videos help? Train on a quarter, half and all of the training videos, evaluate each on the same
    videos, and write `curve.png` and `report.html`; with `--folds` each part is cross-validated."""

    def given(self) -> dict[str, bool]:
        """Each option, and whether it is given."""
        return {"--folds": self.folds is not None, "--curve": self.curve}


def check_folds(options: FoldOptions, *, process: ProcessInfo, val: str, other: Mapping[str, bool]) -> None:
    """Refuse options that do not go with a cross-validation or a curve.

    Args:
        options: The options.
        process: This process.
        val: Validation videos of the command line.
        other: Flags that have no effect, and whether they are given.

    Raises:
        ConfigError: One is given, or there are several processes.
    """
    if options.folds is not None and options.folds < 2:
        raise ConfigError(f"--folds {options.folds}: a cross-validation needs at least 2 folds")
    flag = "--folds" if options.folds is not None else "--curve"
    given = [name for name, is_given in other.items() if is_given]
    if given:
        raise ConfigError(f"{', '.join(given)}: no effect with {flag}, which trains several runs")
    if val and options.folds is not None:
        raise ConfigError(f"--val {val} has no effect with --folds, where each fold is evaluated in turn")
    refuse_ranks(process, option=flag)


def resumed(options: FoldOptions, train: TrainOptions, *, has_run: bool) -> tuple[FoldOptions, TrainOptions]:
    """The options of the cross-validation or curve in the output folder, if there is one, where they are not given.

    Args:
        options: Those of the command line.
        train: Those of the run.
        has_run: Whether the command line says which run it is.

    Raises:
        ConfigError: What the folder holds is damaged.
    """
    study = study_in(train.output or RunConfig().output)
    if study is None:
        return options, train
    num_folds = read_state(study).num_folds or None
    folds = num_folds if options.folds is None else options.folds
    options = replace(options, folds=folds, curve=options.curve or study.kind == "curve")
    return options, train if has_run else replace(train, config=study.config)


def refuse_study(output: str) -> None:
    """Refuse to train a single run into the folder of a cross-validation or a curve.

    Raises:
        ConfigError: The folder holds one.
    """
    study = study_in(output)
    if study is not None:
        raise ConfigError(f"--output {output} holds {study.name}: name another folder")


def train_folds(
    run: RunConfig, options: FoldOptions, *, until: Until, resume: bool, overwrite: bool, as_json: bool
) -> int:
    """Cross-validate a run or draw its curve over numbers of videos, and print the table.

    Raises:
        TimeSformerError: As `cross_validate` and `draw_curve`.
    """
    if holds_head(run.output):
        raise ConfigError(f"--output {run.output} holds a head that was trained on features: name another folder")
    refuse_until(run, until=until)
    with progress("evaluating") as on_progress:
        found = _measure(run, options, until=until, resume=resume, overwrite=overwrite, on_progress=on_progress)
    if as_json:
        print_json(found.to_dict())
        return 0
    print(format_folds(found) if isinstance(found, CrossValidation) else format_curve(found))
    print(f"page               {found.folder / 'report.html'}")
    return 0


def _measure(
    run: RunConfig, options: FoldOptions, *, until: Until, resume: bool, overwrite: bool, on_progress: OnProgress
) -> CrossValidation | VideoCurve:
    # probe and fine-tuned model are compared on validation videos; a probe alone chooses nothing by them
    ways: dict[str, Any] = {}
    if run.probe_views:
        features = Path(run.output).expanduser() / "features"  # which the runs of all folds share
        ways = {
            "train": partial(continue_fine_tuning, until=until, features=features),
            "chooses": until == "end",
        }
    shared: dict[str, Any] = {**ways, "resume": resume, "overwrite": overwrite, "on_message": note}
    if options.curve:
        return draw_curve(run, num_folds=options.folds or 0, on_progress=on_progress, **shared)
    assert options.folds is not None
    return cross_validate(run, num_folds=options.folds, on_progress=on_progress, **shared)


def format_folds(result: CrossValidation) -> str:
    """The cross-validation as a table."""
    lines = ["fold     top-1   videos  trained on  minutes  held out"]
    for fold in result.folds:
        names = ", ".join(fold.groups[:6]) + (", ..." if len(fold.groups) > 6 else "")
        lines.append(
            f"{fold.fold:<6}{fold.top1:>8.1%}{fold.num_videos:>9}{fold.num_train:>12}{fold.seconds / 60:>9.1f}  {names}"
        )
    evaluation = result.evaluation
    lines += [
        f"{'all':<6}{evaluation.top1:>8.1%}{evaluation.num_videos:>9}{'':>12}{result.seconds / 60:>9.1f}",
        f"95 % interval      {evaluation.describe_interval()}",
        f"mean over classes  {evaluation.mean_class:.1%}",
        f"majority class     {result.majority:.1%} ({result.majority_class})",
        f"chance             {result.chance:.1%}",
        f"protocol           {evaluation.protocol}",
        f"choice             {result.describe_choice()}",
    ]
    return "\n".join(lines)
