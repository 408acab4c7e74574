"""What a command line of `reproduce` asks for, as an experiment."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from timesformer.cli.options import (
    DATA,
    FLAG,
    LIST,
    MODEL,
    OPTIMIZATION,
    AllowCodecs,
    DeviceOfConfig,
    RunOverrides,
)
from timesformer.cli.run_config import run_from_preset, starting_run, with_codecs, with_given
from timesformer.config.io import apply_overrides
from timesformer.config.old_spellings import current_value
from timesformer.config.run import RunConfig
from timesformer.errors import ConfigError, did_you_mean
from timesformer.reproduce.experiment import Experiment
from timesformer.reproduce.experiments import define
from timesformer.reproduce.sizes import SIZES, SizeName, laptop_run, paper_run


@Parameter(name="*", group=OPTIMIZATION)
@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The options of `reproduce` that change its trainings."""

    data: Annotated[str, Parameter(group=DATA, metavar="PATH")] = ""
    """Your training videos: a folder with one subfolder per class, or an annotation file."""
    val: Annotated[str, Parameter(group=DATA, metavar="PATH")] = ""
    """Your test videos (default: `val/` in DATA, or a held-out fifth of each class; whole groups, if a table has the
    column `group`)."""
    reversed_copies: Annotated[bool, FLAG, Parameter(name="--reversed", group=DATA)] = False
    """Add each of your videos played backwards, as a separate class, so that only the order of frames tells the two
    classes of a pair apart."""
    clips: Annotated[int | None, Parameter(group=DATA)] = None
    """Number of synthetic training videos; not with `--data`."""
    allow_codecs: AllowCodecs = ()
    schemes: Annotated[tuple[str, ...], LIST, Parameter(group=MODEL, metavar="NAME,...")] = ()
    """With `schemes`: schemes to train (default: all five)."""
    init_from: Annotated[str, Parameter(group=MODEL, metavar="MODEL")] = ""
    """Weights that all variants start from, such as an image ViT."""
    config: Annotated[Path | None, Parameter(group=MODEL)] = None
    """TOML or JSON file with the `RunConfig` that all variants change."""
    full: Annotated[bool, FLAG, Parameter(group=MODEL)] = False
    """Run the paper's models and schedule on `--data`."""
    epochs: int | None = None
    """Passes over the training videos."""
    seed: int | None = None
    """First random seed (default: 0)."""
    device: DeviceOfConfig = None
    overrides: RunOverrides = ()

    @property
    def scale(self) -> SizeName:
        """Size of the experiment."""
        if self.full:
            return "full"
        return "own" if self.data else "laptop"

    @property
    def settings(self) -> list[str]:
        """The options that were given, which an experiment without training would ignore."""
        options = {
            "--data": self.data, "--val": self.val, "--reversed": self.reversed_copies, "--config": self.config,
            "--init-from": self.init_from, "--full": self.full, "--schemes": self.schemes, "--clips": self.clips,
            "--epochs": self.epochs, "--device": self.device, "--seed": self.seed, "--allow-codec": self.allow_codecs,
            "--set": self.overrides,
        }  # fmt: skip
        return [name for name, value in options.items() if value not in (None, "", (), False)]


def requested_experiment(name: str, request: Request, *, weights_may_lack: bool) -> Experiment:
    """The experiment with the trainings that were asked for.

    Args:
        name: The experiment.
        request: The options of the command line.
        weights_may_lack: Accept weights that do not exist here.

    Raises:
        ConfigError: An option has no effect, or a value cannot work.
        WeightsError: The weights cannot be read.
    """
    _refuse_without_effect(request)
    experiment = define(name, _base_run(name, request, weights_may_lack=weights_may_lack), SIZES[request.scale])
    if request.schemes:
        experiment = _only_schemes(experiment, request.schemes)
    if request.clips is not None:
        motions = {key: replace(motion, clips=request.clips) for key, motion in experiment.motions.items()}
        experiment = replace(experiment, motions=motions)
    return experiment


def _refuse_without_effect(request: Request) -> None:
    if request.val and not request.data:
        raise ConfigError(f"--val {request.val} needs training videos: --data TRAIN --val {request.val}")
    if request.clips is not None and request.scale != "laptop":
        raise ConfigError(f"--clips {request.clips} sets the number of synthetic videos and has no effect with --data")
    if request.allow_codecs and request.scale == "laptop":
        raise ConfigError("--allow-codec has no effect on synthetic videos: name yours with --data")
    if request.reversed_copies and not request.data:
        raise ConfigError("--reversed copies your videos and needs --data; synthetic motions always come in such pairs")


def _base_run(name: str, request: Request, *, weights_may_lack: bool) -> RunConfig:
    """The run that all variants change: from the file, the weights or the scale, with the other options."""
    if request.full and not request.config:
        run = paper_run()
    else:
        run = starting_run(
            request.config,
            init_from=request.init_from,
            overrides=request.overrides,
            otherwise=run_from_preset("small") if request.data else laptop_run(name),
            weights_may_lack=weights_may_lack,
        )
    given = {
        "epochs": request.epochs,
        "device": request.device,
        "seed": request.seed,
        "init_from": request.init_from,
    }
    # the epoch must not be chosen by the videos that the model is tested on
    run = replace(with_given(run, given), keep="last")
    if request.data:
        run = replace(run, data=replace(run.data, train=request.data, val=request.val))
    run = with_codecs(apply_overrides(run, list(request.overrides)), request.allow_codecs)
    if run.data.train and not request.data:
        raise ConfigError(f"data.train={run.data.train!r} has no effect here: name the videos with --data")
    return run


def _only_schemes(experiment: Experiment, schemes: tuple[str, ...]) -> Experiment:
    if experiment.name != "schemes":
        raise ConfigError(f"--schemes has no effect on {experiment.name}, only on the experiment `schemes`")
    variants = {variant.label: variant for variant in experiment.variants}
    names = [current_value("scheme", name) for name in schemes]
    for name in names:
        if name not in variants:
            raise ConfigError(f"--schemes: {name!r} is not one of {', '.join(variants)}{did_you_mean(name, variants)}")
    return replace(experiment, variants=tuple(variants[name] for name in dict.fromkeys(names)))


def check_can_run(name: str, request: Request) -> None:
    """Refuse an experiment that lacks videos or weights.

    Raises:
        ConfigError: Some are missing.
    """
    if request.full and not request.data:
        raise ConfigError("--full needs your videos: --data TRAIN --val VAL; or --dry-run to see its variants")
    if request.full and not request.init_from:
        raise ConfigError("--full needs the image weights that the paper starts from: --init-from WEIGHTS")
    if name == "pretraining" and request.data and not request.init_from:
        raise ConfigError("pretraining on your own videos needs weights to compare with: --init-from WEIGHTS")
