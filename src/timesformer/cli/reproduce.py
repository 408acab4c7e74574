"""`timesformer reproduce`"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from timesformer.cli.console import print_json, progress, say
from timesformer.cli.options import AllowCodecs, AsJson, Overwrite
from timesformer.cli.train import run_from_preset, starting_run, with_codecs
from timesformer.config.io import apply_overrides
from timesformer.config.run import RunConfig
from timesformer.data.manifest.inputs import list_files
from timesformer.errors import ConfigError, did_you_mean
from timesformer.outputs import check_folder, refuse_inputs
from timesformer.reproduce.dry_run import plan_trainings
from timesformer.reproduce.experiment import MAIN, Experiment
from timesformer.reproduce.experiments import define
from timesformer.reproduce.figure3 import cost_result
from timesformer.reproduce.plot import draw
from timesformer.reproduce.result import FILES, PLOT, Result, check_can_write, markdown, write_result
from timesformer.reproduce.runner import run_experiment
from timesformer.reproduce.sizes import SCALES, ScaleName, laptop_run, paper_run
from timesformer.reproduce.videos import CLASSES, VideoSet, own_set, reversed_set, synthetic_set
from timesformer.training.dataloaders import load_data
from timesformer.weights.load import model_files

Name = Literal["schemes", "cost", "pretraining", "data-scale", "tokens", "position", "clips", "order", "long"]
Flag = Parameter(negative=())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What was asked for on the command line, apart from where the result goes."""

    data: str
    val: str
    reversed_copies: bool
    config: Path | None
    init_from: str
    full: bool
    dry_run: bool
    schemes: tuple[str, ...]
    clips: int | None
    epochs: int | None
    device: str | None
    seed: int | None
    allow_codecs: tuple[str, ...]
    overrides: tuple[str, ...]

    @property
    def scale(self) -> ScaleName:
        if self.full:
            return "full"
        return "own" if self.data else "laptop"

    @property
    def settings(self) -> list[str]:
        """Options that an experiment without training would ignore."""
        options = {
            "--data": self.data, "--val": self.val, "--reversed": self.reversed_copies, "--config": self.config,
            "--init-from": self.init_from, "--schemes": self.schemes, "--clips": self.clips, "--epochs": self.epochs,
            "--device": self.device, "--seed": self.seed, "--allow-codec": self.allow_codecs,
            "--set": self.overrides,
        }  # fmt: skip
        return [name for name, value in options.items() if value not in (None, "", (), False)]


