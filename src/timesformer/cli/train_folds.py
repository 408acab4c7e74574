"""`timesformer train --folds`: cross-validation over groups."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter

from timesformer.cli.console import note, print_json, progress
from timesformer.cli.run_config import TrainOptions
from timesformer.config.run import RunConfig
from timesformer.cross_validation.folder import FoldsFolder, holds_folds, read_state
from timesformer.cross_validation.result import CrossValidation
from timesformer.cross_validation.run import cross_validate
from timesformer.errors import ConfigError
from timesformer.processes import ProcessInfo
from timesformer.retrieval.heads.folder import holds_head

_FOLDS = Group("Cross-validation", sort_key=3.4)


@Parameter(name="*", group=_FOLDS)
@dataclass(frozen=True, slots=True, kw_only=True)
class FoldOptions:
    """The options of `train` that measure a run instead of making one model."""

    folds: Annotated[int | None, Parameter(metavar="K")] = None
    """Cross-validation: deal the videos to K folds, whole groups together, train once without each, evaluate on it,
    and write `predictions.csv` and `report.html`. `--val` and a validation folder are not used."""

    def given(self) -> dict[str, bool]:
        """Each option, and whether it is given."""
        return {"--folds": self.folds is not None}


def check_folds(options: FoldOptions, *, process: ProcessInfo, other: Mapping[str, bool]) -> None:
    """Refuse options that do not go with a cross-validation.

    Raises:
        ConfigError: One is given.
    """
    if options.folds is not None and options.folds < 2:
        raise ConfigError(f"--folds {options.folds}: a cross-validation needs at least 2 folds")
    given = [name for name, is_given in other.items() if is_given]
    if given:
        raise ConfigError(f"{', '.join(given)}: no effect with --folds")
    if process.num_processes > 1:
        message = f"--folds runs in one process, not in {process.num_processes}: start it without torchrun or srun"
        raise ConfigError(message if process.rank == 0 else "")


def resumed(options: FoldOptions, train: TrainOptions, *, has_run: bool) -> tuple[FoldOptions, TrainOptions]:
    """The options of the cross-validation in the output folder, if there is one and they are not given.

    Args:
        options: Those of the command line.
        train: Those of the run.
        has_run: Whether the command line says which run it is.

    Raises:
        ConfigError: The cross-validation in the folder is damaged.
    """
    if not holds_folds(train.output or RunConfig().output):
        return options, train
    folder = FoldsFolder(Path(train.output or RunConfig().output).expanduser())
    folds = read_state(folder).num_folds if options.folds is None else options.folds
    return replace(options, folds=folds), train if has_run else replace(train, config=folder.config)


def refuse_folds(output: str) -> None:
    """Refuse to train a single run into the folder of a cross-validation.

    Raises:
        ConfigError: The folder holds one.
    """
    if holds_folds(output):
        raise ConfigError(f"--output {output} holds a cross-validation: name another folder")


def train_folds(run: RunConfig, options: FoldOptions, *, resume: bool, overwrite: bool, as_json: bool) -> int:
    """Cross-validate a run, and print its table.

    Raises:
        TimeSformerError: As `cross_validate`.
    """
    assert options.folds is not None
    if holds_head(run.output):
        raise ConfigError(f"--output {run.output} holds a head that was trained on features: name another folder")
    with progress("evaluating") as on_progress:
        result = cross_validate(
            run, num_folds=options.folds, resume=resume, overwrite=overwrite, on_message=note, on_progress=on_progress
        )
    if as_json:
        print_json(result.to_dict())
    else:
        print(format_folds(result))
    return 0


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
        f"page               {FoldsFolder(result.folder).page}",
    ]
    return "\n".join(lines)
