"""The run config of a command line: a file, a preset or weights to start from, and the options that change it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from timesformer.cli.console import note
from timesformer.cli.options import (
    DATA,
    LIST,
    MODEL,
    MODEL_NAMES,
    OPTIMIZATION,
    OUTPUT_NAMES,
    AllowCodecs,
    DeviceOfConfig,
    PrecisionOfConfig,
    RunOverrides,
)
from timesformer.config.io import apply_overrides, from_dict, parse_overrides, read_config, read_table
from timesformer.config.presets import PRESETS, clip_preset, preset
from timesformer.config.run import RunConfig
from timesformer.data.video.codecs import allowed_codecs
from timesformer.errors import ConfigError, did_you_mean
from timesformer.training.from_weights import fill_from_weights
from timesformer.training.run_folder import RunFolder
from timesformer.weights.load import config_of, is_here

_FINE_TUNING = {"optim": {"lr": 1e-4}, "epochs": 15, "batch_size": 8}
"""Defaults for training from weights: a low learning rate and few epochs."""
PROBE_FIRST = {
    "probe_views": 2,
    "probe_inputs": ["given", "moments", "motion"],
    "epochs": 15,
    "batch_size": 8,
    "precision": "auto",
    "keep": "last",
    "augment": {"temporal_jitter": 0.2},
    "optim": {"lr": 1e-4, "layer_decay": 0.75, "warmup_fraction": 0.1, "label_smoothing": 0.1, "ema_decay": 0.99},
}
"""Defaults of `train --init-from`: a probe, then fine-tuning at low rates, lower in lower layers, of which the moving
average of the last epoch is kept, so that validation videos choose nothing but between the two."""


@Parameter(name="*", group=OPTIMIZATION)
@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """The options of `train` that change its run."""

    val: Annotated[str, Parameter(group=DATA, metavar="PATH")] = ""
    """Validation videos (default: `val/` in DATA, or a held-out fifth of each class; whole groups, if a table has the
    column `group`)."""
    allow_codecs: AllowCodecs = ()
    model: Annotated[str, MODEL_NAMES] = ""
    """Preset to train from scratch (tiny, small, base, hr, large, vit_s, vit_b, vit_l), or weights to fine-tune, as
    with `--init-from` (default: small, or the model of `--config`)."""
    init_from: Annotated[str, Parameter(group=MODEL, metavar="MODEL")] = ""
    """Weights to start from: model folder, run folder, released `.pyth`, `transformers` folder, image ViT, or `people`,
    packaged weights that were pretrained on generated people."""
    distill_from: Annotated[tuple[str, ...], LIST, Parameter(group=MODEL, metavar="MODEL,...")] = ()
    """Trained models whose mean answers the run learns with the labels. Without another model or config, the settings
    are those of the first one's run."""
    config: Annotated[Path | None, Parameter(group=MODEL)] = None
    """TOML or JSON file with a `RunConfig`; options given here override it. If it starts from weights, model keys left
    out are those of the weights."""
    epochs: int | None = None
    """Passes over the training videos (default: 30, or 15 from weights)."""
    batch_size: int | None = None
    """Clips per optimizer step (default: 16, or 8 from weights)."""
    lr: float | None = None
    """Peak learning rate."""
    seed: int | None = None
    """Random seed of weights, order, sampling and augmentation (default: 0)."""
    overrides: RunOverrides = ()
    device: DeviceOfConfig = None
    precision: PrecisionOfConfig = None
    output: Annotated[str, OUTPUT_NAMES] = ""
    """Folder of the run: model, metrics, learning curve and checkpoints (default: runs/train)."""


def requested_run(data: str, options: TrainOptions, *, weights_may_lack: bool) -> RunConfig:
    """The run that `train` was asked for.

    Args:
        data: Training videos; empty if the config names them.
        options: The options of the command line.
        weights_may_lack: Accept weights that do not exist here; the model is then that of the config.

    Raises:
        ConfigError: Options contradict each other, or a value cannot work.
        WeightsError: The weights cannot be read.
    """
    name, weights = _preset_and_weights(options)
    if options.val and not data:
        raise ConfigError(f"--val {options.val} needs training videos: timesformer train DATA --val {options.val}")
    has_model = bool(options.config or name or weights or _init_from(options.overrides))
    first = "" if has_model or not options.distill_from else options.distill_from[0]
    if first and (is_here(first) or not weights_may_lack):
        run = run_of_teacher(first, has_data=bool(data))
    else:
        run = starting_run(
            options.config,
            init_from=weights,
            overrides=options.overrides,
            otherwise=run_from_preset(name or "small"),
            from_weights=PROBE_FIRST,
            weights_may_lack=weights_may_lack,
        )
    given = {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "device": options.device,
        "precision": options.precision,
        "seed": options.seed,
        "output": options.output,
        "init_from": weights,
        "distill_from": options.distill_from,
    }
    run = with_given(run, given)
    if data:
        run = replace(run, data=replace(run.data, train=data, val=options.val or run.data.val))
    if options.lr is not None:
        run = replace(run, optim=replace(run.optim, lr=options.lr))
    return with_codecs(apply_overrides(run, list(options.overrides)), options.allow_codecs)


