"""Dry run: what a training run would do. Needs neither its weights nor its videos."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch

from timesformer.config.run import AugmentConfig, RunConfig
from timesformer.config.schema import ModelConfig
from timesformer.data.manifest.manifest import holds_splits, source_exists
from timesformer.data.video.codecs import allowed_codecs
from timesformer.device import resolve_device, resolve_precision
from timesformer.errors import ConfigError, DataError, DecodeError
from timesformer.model.cost import cost
from timesformer.training.dataloaders import Split, load_data, with_num_classes
from timesformer.training.memory import MemoryEstimate, estimate_memory, gigabytes, weightless
from timesformer.training.optim import warmup_steps
from timesformer.weights.load import is_here


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSummary:
    """The videos of a run. Numbers are None if a source does not exist or cannot be used."""

    train: str
    """Source of the training videos."""
    val: str
    """Source of the validation videos."""
    missing: tuple[str, ...]
    """Sources that do not exist."""
    problem: str
    """Why the sources cannot be used; empty if they can or are missing."""
    num_train: int | None
    """Number of training videos."""
    num_val: int | None
    """Number of validation videos."""
    num_groups: int | None
    """Number of groups of all videos; 0 if no video has one."""
    num_val_groups: int | None
    """Number of groups of the validation videos."""
    num_classes: int
    """Number of classes: of the data if it exists, else of the config."""
    kind: str = "videos"
    """What the numbers count: `videos`, or `segments`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSummary:
    """Parameters with the same learning rate and weight decay."""

    tensors: int
    """Number of parameter tensors."""
    parameters: int
    """Number of parameters in them."""
    lr: float
    """Peak learning rate."""
    weight_decay: float
    """Weight decay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSummary:
    """Optimizer steps. Numbers of steps are None if the number of videos is unknown."""

    epochs: int
    """Epochs, unless `patience` ends the run earlier."""
    steps_per_epoch: int | None
    """Steps per epoch."""
    total_steps: int | None
    """Steps of the whole run."""
    warmup_steps: int | None
    """Steps with a rising learning rate."""
    milestones: tuple[float, ...]
    """Epochs at which the learning rate is divided by ten; empty for a cosine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """Everything known about a run before it starts."""

    run: RunConfig
    """The run, with the number of classes of its data if that exists, and the precision that `auto` is on its device
    if this machine has it."""
    device: str
    """Device of the run."""
    parameters: int
    """Number of parameters of the model."""
    macs: int
    """Multiply-accumulates of one clip in the forward pass; the backward pass needs twice as many."""
    starts_from: str
    """Initial weights."""
    distilled_from: tuple[str, ...]
    """Teachers."""
    data: DataSummary
    """The videos."""
    groups: tuple[GroupSummary, ...]
    """Trained parameters."""
    frozen: GroupSummary
    """Frozen parameters."""
    schedule: ScheduleSummary
    """Optimizer steps."""
    augmentation: tuple[str, ...]
    """Active augmentation and regularization settings."""
    memory: MemoryEstimate
    """Memory of a training step."""


def make_dry_run(run: RunConfig) -> DryRun:
    """Summarize what a run would do. Loads no weights, opens no video and writes nothing.

    Args:
        run: The run.

    Raises:
        ConfigError: A value is invalid.
    """
    allowed_codecs(run.data.allow_codecs)
    device = _device(run)
    data, split = _summarize_data(run)
    run = with_num_classes(run, split) if split else run
    run = replace(run, precision=resolve_precision(run.precision, device)) if device else run
    size = cost(run.model)
    model, optimizer = weightless(run)
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    return DryRun(
        run=run,
        device=str(device) if device else f"{run.device} (not available)",
        parameters=size.parameters,
        macs=size.macs,
        starts_from=_named(run.init_from) or f"newly initialized weights ({run.model.initialization})",
        distilled_from=tuple(map(_named, run.distill_from)),
        data=data,
        groups=tuple(_summarize_group(group) for group in optimizer.param_groups),
        frozen=_summarize_group({"params": frozen, "initial_lr": 0.0, "weight_decay": 0.0}),
        schedule=_summarize_schedule(run, data.num_train),
        augmentation=_augmentation(run),
        memory=estimate_memory(run, device),
    )


