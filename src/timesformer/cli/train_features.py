"""`timesformer train --features`: a head on stored features."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, get_args

from cyclopts import Group, Parameter

from timesformer.cli.console import note, print_json
from timesformer.cli.measures import baseline_lines, summary
from timesformer.cli.options import LIST, choice
from timesformer.cli.run_config import TrainOptions
from timesformer.config.io import apply_overrides
from timesformer.errors import ConfigError
from timesformer.heads.kind import HeadKind
from timesformer.retrieval.heads.run import HeadRun
from timesformer.retrieval.heads.train import TrainedHead, train_head

_FEATURES = Group("Head on stored features", sort_key=3.5)
_IDLE = ("allow_codecs", "init_from", "distill_from", "config", "epochs", "batch_size", "lr", "precision")
"""Options of `train` that have no effect on a head."""


@Parameter(name="*", group=_FEATURES)
@dataclass(frozen=True, slots=True, kw_only=True)
class HeadOptions:
    """The options of `train --features`."""

    features: Annotated[str, Parameter(metavar="PATH")] = ""
    """Train a head on the embeddings in this folder or Parquet file instead of a model on videos; `--val` is like it,
    and `--model` names the model that computed them, to be written with the head."""
    head: Annotated[HeadKind, choice("head", get_args(HeadKind))] = "linear"
    """`linear`: logistic regression; `attentive`: queries pool the frames of `embed --level frame` by attention
    first."""
    embedding_column: Annotated[str, Parameter(metavar="NAME")] = "embedding"
    """Column of the features."""
    label_column: Annotated[str, Parameter(metavar="NAME")] = "true_label"
    """Column of the class."""
    group_column: Annotated[str, Parameter(metavar="NAME")] = "group"
    """Column of the person, camera or recording, which is never in both training and validation."""
    val_groups: Annotated[tuple[str, ...], LIST, Parameter(metavar="GROUP,...")] = ()
    """Groups for validation (default: a fifth of each class, as whole groups)."""

    def refuse_without_features(self) -> None:
        """Refuse options that have an effect on a head only.

        Raises:
            ConfigError: One is given without `--features`.
        """
        default = asdict(HeadOptions())
        for name, value in asdict(self).items():
            if value != default[name]:
                raise ConfigError(f"--{name.replace('_', '-')} has no effect without --features")


def train_on_features(
    data: str,
    options: TrainOptions,
    head: HeadOptions,
    *,
    other: Mapping[str, bool],
    num_processes: int,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Train a head, and print its evaluation.

    Args:
        data: DATA, which must be empty.
        options: The options of `train`.
        head: Those of `--features`.
        other: Flags that have no effect on a head, and whether they are given.
        num_processes: Number of processes of the launch.
        overwrite: Replace a run.
        as_json: Print the result as JSON.

    Raises:
        ConfigError: An option that has no effect is given.
        TimeSformerError: As `train_head`.
    """
    default = TrainOptions()
    idle = {f"--{name.replace('_', '-')}": getattr(options, name) != getattr(default, name) for name in _IDLE}
    given = [name.replace("allow-codecs", "allow-codec") for name, is_given in {**idle, **other}.items() if is_given]
    if data:
        raise ConfigError(f"DATA ({data}) and --features {head.features} exclude each other: videos, or their features")
    if given:
        raise ConfigError(f"{', '.join(given)}: no effect with --features, which trains a head in one step")
    if num_processes > 1:
        raise ConfigError(
            f"--features trains in one process, not in {num_processes}: start it without torchrun or srun"
        )
    trained = train_head(requested_head(options, head), overwrite=overwrite, on_message=note)
    _show(trained, as_json=as_json)
    return 0


def requested_head(options: TrainOptions, head: HeadOptions) -> HeadRun:
    """The head that was asked for.

    Raises:
        ConfigError: A value cannot work.
    """
    given: dict[str, Any] = {
        "val": options.val,
        "model": options.model,
        "seed": options.seed,
        "device": options.device,
        "output": options.output,
    }
    run = HeadRun(**asdict(head), **{name: value for name, value in given.items() if value not in (None, "")})
    return apply_overrides(run, list(options.overrides))


def _show(trained: TrainedHead, *, as_json: bool) -> None:
    """Print what was measured and where it lies."""
    paths = {"run": str(trained.folder), **({"model": str(trained.model)} if trained.model else {})}
    if as_json:
        measured = {"strength": trained.strength, "baselines": trained.baselines.to_dict()}
        print_json({**paths, **measured, "evaluation": trained.evaluation.to_dict()})
        return
    print(f"{summary(trained.evaluation)}\n{baseline_lines(trained.baselines)}\nrun                {trained.folder}")
    if trained.model:
        note(f"try it: timesformer predict VIDEO --model {trained.folder}")
