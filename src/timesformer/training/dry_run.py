"""What a run would do, found out without training, and without its weights or its videos."""

from dataclasses import asdict, dataclass, fields
from typing import Any

import torch

from timesformer.config.run import AugmentConfig, RunConfig
from timesformer.config.schema import ModelConfig
from timesformer.data.manifest.manifest import holds_splits, source_exists
from timesformer.data.video.codecs import allowed_codecs
from timesformer.device import resolve_device
from timesformer.errors import ConfigError, DataError, DecodeError
from timesformer.model.cost import cost
from timesformer.training.dataloaders import Split, load_data, with_num_classes
from timesformer.training.memory import MemoryEstimate, estimate_memory, gigabytes, weightless
from timesformer.training.optim import warmup_steps
from timesformer.weights.load import is_here


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlan:
    """The videos of a run, as far as they are here."""

    train: str
    """Source of the training videos."""
    val: str
    """Where the validation videos come from."""
    missing: tuple[str, ...]
    """Sources that are not here."""
    problem: str
    """Why the sources that are here cannot be used; empty where they can."""
    num_train: int | None
    """Training videos; None where they are not here."""
    num_val: int | None
    """Validation videos."""
    num_groups: int | None
    """Groups of all videos, 0 if no video has one; None where the videos are not here."""
    num_val_groups: int | None
    """Groups of the validation videos."""
    num_classes: int
    """Classes: those of the data where it is here, else those of the config."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPlan:
    """Parameters that the optimizer treats alike."""

    tensors: int
    """Number of parameter tensors."""
    parameters: int
    """Number of parameters in them."""
    lr: float
    """Peak learning rate."""
    weight_decay: float
    """Weight decay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePlan:
    """Steps of the optimizer. Numbers of steps are None where the videos are not here."""

    epochs: int
    """Epochs, at most."""
    steps_per_epoch: int | None
    """Steps of an epoch."""
    total_steps: int | None
    """Steps of the whole run."""
    warmup_steps: int | None
    """Steps over which the rate rises."""
    milestones: tuple[float, ...]
    """Epochs at which the rate falls to a tenth; empty for a cosine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is known of a run before it starts."""

    run: RunConfig
    """The run, with the number of classes of its data where that is here."""
    device: str
    """Where it would run."""
    parameters: int
    """Parameters of the model."""
    macs: int
    """Multiply-accumulates of one clip, forward; the backward pass takes twice as many again."""
    starts_from: str
    """Where the weights come from."""
    data: DataPlan
    """The videos."""
    groups: tuple[GroupPlan, ...]
    """What the optimizer trains."""
    frozen: GroupPlan
    """What keeps its weights."""
    schedule: SchedulePlan
    """The steps."""
    augmentation: tuple[str, ...]
    """Settings of augmentation and regularization that are on."""
    memory: MemoryEstimate
    """Memory of a step."""


def make_plan(run: RunConfig) -> Plan:
    """Find out what a run would do. No weight is loaded, no video is opened, nothing is written.

    Args:
        run: The run.

    Raises:
        ConfigError: A value cannot work.
    """
    allowed_codecs(run.data.allow_codecs)
    device = _device(run)
    data, split = _plan_data(run)
    run = with_num_classes(run, split) if split else run
    size = cost(run.model)
    model, optimizer = weightless(run)
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    return Plan(
        run=run,
        device=str(device) if device else f"{run.device} (not here)",
        parameters=size.parameters,
        macs=size.macs,
        starts_from=_origin(run),
        data=data,
        groups=tuple(_plan_group(group) for group in optimizer.param_groups),
        frozen=_plan_group({"params": frozen, "initial_lr": 0.0, "weight_decay": 0.0}),
        schedule=_plan_schedule(run, data.num_train),
        augmentation=_augmentation(run),
        memory=estimate_memory(run, device),
    )


def plan_as_dict(plan: Plan) -> dict[str, Any]:
    """The plan for machines; a number that is not known is null."""
    derived = {"total": plan.memory.total, "fitting_batch": plan.memory.fitting_batch}
    return {**asdict(plan), "memory": {**asdict(plan.memory), **derived}}


def _device(run: RunConfig) -> torch.device | None:
    """Where the run would run; None where it names a GPU and this machine has none."""
    try:
        return resolve_device(run.device)
    except ConfigError:
        if run.device.split(":")[0] in ("cuda", "mps"):
            return None
        raise


def _plan_data(run: RunConfig) -> tuple[DataPlan, Split | None]:
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
    in_parts = bool(data.train) and not missing and holds_splits(data.train)
    return DataPlan(
        train=data.train,
        val=data.val or (f"in {data.train}" if in_parts else held_out),
        missing=missing,
        problem=problem,
        num_train=split.size.train if split else None,
        num_val=split.size.val if split else None,
        num_groups=split.num_groups if split else None,
        num_val_groups=len(split.val.groups) if split else None,
        num_classes=len(split.train.class_names) if split else run.model.num_classes,
    ), split