def dry_run_as_dict(dry_run: DryRun) -> dict[str, Any]:
    """The dry run as JSON-compatible values; unknown numbers are None."""
    derived = {"total": dry_run.memory.total, "fitting_batch": dry_run.memory.fitting_batch}
    return {**asdict(dry_run), "memory": {**asdict(dry_run.memory), **derived}}


def _device(run: RunConfig) -> torch.device | None:
    """Device of the run; None if it names a GPU that this machine does not have."""
    try:
        return resolve_device(run.device)
    except ConfigError:
        if run.device.split(":")[0] in ("cuda", "mps"):
            return None
        raise


def _summarize_data(run: RunConfig) -> tuple[DataSummary, Split | None]:
    data = run.data
    missing = tuple(source for source in (data.train, data.val) if source and not source_exists(source))
    split, problem = None, "" if data.train else "data.train is empty: name the training videos"
    if data.train and not missing:
        try:
            split = load_data(data, seed=run.seed)
        except (DataError, DecodeError) as error:
            problem = str(error)
    by_groups = ", by whole groups" if split and split.num_groups else ""
    held_out = f"{data.val_fraction:.0%} of each training class{by_groups}"
    if data.num_folds:
        kept_out = f"fold {data.fold} of {data.num_folds}{by_groups}"
        held_out = kept_out if data.val_from == "fold" else f"{held_out}, after {kept_out} is kept out"
    has_splits = bool(data.train) and not missing and not data.num_folds and holds_splits(data.train)
    return DataSummary(
        train=data.train,
        val=data.val or (f"in {data.train}" if has_splits else held_out),
        missing=missing,
        problem=problem,
        num_train=split.size.train if split else None,
        num_val=split.size.val if split else None,
        num_groups=split.num_groups if split else None,
        num_val_groups=len(split.val.groups) if split else None,
        num_classes=len(split.train.class_names) if split else run.model.num_classes,
        kind="segments" if split and split.train.has_segments else "videos",
    ), split


def _summarize_group(group: dict[str, Any]) -> GroupSummary:
    tensors = list(group["params"])
    count = sum(tensor.numel() for tensor in tensors)
    return GroupSummary(
        tensors=len(tensors), parameters=count, lr=group["initial_lr"], weight_decay=group["weight_decay"]
    )


def _summarize_schedule(run: RunConfig, num_videos: int | None) -> ScheduleSummary:
    optim = run.optim
    steps = total = warmup = None
    if num_videos is not None:
        steps = run.steps_per_epoch(num_videos)
        total = steps * run.epochs
        warmup = warmup_steps(total, optim=optim)
    falls = optim.milestones if optim.schedule == "steps" else ()
    return ScheduleSummary(
        epochs=run.epochs,
        steps_per_epoch=steps,
        total_steps=total,
        warmup_steps=warmup,
        milestones=tuple(fraction * run.epochs for fraction in falls),
    )


def _named(source: str) -> str:
    return source if not source or is_here(source) else f"{source} (not found)"


def _augmentation(run: RunConfig) -> tuple[str, ...]:
    low, high = run.data.scale_range
    on = [f"scale_range={low:.3g} to {high:.3g}"] if high > 1 else []
    on += ["flip"] if run.data.flip else []
    plain = AugmentConfig()
    for field in fields(AugmentConfig):
        value = getattr(run.augment, field.name)
        on += [f"{field.name}={value}"] if value != getattr(plain, field.name) else []
    regularizers = ("drop_path", "dropout", "attention_dropout", "head_dropout")
    on += [f"{name}={getattr(run.model, name)}" for name in regularizers if getattr(run.model, name)]
    return (*on, *([f"label_smoothing={run.optim.label_smoothing}"] if run.optim.label_smoothing else []))


# --- As text --------------------------------------------------------------------------------------------------------


