"""`timesformer train`"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from timesformer.cli.console import print_json, say
from timesformer.cli.options import AsJson, Overwrite
from timesformer.config.io import apply_overrides, read_config
from timesformer.config.presets import clip_preset, preset
from timesformer.config.run import OptimConfig, RunConfig
from timesformer.data.inputs import list_files
from timesformer.errors import ConfigError
from timesformer.outputs import check_files
from timesformer.training.fit import train as run_training
from timesformer.training.plan import format_plan, make_plan, plan_as_dict
from timesformer.training.run_folder import RunFolder
from timesformer.training.sheet import write_sheet
from timesformer.weights.load import load, model_files


def train(
    data: str = "",
    /,
    *,
    val: str = "",
    config: Path | None = None,
    model: str = "",
    init_from: str = "",
    output: str = "",
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    device: str | None = None,
    seed: int | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    sheet: Path | None = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
    overrides: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
) -> None:
    """Train a classifier on your own videos.

    DATA is a folder with one folder of videos for each class (or with `train/` and `val/`, each like that), or an
    annotation file: `path label` lines, csv with a header, or the files of Something-Something v2, UCF101, HMDB51 or
    Diving-48. A video is a file, a folder of frames, or in a tar file that `shard` wrote. The run folder gets the
    model, the metrics, a learning curve and checkpoints.

    Example: `timesformer train my_videos --output runs/mine --epochs 30`

    Parameters
    ----------
    data
        Training videos.
    val
        Validation videos; without it and without `val/` in DATA, a fifth of each class is held out (whole
        groups, where a table has the column `group`).
    config
        A TOML or JSON file with a whole run (`RunConfig`); options given here win over it.
    model
        A preset: tiny, small (the default), base, hr, large, vit_s, vit_b, vit_l. With `--init-from`, the model is
        that of the weights; with `--config`, that of the file.
    init_from
        Weights to start from: a model folder, a released `.pyth`, a `transformers` folder, an image ViT.
    output
        Folder of the run; `runs/train` by default.
    epochs
        Passes over the training videos.
    batch_size
        Clips in a step.
    lr
        Peak learning rate.
    device
        `auto`, `cpu`, `cuda` or `mps`.
    seed
        Seed of weights, order, sampling and augmentation.
    resume
        Go on from the last checkpoint in the output folder: with the options of the start, or with `--output` alone.
        The run ends with the weights that it would have had without a stop, whenever it was stopped or killed.
    dry_run
        Print the plan and stop: model, data, batch, optimiser, schedule, augmentation, and memory with the batch that
        fits. With `--config`, neither weights nor videos need be there.
    sheet
        Write a picture of augmented training clips to this file, and stop.
    overrides
        Any other key of the run, such as `--set model.scheme=axial --set optim.weight_decay=0.1`.
    """
    if resume and not (data or config or model or init_from):
        config = _config_to_resume(output)
    if model and (config or init_from):
        raise ConfigError(f"--model {model} has no effect beside --config or --init-from, which bring their own model")
    if val and not data:
        raise ConfigError(f"--val {val} needs the training videos beside it: timesformer train DATA --val {val}")
    if sheet and (dry_run or resume):
        raise ConfigError(f"--sheet {sheet} only draws a picture: leave out --dry-run and --resume")
    if config:
        run = read_config(config, kind=RunConfig)
    else:
        run = run_from_weights(init_from) if init_from else run_from_preset(model or "small")
    given = {
        "epochs": epochs,
        "batch_size": batch_size,
        "device": device,
        "seed": seed,
        "output": output or None,
        "init_from": init_from or None,
    }
    run = replace(run, **{key: value for key, value in given.items() if value is not None})
    if data:
        run = replace(run, data=replace(run.data, train=data, val=val or run.data.val))
    if lr is not None:
        run = replace(run, optim=replace(run.optim, lr=lr))
    run = apply_overrides(run, list(overrides))
    if dry_run:
        _show_plan(run, as_json=json)
    elif sheet:
        _show_result({"sheet": str(_write_sheet(run, sheet, config=config, overwrite=overwrite))}, as_json=json)
    else:
        folder = run_training(run, overwrite=overwrite, resume=resume)
        _show_result({"run": str(folder), "model": str(folder / "model")}, as_json=json)
        if not json:
            say(f"try it: timesformer predict VIDEO --model {folder}")


def _config_to_resume(output: str) -> Path | None:
    """The config of the run that a folder holds; None if it holds none."""
    config = RunFolder(Path(output or RunConfig().output).expanduser()).config
    return config if config.exists() else None


def _write_sheet(run: RunConfig, sheet: Path, *, config: Path | None, overwrite: bool) -> Path:
    sheet = sheet.expanduser()
    reads = (*list_files(run.data.train, run.data.val), *model_files(run.init_from), *filter(None, [config]))
    check_files(sheet, overwrite=overwrite, reads=reads)
    return write_sheet(run, sheet)


def _show_plan(run: RunConfig, *, as_json: bool) -> None:
    plan = make_plan(run)
    if as_json:
        print_json(plan_as_dict(plan))
    else:
        print(format_plan(plan))


def _show_result(paths: dict[str, str], *, as_json: bool) -> None:
    """Print what was made: all of it for machines, its first path for people."""
    if as_json:
        print_json(paths)
    else:
        print(next(iter(paths.values())))


def run_from_preset(name: str) -> RunConfig:
    """The run of somebody who gives nothing but videos: a preset, trained from the start."""
    return RunConfig(model=preset(name), clip=clip_preset(name), epochs=30, batch_size=16)


def run_from_weights(source: str) -> RunConfig:
    """The run of somebody who gives videos and weights: their model and clips, and a rate that does not wreck them."""
    model = load(source)
    return RunConfig(
        model=model.config, clip=model.info.clip, optim=OptimConfig(lr=1e-4), init_from=source, epochs=15, batch_size=8
    )