def _preset_and_weights(options: TrainOptions) -> tuple[str, str]:
    """The preset and the weights of `--model` and `--init-from`; empty if not given.

    Raises:
        ConfigError: `--model` is neither, would have no effect, or names weights in addition to `--init-from`.
    """
    model, has_weights = options.model, bool(options.init_from or _init_from(options.overrides))
    if not model:
        return "", options.init_from
    if model in PRESETS and not Path(model).exists():
        if options.config or has_weights:
            raise ConfigError(
                f"--model {model} has no effect with --config or --init-from, which bring their own model"
            )
        return model, ""
    if has_weights:
        raise ConfigError(f"--model {model} has no effect with --init-from: give the weights once")
    if not is_here(model) and "/" not in model:
        raise ConfigError(
            f"--model {model!r} is neither a preset ({', '.join(PRESETS)}) nor a file or folder"
            f"{did_you_mean(model, PRESETS)}"
        )
    return "", model


def _init_from(overrides: Sequence[str]) -> Any:
    return _parsed(overrides).get("init_from")


def _parsed(overrides: Sequence[str]) -> dict[str, Any]:
    return parse_overrides(overrides, kind=RunConfig)


def states_precision(options: TrainOptions) -> bool:
    """Whether the command line or its config chooses the precision, instead of leaving it to the default."""
    is_in_config = options.config is not None and "precision" in read_table(options.config)
    return is_in_config or options.precision is not None or "precision" in _parsed(options.overrides)


def with_given(run: RunConfig, given: dict[str, Any]) -> RunConfig:
    """The run with the fields that were given; None and empty texts and lists were not."""
    return replace(run, **{key: value for key, value in given.items() if value not in (None, "", ())})


def with_codecs(run: RunConfig, codecs: Sequence[str]) -> RunConfig:
    """The run with more codecs that may be decoded.

    Raises:
        ConfigError: A codec is unknown.
    """
    allowed_codecs(codecs)
    codecs = tuple(dict.fromkeys((*run.data.allow_codecs, *codecs)))
    return replace(run, data=replace(run.data, allow_codecs=codecs))


def run_of_teacher(teacher: str, *, has_data: bool) -> RunConfig:
    """The run that trained a teacher; of a teacher without its run, one with the same model and clips.

    Args:
        teacher: The teacher.
        has_data: Whether the videos are named elsewhere, so that those of the run are left out.

    Raises:
        ConfigError: The config of the run cannot be read.
        WeightsError: The teacher cannot be read.
    """
    config = RunFolder(Path(teacher).expanduser()).config
    if not config.exists():
        model, info = config_of(teacher)
        return replace(run_from_preset("small"), model=model, clip=info.clip)
    run = replace(read_config(config, kind=RunConfig), output=RunConfig().output)
    return replace(run, data=replace(run.data, train="", val="")) if has_data else run


def run_from_preset(name: str) -> RunConfig:
    """Defaults for training a preset from scratch."""
    return RunConfig(model=preset(name), clip=clip_preset(name), epochs=30, batch_size=16)


def starting_run(
    config: Path | None,
    *,
    init_from: str,
    overrides: Sequence[str],
    otherwise: RunConfig,
    weights_may_lack: bool,
    from_weights: Mapping[str, Any] = _FINE_TUNING,
) -> RunConfig:
    """The run of a file, of weights or of a preset, before the other options of the command line are applied.

    A run that starts from weights has their model, except for keys that the file or `--set` gives.

    Args:
        config: The file; None if there is none.
        init_from: Weights of the command line. They override those of the file; `--set init_from` overrides both.
        overrides: Texts of `--set`.
        otherwise: The run without file and weights.
        weights_may_lack: Accept weights that do not exist here; the model is then that of the file.
        from_weights: Defaults of a run from weights without a file.

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
        table = dict(from_weights)
        if stated.get("probe_views") == 0:
            table.pop("probe_inputs", None)
    if config and weights_may_lack and not is_here(weights):
        note(f"{weights} does not exist: model keys that {config} leaves out are unknown and have their defaults")
    else:
        table = fill_from_weights(table, weights=weights, source=str(config), overrides=stated)
    # a wrong value in the file is refused even if another one overrides it
    table = table if not isinstance(table.get("init_from", ""), str) else {**table, "init_from": weights}
    return from_dict(table, kind=RunConfig, source=str(config) if config else weights)