def reproduce(
    experiment: Name,
    /,
    *,
    data: str = "",
    val: str = "",
    reversed_copies: Annotated[bool, Parameter(name="--reversed", negative=())] = False,
    config: Path | None = None,
    init_from: str = "",
    full: Annotated[bool, Flag] = False,
    schemes: str = "",
    seeds: int = 1,
    clips: int | None = None,
    epochs: int | None = None,
    device: str | None = None,
    seed: int | None = None,
    output: Path | None = None,
    dry_run: Annotated[bool, Flag] = False,
    allow_codecs: AllowCodecs = (),
    overwrite: Overwrite = False,
    json: AsJson = False,
    overrides: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
) -> None:
    """Run an experiment of the paper: its arms are trained and measured, and put beside the paper's numbers.

    By default it draws videos of motions and takes minutes on two cores. With `--data` it runs on your videos, with
    `--full` the paper's models on them. The folder gets `table.md`, `results.json`, `plot.png` and the trained models;
    what is trained there already is not trained again.

    Example: `timesformer reproduce schemes`, then open runs/reproduce/schemes/table.md

    Parameters
    ----------
    experiment
        `schemes` (table 1), `cost` (figure 3), `pretraining` (table 3), `data-scale` (figure 4), `tokens` (figure 5),
        `position` (table 4), `clips` (figure 6), `order` (section 4.7; and what the order of frames is worth), `long`
        (table 8).
    data
        Your training videos: a folder with one folder a class, or an annotation file.
    val
        Your test videos; without it and without `val/` in DATA, a fifth of each class is held out (whole
        groups, where a table has the column `group`).
    reversed_copies
        Add each of your videos played backwards, as a class of its own: then classes come in pairs that only the order
        of frames tells apart.
    config
        A TOML or JSON file with a whole run (`RunConfig`) that all arms depart from.
    init_from
        Weights that all arms start from, such as an image ViT.
    full
        The paper's models and schedule, on `--data`.
    schemes
        For `schemes`: which ones, with commas between; all five by default.
    seeds
        Models of each arm; the table shows their mean.
    clips
        Synthetic training videos. Not beside `--data`.
    epochs
        Passes over the training videos.
    device
        `auto`, `cpu`, `cuda` or `mps`.
    seed
        First seed.
    output
        Folder; `runs/reproduce/<experiment>` by default.
    dry_run
        Show what would be trained, and stop.
    overrides
        Any other key of the run that all arms depart from, such as `--set optim.lr=1e-3`.
    """
    output = output or Path("runs/reproduce") / experiment
    request = _Request(
        data=data, val=val, reversed_copies=reversed_copies, config=config, init_from=init_from, full=full,
        dry_run=dry_run, schemes=tuple(schemes.split(",")) if schemes else (), clips=clips, epochs=epochs,
        device=device, seed=seed, allow_codecs=allow_codecs, overrides=overrides,
    )  # fmt: skip
    _check_seeds(seeds)
    if experiment == "cost":
        _refuse_settings(request, seeds=seeds, dry_run=dry_run)
        result = cost_result()
        labels = [row.label for row in result.rows]
        check_can_write(output, name=result.name, labels=labels, seeds=[], overwrite=overwrite)
        check_folder(output)
        _finish(result, output, as_json=json)
        return
    wanted = _define(experiment, request)
    if dry_run:
        _show_plan(wanted, request, as_json=json)
        return
    _check_can_run(experiment, request)
    _check_output(wanted, request, output, seeds=seeds, overwrite=overwrite)
    videos = _videos(wanted, request, output / "data")
    result = run_experiment(
        wanted, videos, output / "runs", scale=_describe_scale(request), seeds=seeds, overwrite=overwrite, say=say
    )
    _finish(result, output, as_json=json)


def _define(name: str, request: _Request) -> Experiment:
    if request.val and not request.data:
        raise ConfigError(f"--val {request.val} needs the training videos beside it: --data TRAIN --val {request.val}")
    if request.clips is not None and request.scale != "laptop":
        raise ConfigError(
            f"--clips {request.clips} sets the number of synthetic videos and has no effect beside --data"
        )
    if request.allow_codecs and request.scale == "laptop":
        raise ConfigError("--allow-codec has no effect on synthetic videos: name yours with --data")
    if request.reversed_copies and not request.data:
        raise ConfigError("--reversed copies your videos and needs --data; synthetic motions come in such pairs anyway")
    experiment = define(name, _base_run(name, request), SCALES[request.scale])
    if request.schemes:
        experiment = _only_schemes(experiment, request.schemes)
    if request.clips is not None:
        motions = {key: replace(motion, clips=request.clips) for key, motion in experiment.motions.items()}
        experiment = replace(experiment, motions=motions)
    return experiment


def _base_run(name: str, request: _Request) -> RunConfig:
    """The run that all arms depart from: of the file, the weights or the scale, with what else was given."""
    if request.full and not request.config:
        run = paper_run()
    else:
        run = starting_run(
            request.config,
            init_from=request.init_from,
            overrides=request.overrides,
            otherwise=run_from_preset("small") if request.data else laptop_run(name),
            weights_may_lack=request.dry_run,
        )
    given = {
        "epochs": request.epochs,
        "device": request.device,
        "seed": request.seed,
        "init_from": request.init_from or None,
    }
    # the epoch must not be chosen by the videos that the model is tested on
    run = replace(run, keep="last", **{key: value for key, value in given.items() if value is not None})
    if request.data:
        run = replace(run, data=replace(run.data, train=request.data, val=request.val))
    run = with_codecs(apply_overrides(run, list(request.overrides)), request.allow_codecs)
    if run.data.train and not request.data:
        raise ConfigError(f"data.train={run.data.train!r} has no effect here: name the videos with --data")
    return run