def _plan_group(group: dict[str, Any]) -> GroupPlan:
    tensors = list(group["params"])
    count = sum(tensor.numel() for tensor in tensors)
    return GroupPlan(tensors=len(tensors), parameters=count, lr=group["initial_lr"], weight_decay=group["weight_decay"])


def _plan_schedule(run: RunConfig, num_videos: int | None) -> SchedulePlan:
    optim = run.optim
    steps = total = warmup = None
    if num_videos is not None:
        steps = run.steps_per_epoch(num_videos)
        total = steps * run.epochs
        warmup = warmup_steps(total, optim=optim)
    falls = optim.milestones if optim.schedule == "steps" else ()
    return SchedulePlan(
        epochs=run.epochs,
        steps_per_epoch=steps,
        total_steps=total,
        warmup_steps=warmup,
        milestones=tuple(share * run.epochs for share in falls),
    )


def _origin(run: RunConfig) -> str:
    source = run.init_from
    if not source:
        return f"fresh weights ({run.model.initialization})"
    return source if is_here(source) else f"{source} (not found here)"


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


# --- For people -----------------------------------------------------------------------------------------------------


def format_plan(plan: Plan) -> str:
    """The plan for people: a line for each thing."""
    lines = {
        "model": _model_line(plan),
        "starts from": plan.starts_from,
        "data": _data_line(plan.data),
        "batch": _batch_line(plan.run),
        "optimizer": _optimizer_line(plan),
        "schedule": _schedule_line(plan.run, plan.schedule),
        "augmentation": ", ".join(plan.augmentation) or "none",
        "precision": f"{plan.run.precision} on {plan.device}",
        "memory": _memory_line(plan.memory),
        "keeps": f"the {plan.run.keep} epoch, in {plan.run.output}",
    }
    return "\n".join(f"{name:13} {line}" for name, line in lines.items())


def _model_line(plan: Plan) -> str:
    config: ModelConfig = plan.run.model
    height, width = config.image_size
    return (
        f"{config.scheme_text}, {plan.parameters / 1e6:.1f} M parameters, {plan.macs / 1e9:.3g} GMAC a clip of "
        f"{config.num_frames} frames of {height} x {width}, {config.num_classes} classes"
    )


def _data_line(data: DataPlan) -> str:
    if data.problem:
        return f"problem: {data.problem}"
    sources = f"{data.train}; validation: {data.val}"
    if data.missing:
        return f"{sources}; not found here: {', '.join(data.missing)}"
    groups = f" ({data.num_val_groups} of {data.num_groups} groups)" if data.num_groups else ""
    return f"{sources}; {data.num_train} videos to train on, {data.num_val} to validate{groups}"


def _batch_line(run: RunConfig) -> str:
    parts = f" in {run.accumulate} parts of {run.micro_batch_size}" if run.accumulate > 1 else ""
    repeats = run.augment.repeats
    videos = f", {repeats} of each of {run.batch_size // repeats} videos" if repeats > 1 else ""
    return f"{run.batch_size} clips{parts}{videos}"


def _optimizer_line(plan: Plan) -> str:
    optim = plan.run.optim
    decaying = sum(group.tensors for group in plan.groups if group.weight_decay)
    plain = sum(group.tensors for group in plan.groups if not group.weight_decay)
    rates = sorted({group.lr for group in plan.groups})
    rate = f"{rates[-1]:.3g}" if len(rates) == 1 else f"{rates[0]:.3g} (lowest) to {rates[-1]:.3g} (head)"
    frozen = f", {plan.frozen.tensors} frozen" if plan.frozen.tensors else ""
    average = f", moving average {optim.ema_decay}" if optim.ema_decay else ""
    decay = f"{decaying} tensors with weight decay {optim.weight_decay}, {plain} without{frozen}"
    clip = f", gradient norm up to {optim.clip_grad_norm:g}" if optim.clip_grad_norm else ""
    return f"{optim.optimizer}, lr {rate}; {decay}{clip}{average}"


def _schedule_line(run: RunConfig, schedule: SchedulePlan) -> str:
    steps = f" of {schedule.steps_per_epoch} steps" if schedule.steps_per_epoch is not None else ""
    warmup = f" ({schedule.warmup_steps} steps)" if schedule.warmup_steps is not None else ""
    falls = ", ".join(f"{epoch:.3g}" for epoch in schedule.milestones)
    shape = f"a tenth at epochs {falls}" if falls else "cosine to 0"
    stop = f", ends after {run.patience} epochs without a better one" if run.patience else ""
    return f"{schedule.epochs} epochs{steps}, warm-up {run.optim.warmup_fraction:.3g} of it{warmup}, {shape}{stop}"


def _memory_line(memory: MemoryEstimate) -> str:
    line = (
        f"about {gigabytes(memory.total)}: {gigabytes(memory.fixed)} for weights, gradients and optimizer, "
        f"{gigabytes(memory.activations_per_clip)} for each of {memory.clips} clips"
    )
    if memory.available is None:
        return line
    return f"{line}; {gigabytes(memory.available)} free, in which {memory.fitting_batch} clips at a time fit"
