"""`timesformer reproduce`"""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from timesformer.cli.console import note, print_json, progress
from timesformer.cli.options import FLAG, OPTIMIZATION, OUTPUT, OUTPUT_NAMES, AsJson, Overwrite
from timesformer.cli.reproduce_request import Request, check_can_run, requested_experiment
from timesformer.data.manifest.inputs import list_files
from timesformer.errors import ConfigError
from timesformer.outputs import check_folder, refuse_inputs
from timesformer.reproduce.dry_run import plan_trainings
from timesformer.reproduce.experiment import MAIN, Experiment
from timesformer.reproduce.figure3 import cost_result
from timesformer.reproduce.plot import draw
from timesformer.reproduce.result import FILES, PLOT, Result, check_can_write, markdown, write_result
from timesformer.reproduce.runner import run_experiment
from timesformer.reproduce.videos import CLASSES, VideoSet, own_set, reversed_set, synthetic_set
from timesformer.training.dataloaders import load_data
from timesformer.weights.load import model_files

Name = Literal["schemes", "cost", "pretraining", "data-scale", "tokens", "position", "clips", "order", "long"]

_SIZES = {
    "laptop": "laptop: small models from scratch on synthetic videos",
    "own": "own videos",
    "full": "full: the paper's models and schedule",
}
_REQUEST = Request()


def reproduce(
    experiment: Annotated[Name, Parameter(show_choices=False)],
    /,
    *,
    request: Request = _REQUEST,
    seeds: Annotated[int, Parameter(group=OPTIMIZATION)] = 1,
    output: Annotated[Path | None, OUTPUT_NAMES] = None,
    dry_run: Annotated[bool, FLAG, Parameter(group=OUTPUT)] = False,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Run an experiment of the paper, on a laptop or in full.

    Trains and measures its variants and compares them with the paper's numbers. By default it uses synthetic videos of
    motions and takes minutes on two cores; `--data` uses your videos, and `--full` trains the paper's models on them.
    The folder gets `table.md`, `results.json`, `plot.png` and the trained models; finished trainings are kept.

    Example: `timesformer reproduce schemes`, then open runs/reproduce/schemes/table.md

    Parameters
    ----------
    experiment
        `schemes` (table 1), `cost` (figure 3), `pretraining` (table 3), `data-scale` (figure 4), `tokens` (figure 5),
        `position` (table 4), `clips` (figure 6), `order` (section 4.7, and the value of frame order), `long` (table 8).
    seeds
        Models per variant; the table shows their mean.
    output
        Folder of the results (default: runs/reproduce/EXPERIMENT).
    dry_run
        Print the trainings and stop.
    """
    output = output or Path("runs/reproduce") / experiment
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds} must be at least 1")
    if experiment == "cost":
        _refuse_settings(request, seeds=seeds, dry_run=dry_run)
        result = _measure_cost(output, overwrite=overwrite)
    else:
        wanted = requested_experiment(experiment, request, weights_may_lack=dry_run)
        if dry_run:
            _show_plan(wanted, request, as_json=json)
            return
        check_can_run(experiment, request)
        _check_output(wanted, request, output, seeds=seeds, overwrite=overwrite)
        result = run_experiment(
            wanted,
            _videos(wanted, request, output / "data"),
            output / "runs",
            scale=_SIZES[request.scale],
            seeds=seeds,
            overwrite=overwrite,
            say=note,
        )
    _finish(result, output, as_json=json)


def _measure_cost(output: Path, *, overwrite: bool) -> Result:
    result = cost_result()
    labels = [row.label for row in result.rows]
    check_can_write(output, name=result.name, labels=labels, seeds=[], overwrite=overwrite)
    check_folder(output)
    return result


def _refuse_settings(request: Request, *, seeds: int, dry_run: bool) -> None:
    given = [*request.settings, *(["--seeds"] if seeds != 1 else []), *(["--dry-run"] if dry_run else [])]
    if given:
        raise ConfigError(f"{', '.join(given)}: no effect on cost, which is computed at the paper's sizes")


def _check_output(experiment: Experiment, request: Request, output: Path, *, seeds: int, overwrite: bool) -> None:
    """Refuse, before the work, to replace input files or another result."""
    reads = (*list_files(request.data, request.val), *model_files(request.init_from), *filter(None, [request.config]))
    refuse_inputs([output / name for name in FILES], reads)
    first = experiment.base.seed
    check_can_write(
        output,
        name=experiment.name,
        labels=[variant.label for variant in experiment.variants],
        seeds=range(first, first + seeds),
        overwrite=overwrite,
    )
    check_folder(output)


def _videos(experiment: Experiment, request: Request, folder: Path) -> dict[str, VideoSet]:
    base = experiment.base
    if request.data:
        if not request.reversed_copies:
            return {MAIN: own_set(folder / "own", base.data, seed=base.seed)}
        with progress("copying", unit="clips") as on_progress:
            return {MAIN: reversed_set(folder / "reversed", base.data, seed=base.seed, on_progress=on_progress)}
    with progress("writing videos", unit="clips") as on_progress:
        return {
            name: synthetic_set(folder, motions, seed=base.seed, on_progress=on_progress)
            for name, motions in experiment.motions.items()
        }


def _show_plan(experiment: Experiment, request: Request, *, as_json: bool) -> None:
    num_train = _num_train(experiment, request)
    plans = plan_trainings(experiment, num_train=num_train)
    if as_json:
        print_json({"experiment": experiment.name, "num_train": num_train, "trainings": [p.to_dict() for p in plans]})
        return
    print(f"{experiment.title} ({experiment.shows}): {len(plans)} trainings, {len(experiment.variants)} rows")
    for plan in plans:
        steps = "steps unknown without --data" if plan.steps is None else f"{plan.steps} steps"
        start = f"from {plan.start}" if plan.start else "from scratch"
        print(
            f"{plan.name}: {plan.parameters / 1e6:.2f} M parameters, {plan.gmacs:.3g} GMAC a clip, {plan.epochs} "
            f"epochs, {steps}, {start}; {plan.protocol}"
        )


def _num_train(experiment: Experiment, request: Request) -> int | None:
    """Number of training videos, if known before they are written."""
    if request.data:
        split = load_data(experiment.base.data, seed=experiment.base.seed)
        return len(split.train.samples) * (2 if request.reversed_copies else 1)
    if request.full:
        return None
    return experiment.motions[MAIN].clips // len(CLASSES) * len(CLASSES)


def _finish(result: Result, output: Path, *, as_json: bool) -> None:
    output.mkdir(parents=True, exist_ok=True)
    write_result(result, output)
    draw(result, output / PLOT)
    if as_json:
        print_json({"folder": str(output), **result.to_dict()})
    else:
        print(markdown(result))
        print(f"written: {output}: table.md, results.json, plot.png")