def format_dry_run(dry_run: DryRun) -> str:
    """The dry run as text, one line per topic."""
    lines = {
        "model": _model_line(dry_run),
        "starts from": dry_run.starts_from,
        **_probe_line(dry_run.run),
        **({"teachers": ", ".join(dry_run.distilled_from)} if dry_run.distilled_from else {}),
        "data": _data_line(dry_run.data),
        "batch": _batch_line(dry_run.run),
        "optimizer": _optimizer_line(dry_run),
        "schedule": _schedule_line(dry_run.run, dry_run.schedule),
        "augmentation": ", ".join(dry_run.augmentation) or "none",
        "precision": f"{dry_run.run.precision} on {dry_run.device}",
        "memory": _memory_line(dry_run.memory),
        "keeps": f"the {dry_run.run.keep} epoch{_or_probe(dry_run.run)}, in {dry_run.run.output}",
    }
    return "\n".join(f"{name:13} {line}" for name, line in lines.items())


def _model_line(dry_run: DryRun) -> str:
    config: ModelConfig = dry_run.run.model
    height, width = config.image_size
    return (
        f"{config.scheme_text}, {dry_run.parameters / 1e6:.1f} M parameters, {dry_run.macs / 1e9:.3g} GMAC per clip of "
        f"{config.num_frames} frames of {height} x {width}, {config.num_classes} classes"
    )


def _probe_line(run: RunConfig) -> dict[str, str]:
    """The line of the probe, if the run has one."""
    if not run.probe_views:
        return {}
    line = f"{run.probe_views} clips of each training video; the lines below are those of the fine-tuning from its head"
    return {"probe": line}


def _or_probe(run: RunConfig) -> str:
    return " or the probe, whichever is more accurate in validation" if run.probe_views else ""


def _data_line(data: DataSummary) -> str:
    if data.problem:
        return f"problem: {data.problem}"
    sources = f"{data.train}; validation: {data.val}"
    if data.missing:
        return f"{sources}; not found: {', '.join(data.missing)}"
    groups = f" ({data.num_val_groups} of {data.num_groups} groups)" if data.num_groups else " (no groups)"
    return f"{sources}; {data.num_train} training and {data.num_val} validation {data.kind}{groups}"


def _batch_line(run: RunConfig) -> str:
    split = f" in {run.accumulate} micro-batches of {run.micro_batch_size}" if run.accumulate > 1 else ""
    repeats = run.augment.repeats
    videos = f", {repeats} from each of {run.batch_size // repeats} videos" if repeats > 1 else ""
    return f"{run.batch_size} clips{split}{videos}"


def _optimizer_line(dry_run: DryRun) -> str:
    optim = dry_run.run.optim
    decaying = sum(group.tensors for group in dry_run.groups if group.weight_decay)
    plain = sum(group.tensors for group in dry_run.groups if not group.weight_decay)
    rates = sorted({group.lr for group in dry_run.groups})
    rate = f"{rates[-1]:.3g}" if len(rates) == 1 else f"{rates[0]:.3g} (lowest) to {rates[-1]:.3g} (head)"
    frozen = f", {dry_run.frozen.tensors} frozen" if dry_run.frozen.tensors else ""
    average = f", EMA decay {optim.ema_decay}" if optim.ema_decay else ""
    decay = f"{decaying} tensors with weight decay {optim.weight_decay}, {plain} without{frozen}"
    clip = f", gradient norm clipped to {optim.clip_grad_norm:g}" if optim.clip_grad_norm else ""
    return f"{optim.optimizer}, lr {rate}; {decay}{clip}{average}"


def _schedule_line(run: RunConfig, schedule: ScheduleSummary) -> str:
    steps = f" of {schedule.steps_per_epoch} steps" if schedule.steps_per_epoch is not None else ""
    warmup = f" ({schedule.warmup_steps} steps)" if schedule.warmup_steps is not None else ""
    falls = ", ".join(f"{epoch:.3g}" for epoch in schedule.milestones)
    shape = f"divided by 10 at epochs {falls}" if falls else "cosine to 0"
    stop = f", early stop after {run.patience} epochs without improvement" if run.patience else ""
    return f"{schedule.epochs} epochs{steps}, warm-up fraction {run.optim.warmup_fraction:.3g}{warmup}, {shape}{stop}"


def _memory_line(memory: MemoryEstimate) -> str:
    line = (
        f"about {gigabytes(memory.total)}: {gigabytes(memory.fixed)} for weights, gradients and optimizer, "
        f"{gigabytes(memory.activations_per_clip)} for each of {memory.clips} clips"
    )
    if memory.available is None:
        return line
    return f"{line}; {gigabytes(memory.available)} free, enough for {memory.fitting_batch} clips at a time"
