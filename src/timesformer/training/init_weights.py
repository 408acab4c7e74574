"""Where a run starts from: fresh weights, the weights of another model, or a checkpoint of its own."""

import pickle
from collections.abc import Collection
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
from torch import nn

from timesformer.config.info import ModelInfo
from timesformer.config.run import RunConfig
from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError, WeightsError
from timesformer.model.block import Step
from timesformer.model.layers import MLP
from timesformer.model.timesformer import TimeSformer
from timesformer.names import compose
from timesformer.training.history import EpochRecord
from timesformer.weights.adapt import FIXED_BY_WEIGHTS
from timesformer.weights.load import config_of, load

_OTHERS = tuple(field.name for field in fields(ModelConfig) if field.name not in FIXED_BY_WEIGHTS)


def initial_model(run: RunConfig, *, labels: tuple[str, ...]) -> TimeSformer:
    """Build the model of a run, with the weights of `run.init_from` or fresh ones, in training mode.

    A head that names the same classes is kept, unless `head_norm` comes between it and what it read; another one is
    replaced by a fresh head.

    Args:
        run: The run; `run.model.num_classes` is the number of `labels`.
        labels: Names of the classes.

    Raises:
        ConfigError: The weights of `init_from` are of another architecture than `run.model`; the message names the
            fields.
        WeightsError: `init_from` cannot be loaded, or cannot become a model of this scheme.
    """
    if not run.init_from:
        model = _fresh_model(run)
        model.info = ModelInfo(clip=run.clip, labels=labels)
        return model.train()
    found, _ = config_of(run.init_from, num_heads=run.model.num_heads)
    _check_architecture(found, run)
    values = asdict(run.model)
    model = load(run.init_from, seed=run.seed, num_heads=found.num_heads, **{name: values[name] for name in _OTHERS})
    has_other_labels = bool(model.info.labels) and [*map(compose, model.info.labels)] != [*map(compose, labels)]
    # a head that has learned from raw features is none for standardized ones
    if has_other_labels or "head_norm.running_mean" in model.load_report.newly_initialized:
        _replace_head(model, run)
    scale_tokens(model, run.init_scale, fresh=fresh_parameters(model))
    model.info = replace(model.info, clip=run.clip, labels=labels, source=f"fine-tuned from {run.init_from}")
    return model.train()


@torch.no_grad()
def scale_tokens(model: TimeSformer, factor: float, *, fresh: Collection[str] = ()) -> None:
    """Multiply all that a model adds to its tokens, in place: embeddings, and the last map of each step and MLP.

    Every token then is `factor` times what it was, and the norms before all that reads them take the factor out, but
    for their epsilon.

    Args:
        model: The model.
        factor: The factor, greater than 0.
        fresh: Names of the parameters that no earlier training has set: they are of the usual size and stay.
    """
    parts: list[nn.Module] = [model.embedding]
    for module in model.modules():
        if isinstance(module, Step):
            parts.append(module.fc if isinstance(module.fc, nn.Linear) else module.attention.proj)
        elif isinstance(module, MLP):
            parts.append(module.fc2)
    written = {id(parameter) for part in parts for parameter in part.parameters()}
    for name, parameter in model.named_parameters():
        if id(parameter) in written and name not in fresh:
            parameter.mul_(factor)


def _replace_head(model: TimeSformer, run: RunConfig) -> None:
    """Give a loaded model the head of a fresh one, and let its report say so."""
    model.head.load_state_dict(_fresh_model(run).head.state_dict())
    report = model.load_report
    head = [f"head.{name}" for name in model.head.state_dict()]
    report.loaded = [name for name in report.loaded if name not in head]
    report.newly_initialized = [*(name for name in report.newly_initialized if name not in head), *head]


def fresh_parameters(model: TimeSformer) -> frozenset[str]:
    """Names of the parameters that loaded weights did not give; none for a model without loaded weights."""
    report = getattr(model, "load_report", None)
    if report is None or report.format == "preset":
        return frozenset()
    return frozenset(report.newly_initialized) & {name for name, _ in model.named_parameters()}


def image_lacks(model: TimeSformer) -> frozenset[str]:
    """Names of the parameters of a model that an image ViT of other classes cannot give it."""
    return frozenset(
        name
        for name, _ in model.named_parameters()
        if name == "embedding.time" or name.startswith("head.") or (".steps." in name and ".fc." in name)
    )


def _fresh_model(run: RunConfig) -> TimeSformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        return TimeSformer(run.model)


def _check_architecture(found: ModelConfig, run: RunConfig) -> None:
    differing = [name for name in FIXED_BY_WEIGHTS if getattr(found, name) != getattr(run.model, name)]
    if differing:
        wanted = ", ".join(f"{name}={getattr(run.model, name)}" for name in differing)
        cure = ", ".join(f"model.{name}={getattr(found, name)}" for name in differing)
        raise ConfigError(f"init_from={run.init_from!r} has other weights than {wanted} of the run: set {cure}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSize:
    """How many videos a run has; it must not change when the run is resumed."""

    train: int
    val: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run had come when its checkpoint was written."""

    history: tuple[EpochRecord, ...] = ()
    """The epochs that are whole."""
    batches: int = 0
    """Batches taken of the epoch after them; a part of an accumulated batch counts as one."""

    @property
    def epochs(self) -> int:
        """Number of whole epochs."""
        return len(self.history)

    @property
    def has_begun(self) -> bool:
        """Whether there is anything to go on from."""
        return self.epochs > 0 or self.batches > 0


def read_progress(checkpoint: Path, *, size: DataSize) -> Progress:
    """How far the run of a checkpoint had come.

    Raises:
        WeightsError: The file is damaged.
        ConfigError: The run had other videos when the checkpoint was written.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        callback = state["callbacks"]["Recorder"]
        history = tuple(EpochRecord(**record) for record in callback["history"])
        progress = Progress(history=history, batches=callback.get("batches", 0))
        there = DataSize(**callback["size"])
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{checkpoint}: is no checkpoint of a run, or damaged: {error}") from error
    if there != size:
        raise ConfigError(
            f"{checkpoint}: the run had {there.train} training and {there.val} validation videos, now there are "
            f"{size.train} and {size.val}; a resumed run needs the same videos"
        )
    return progress