def _only_schemes(experiment: Experiment, schemes: tuple[str, ...]) -> Experiment:
    if experiment.name != "schemes":
        raise ConfigError(f"--schemes has no effect on {experiment.name}, only on the experiment `schemes`")
    arms = {arm.label: arm for arm in experiment.arms}
    for name in schemes:
        if name not in arms:
            raise ConfigError(f"--schemes: {name!r} is not one of {', '.join(arms)}{did_you_mean(name, arms)}")
    return replace(experiment, arms=tuple(arms[name] for name in dict.fromkeys(schemes)))


def _check_can_run(name: str, request: _Request) -> None:
    if request.full and not request.data:
        raise ConfigError("--full needs the real videos: --data TRAIN --val VAL; or --dry-run to see its arms")
    if request.full and not request.init_from:
        raise ConfigError("--full needs the image weights that the paper starts from: --init-from WEIGHTS")
    if name == "pretraining" and request.data and not request.init_from:
        raise ConfigError("pretraining on your own videos needs weights to compare with: --init-from WEIGHTS")


def _check_output(experiment: Experiment, request: _Request, output: Path, *, seeds: int, overwrite: bool) -> None:
    """Refuse, before the work, to replace what is read, or another result."""
    reads = (*list_files(request.data, request.val), *model_files(request.init_from), *filter(None, [request.config]))
    refuse_inputs([output / name for name in FILES], reads)
    first = experiment.base.seed
    check_can_write(
        output,
        name=experiment.name,
        labels=[arm.label for arm in experiment.arms],
        seeds=range(first, first + seeds),
        overwrite=overwrite,
    )
    check_folder(output)


def _check_seeds(seeds: int) -> None:
    if seeds < 1:
        raise ConfigError(f"--seeds {seeds} must be at least 1")


def _refuse_settings(request: _Request, *, seeds: int, dry_run: bool) -> None:
    given = [*request.settings, *(["--seeds"] if seeds != 1 else []), *(["--dry-run"] if dry_run else [])]
    if given:
        raise ConfigError(f"{', '.join(given)}: no effect on cost, which is computed at the paper's sizes")


def _videos(experiment: Experiment, request: _Request, folder: Path) -> dict[str, VideoSet]:
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


def _describe_scale(request: _Request) -> str:
    return {
        "laptop": "laptop: small models from nothing on drawn videos",
        "own": "own videos",
        "full": "full: the paper's models and schedule",
    }[request.scale]


def _show_plan(experiment: Experiment, request: _Request, *, as_json: bool) -> None:
    num_train = _num_train(experiment, request)
    plans = plan_trainings(experiment, num_train=num_train)
    if as_json:
        print_json({"experiment": experiment.name, "num_train": num_train, "trainings": [p.to_dict() for p in plans]})
        return
    print(f"{experiment.title} ({experiment.shows}): {len(plans)} trainings, {len(experiment.arms)} rows")
    for plan in plans:
        steps = "steps not known without --data" if plan.steps is None else f"{plan.steps} steps"
        start = f"from {plan.start}" if plan.start else "from nothing"
        print(
            f"{plan.name}: {plan.parameters / 1e6:.2f} M parameters, {plan.gmacs:.3g} GMAC a clip, {plan.epochs} "
            f"epochs, {steps}, {start}; {plan.protocol}"
        )


def _num_train(experiment: Experiment, request: _Request) -> int | None:
    """Training videos, where they are known before they are written."""
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
