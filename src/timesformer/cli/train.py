"""`timesformer train`"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from timesformer.cli.console import print_json, say
from timesformer.cli.options import AllowCodecs, AsJson, Overwrite
from timesformer.config.io import apply_overrides, from_dict, parse_overrides, read_table
from timesformer.config.presets import clip_preset, preset
from timesformer.config.run import RunConfig
from timesformer.data.manifest.inputs import list_files
from timesformer.data.video.codecs import allowed_codecs
from timesformer.errors import ConfigError
from timesformer.outputs import check_files
from timesformer.training.augmentation_preview import write_sheet
from timesformer.training.dry_run import format_plan, make_plan, plan_as_dict
from timesformer.training.from_weights import fill_from_weights
from timesformer.training.run_folder import RunFolder
from timesformer.training.train import train as run_training
from timesformer.weights.load import is_here, model_files


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
    allow_codecs: AllowCodecs = (),
    overwrite: Overwrite = False,
    json: AsJson = False,
    overrides: Annotated[tuple[str, ...], Parameter(name="--set", negative=())] = (),
) -> int:
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
        A TOML or JSON file with a run (`RunConfig`); options given here win over it. Keys of its model that are left
        out are those of the weights, if it starts from any.
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
        Print the plan and stop: model, data, batch, optimizer, schedule, augmentation, and memory with the batch that
        fits. With `--config`, neither weights nor videos need be there; videos that are there and cannot be used end
        with status 1.
    sheet
        Write a picture of augmented training clips to this file, and stop.
    overrides
        Any other key of the run, such as `--set model.scheme=axial --set optim.weight_decay=0.1`.
    """
    if resume and not (data or config or model or init_from):
        config = _config_to_resume(output)
    if model and (config or init_from or parse_overrides(overrides, kind=RunConfig).get("init_from")):
        raise ConfigError(f"--model {model} has no effect beside --config or --init-from, which bring their own model")
    if val and not data:
        raise ConfigError(f"--val {val} needs the training videos beside it: timesformer train DATA --val {val}")
    if sheet and (dry_run or resume):
        raise ConfigError(f"--sheet {sheet} only draws a picture: leave out --dry-run and --resume")
    run = starting_run(
        config,
        init_from=init_from,
        overrides=overrides,
        otherwise=run_from_preset(model or "small"),
        weights_may_lack=dry_run or resume or sheet is not None,
    )
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
    run = with_codecs(run, allow_codecs)
    if dry_run:
        return _show_plan(run, as_json=json, may_lack_data=config is not None)
    if sheet:
        _show_result({"sheet": str(_write_sheet(run, sheet, config=config, overwrite=overwrite))}, as_json=json)
    else:
        folder = run_training(run, overwrite=overwrite, resume=resume)
        _show_result({"run": str(folder), "model": str(folder / "model")}, as_json=json)
        if not json:
            say(f"try it: timesformer predict VIDEO --model {folder}")
    return 0


def _config_to_resume(output: str) -> Path | None:
    """The config of the run that a folder holds; None if it holds none."""
    config = RunFolder(Path(output or RunConfig().output).expanduser()).config
    return config if config.exists() else None


def _write_sheet(run: RunConfig, sheet: Path, *, config: Path | None, overwrite: bool) -> Path:
    sheet = sheet.expanduser()
    reads = (*list_files(run.data.train, run.data.val), *model_files(run.init_from), *filter(None, [config]))
    check_files(sheet, overwrite=overwrite, reads=reads)
    return write_sheet(run, sheet)


def _show_plan(run: RunConfig, *, as_json: bool, may_lack_data: bool) -> int:
    """Print the plan; the exit status is 1 if its videos cannot be trained on."""
    plan = make_plan(run)
    if as_json:
        print_json(plan_as_dict(plan))
    else:
        print(format_plan(plan))
    lacks = not plan.data.train or bool(plan.data.missing)
    if lacks and may_lack_data:
        return 0
    fault = plan.data.problem or (f"{', '.join(plan.data.missing)} does not exist" if plan.data.missing else "")
    if fault:
        say(f"error: this run cannot start: {fault}")
    return 1 if fault else 0


def _show_result(paths: dict[str, str], *, as_json: bool) -> None:
    """Print what was made: all of it for machines, its first path for people."""
    if as_json:
        print_json(paths)
    else:
        print(next(iter(paths.values())))


def with_codecs(run: RunConfig, codecs: Sequence[str]) -> RunConfig:
    """The run, with more codecs that may be decoded.

    Raises:
        ConfigError: One of them is unknown.
    """
    allowed_codecs(codecs)
    codecs = tuple(dict.fromkeys((*run.data.allow_codecs, *codecs)))
    return replace(run, data=replace(run.data, allow_codecs=codecs))


def run_from_preset(name: str) -> RunConfig:
    """The run of somebody who gives nothing but videos: a preset, trained from the start."""
    return RunConfig(model=preset(name), clip=clip_preset(name), epochs=30, batch_size=16)


def starting_run(
    config: Path | None, *, init_from: str, overrides: Sequence[str], otherwise: RunConfig, weights_may_lack: bool
) -> RunConfig:
    """The run of a file, of weights, or another one, before the options of the command line are applied.

    Where it starts from weights, its model is theirs, but for the keys that the file or `--set` give.

    Args:
        config: The file; None if there is none.
        init_from: Weights that were named; those of `--set init_from` win over them, and they win over the file's.
        overrides: Texts of `--set`.
        otherwise: The run if there is neither file nor weights.
        weights_may_lack: Whether weights may be named that are not here; the model is then the file's.

    Raises:
        ConfigError: The file cannot be read, or a key that was set does not fit the weights.
        WeightsError: The weights cannot be read.
    """
    stated = parse_overrides(overrides, kind=RunConfig)
    table = read_table(config) if config else {}
    weights = stated.get("init_from", init_from or table.get("init_from", ""))
    if not isinstance(weights, str) or not weights:
        return from_dict(table, kind=RunConfig, source=str(config)) if config else otherwise
    if not config:
        table = {"optim": {"lr": 1e-4}, "epochs": 15, "batch_size": 8}
    if config and weights_may_lack and not is_here(weights):
        say(f"{weights} is not here: keys of the model that {config} leaves out are not known and have their defaults")
    else:
        table = fill_from_weights(table, weights=weights, source=str(config), overrides=stated)
    # a wrong value in the file is refused though another one wins
    table = table if not isinstance(table.get("init_from", ""), str) else {**table, "init_from": weights}
    return from_dict(table, kind=RunConfig, source=str(config) if config else weights)
