"""The model that a run starts with: newly initialized, or with the weights of another model."""

from collections.abc import Collection
from dataclasses import asdict, fields, replace

import torch
from torch import nn

from timesformer.config.info import ModelInfo
from timesformer.config.run import RunConfig
from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError
from timesformer.model.block import Step
from timesformer.model.layers import MLP
from timesformer.model.timesformer import TimeSformer
from timesformer.names import compose
from timesformer.weights.adapt import FIXED_BY_WEIGHTS
from timesformer.weights.load import config_of, load

_SET_BY_RUN = tuple(field.name for field in fields(ModelConfig) if field.name not in FIXED_BY_WEIGHTS)


def initial_model(run: RunConfig, *, labels: tuple[str, ...]) -> TimeSformer:
    """Build the model of a run in training mode, with the weights of `run.init_from` or newly initialized.

    The head is that of `run.init_head` if set. Otherwise that of the weights is kept if they name the classes of the
    run and `run.model` does not insert `head_norm` before it; else the head is newly initialized and has the learning
    rate of new parameters, also if it has as many classes.

    Args:
        run: The run; `run.model.num_classes` is the number of `labels`.
        labels: Names of the classes.

    Raises:
        ConfigError: The weights of `init_from` have another architecture than `run.model`; the message names the
            fields. Or `init_head` has other classes than the run, or is not the head of such a model.
        WeightsError: `init_from` cannot be loaded or adapted to the scheme of `run.model`.
    """
    if not run.init_from:
        model = _new_model(run)
        model.info = ModelInfo(clip=run.clip, labels=labels)
        return model.train()
    found, _ = config_of(run.init_from, num_heads=run.model.num_heads)
    _check_architecture(found, run)
    values = asdict(run.model)
    overrides = {name: values[name] for name in _SET_BY_RUN}
    model = load(run.init_from, seed=run.seed, num_heads=found.num_heads, **overrides)
    if run.init_head:
        _take_head(model, run, labels)
    else:
        _replace_unfit_head(model, run, labels)
    scale_tokens(model, run.init_scale, newly_initialized=newly_initialized_parameters(model))
    # thresholds were chosen for the curves of the old weights
    source, old = f"fine-tuned from {run.init_from}", replace(model.info, thresholds=None)
    model.info = replace(old, clip=run.clip, labels=labels, source=source)
    return model.train()


@torch.no_grad()
def scale_tokens(model: TimeSformer, factor: float, *, newly_initialized: Collection[str] = ()) -> None:
    """Scale everything added to the tokens, in place: the embeddings and the last linear map of each step and MLP.

    Every token is then `factor` times as large. Outputs do not change, except for the epsilon of the norms: every
    reader of the tokens normalizes first.

    Args:
        model: The model.
        factor: The factor, greater than 0.
        newly_initialized: Names of the parameters without pretrained values; they are not scaled.
    """
    writers: list[nn.Module] = [model.embedding]
    for module in model.modules():
        if isinstance(module, Step):
            writers.append(module.fc if isinstance(module.fc, nn.Linear) else module.attention.proj)
        elif isinstance(module, MLP):
            writers.append(module.fc2)
    scaled = {id(parameter) for writer in writers for parameter in writer.parameters()}
    for name, parameter in model.named_parameters():
        if id(parameter) in scaled and name not in newly_initialized:
            parameter.mul_(factor)


def newly_initialized_parameters(model: TimeSformer) -> frozenset[str]:
    """Names of the parameters missing in the loaded weights; empty for a model without loaded weights."""
    report = getattr(model, "load_report", None)
    if report is None or report.format == "preset":
        return frozenset()
    return frozenset(report.newly_initialized) & {name for name, _ in model.named_parameters()}


def missing_in_image_vit(model: TimeSformer) -> frozenset[str]:
    """Names of the parameters that an image ViT with other classes does not have."""
    return frozenset(
        name
        for name, _ in model.named_parameters()
        if name == "embedding.time" or name.startswith("head.") or (".steps." in name and ".fc." in name)
    )


def describe_head(model: TimeSformer, run: RunConfig) -> str:
    """The origin of the head of a model that `initial_model` built, and why it is new; empty without `init_from`."""
    report = getattr(model, "load_report", None)
    if report is None or report.format == "preset":
        return ""
    if run.init_head:
        return f"head of {run.init_head}"
    if "head.weight" not in report.newly_initialized:
        return f"head of {run.init_from}"
    return f"new head: {report.dropped.get('head.weight', 'the weights have none')}"


def _replace_unfit_head(model: TimeSformer, run: RunConfig, labels: tuple[str, ...]) -> None:
    """Replace the head of a loaded model by a new one unless it is known to tell the classes of the run apart."""
    report, own = model.load_report, model.info.labels
    if _are_same(own, labels) and "head_norm.running_mean" in report.newly_initialized:
        why = "that of the weights reads features without head_norm"
    elif _are_same(own, labels):
        return
    elif own:
        why = "the weights are for other classes"
    elif "head.weight" in report.newly_initialized and "head.weight" not in report.dropped:
        why = "the weights have none"
    else:
        why = report.dropped.get("head.weight", "the classes of the weights are not known")
    _replace_head(model, run)
    report.dropped["head.weight"] = report.dropped["head.bias"] = why


def _take_head(model: TimeSformer, run: RunConfig, labels: tuple[str, ...]) -> None:
    """Give a loaded model the head of `run.init_head`, with the statistics of its features.

    Raises:
        ConfigError: The head is for other classes, another width or another `head_norm`.
    """
    other = load(run.init_head)
    name = f"init_head={run.init_head!r}"
    if not _are_same(other.info.labels, labels):
        own = f"{', '.join(other.info.labels[:3])}, ..." if other.info.labels else "unknown"
        raise ConfigError(f"{name}: is the head of other classes ({own}) than those of the run")
    for field in ("embed_dim", "head_norm"):
        own, wanted = getattr(other.config, field), getattr(run.model, field)
        if own != wanted:
            raise ConfigError(f"{name}: has {field}={own!r}, the run has {field}={wanted!r}")
    state = {key: value for key, value in other.state_dict().items() if key.startswith(("head.", "head_norm."))}
    model.load_state_dict(state, strict=False)
    report = model.load_report
    report.loaded = [*(key for key in report.loaded if key not in state), *state]
    report.newly_initialized = [key for key in report.newly_initialized if key not in state]


def _are_same(own: tuple[str, ...], labels: tuple[str, ...]) -> bool:
    return [*map(compose, own)] == [*map(compose, labels)]


def _replace_head(model: TimeSformer, run: RunConfig) -> None:
    """Replace the head of a loaded model by a newly initialized one, and update its load report."""
    model.head.load_state_dict(_new_model(run).head.state_dict())
    report = model.load_report
    head = [f"head.{name}" for name in model.head.state_dict()]
    report.loaded = [name for name in report.loaded if name not in head]
    report.newly_initialized = [*(name for name in report.newly_initialized if name not in head), *head]


def _new_model(run: RunConfig) -> TimeSformer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        return TimeSformer(run.model)


def _check_architecture(found: ModelConfig, run: RunConfig) -> None:
    differing = [name for name in FIXED_BY_WEIGHTS if getattr(found, name) != getattr(run.model, name)]
    if differing:
        wanted = ", ".join(f"{name}={getattr(run.model, name)}" for name in differing)
        cure = ", ".join(f"model.{name}={getattr(found, name)}" for name in differing)
        raise ConfigError(f"init_from={run.init_from!r} does not match {wanted} of the run: set {cure}")
