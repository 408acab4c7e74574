"""Fitting weights to another config: other sizes, another head, another scheme. Every tensor is accounted for.

A smaller depth keeps the first blocks. Other patch sizes resize the projection of patches.

Source: released code for inflation of image ViTs, except that positions are resized in 2-D and not along the
flattened grid, and that nothing is dropped or repeated silently.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from einops import reduce, repeat
from torch import Tensor

from timesformer.config.schema import ModelConfig
from timesformer.errors import WeightsError
from timesformer.model.folding import fold_standardization
from timesformer.model.interpolation import resize, resize_patches
from timesformer.model.timesformer import TimeSformer, scheme_of
from timesformer.weights.checkpoint import Checkpoint
from timesformer.weights.unwrap import is_average

FIXED_BY_WEIGHTS = ("embed_dim", "num_heads", "mlp_ratio", "qkv_bias", "norm_eps")
"""Fields of a `ModelConfig` that weights determine; `depth` can only be lowered."""


@dataclass
class LoadReport:
    """Account of every tensor of a load.

    Names are those of this library. `resized`, `copied` and `dropped` say how or why for each. `location` is the path
    of the model inside the file, `others` are the paths of other models there, and `foreign` are the full names of all
    tensors outside the model. `commit` is the revision of a hub model, and `verified` are its files whose hashes are
    those that the hub states.
    """

    format: str
    source: str
    loaded: list[str] = field(default_factory=list)
    resized: dict[str, str] = field(default_factory=dict)
    copied: dict[str, str] = field(default_factory=dict)
    newly_initialized: list[str] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)
    location: str = ""
    others: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    commit: str = ""
    verified: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.format} from {self.source}: {len(self.loaded)} tensors loaded unchanged"]
        if self.commit:
            lines.append(f"  commit  {self.commit}; {len(self.verified)} files have the hashes that the hub states")
        lines += [f"  taken   {self.choice()}"] if self.location else []
        lines += [f"  resized {name}: {how}" for name, how in self.resized.items()]
        if self.copied:
            lines.append(f"  copied  {len(self.copied)} attention tensors into the other steps of the scheme")
        if self.newly_initialized:
            lines.append(
                f"  new     {len(self.newly_initialized)} tensors: {', '.join(_stems(self.newly_initialized))}"
            )
        dropped = {re.sub(r"^blocks\..*", "later blocks", name): why for name, why in self.dropped.items()}
        lines += [f"  dropped {name}: {why}" for name, why in dropped.items()]
        if self.foreign:
            lines.append(
                f"  foreign {len(self.foreign)} tensors outside the model: {', '.join(_counted(self.foreign))}"
            )
        return "\n".join(lines)

    @property
    def new(self) -> list[str]:
        """Earlier name of `newly_initialized`."""
        return self.newly_initialized

    @property
    def place(self) -> str:
        """Earlier name of `location`."""
        return self.location

    def choice(self) -> str:
        """Which model of a file was loaded, in words."""
        average = ", an average of the weights over training" if is_average(self.location) else ""
        return f"from {self.location}{average}" + (f"; not from {', '.join(self.others)}" if self.others else "")


def _counted(names: Sequence[str]) -> list[str]:
    """First components of names, each with its count."""
    counts = Counter(name.split(".")[0] for name in names)
    return [f"{name} ({count})" for name, count in counts.items()]


def _stems(names: list[str]) -> list[str]:
    """Names with `*` for the block index, each once."""
    return list(dict.fromkeys(re.sub(r"^blocks\.\d+\.", "blocks.*.", name) for name in names))


def adapt(checkpoint: Checkpoint, config: ModelConfig, *, source: str, seed: int) -> tuple[TimeSformer, LoadReport]:
    """Build a model of `config` from a checkpoint, in eval mode.

    Args:
        checkpoint: Weights and their config.
        config: Config of the new model.
        source: Origin of the weights, for the report and messages.
        seed: For parameters that the checkpoint lacks.

    Raises:
        WeightsError: The weights cannot be adapted to the config; the message names the tensor.
    """
    depth = checkpoint.config.depth
    if config.depth > depth:
        raise WeightsError(f"{source}: depth={config.depth} is more than the {depth} blocks of the weights")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(
            seed
        )  # manual_seed would also seed every GPU, and those states are not restored
        model = TimeSformer(config)
    if checkpoint.config.head_norm == "batch" and config.head_norm == "none":
        checkpoint = replace(checkpoint, tensors=_fold_head(checkpoint.tensors))
    report = LoadReport(
        checkpoint.format,
        source,
        location=checkpoint.location,
        others=checkpoint.others,
        foreign=checkpoint.foreign,
        commit=checkpoint.commit,
        verified=checkpoint.verified,
    )
    weights = model.state_dict()
    with torch.no_grad():
        for name, initial in weights.items():
            tensor = _tensor_for(name, initial, checkpoint, config, report)
            if tensor is not None:
                initial.copy_(tensor)
    used = {*report.loaded, *report.resized, *report.copied.values()}
    for name in checkpoint.tensors:
        if name not in used:
            report.dropped[name] = _why_dropped(name, checkpoint.config, config, source)
    return model.eval(), report


def _fold_head(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights with the standardization folded into the head."""
    mean, variance = (tensors[f"head_norm.running_{name}"] for name in ("mean", "var"))
    weight, bias = fold_standardization(tensors["head.weight"], tensors["head.bias"], mean=mean, variance=variance)
    return {**tensors, "head.weight": weight, "head.bias": bias}


def _tensor_for(
    name: str, initial: Tensor, checkpoint: Checkpoint, config: ModelConfig, report: LoadReport
) -> Tensor | None:
    """The tensor for parameter `name`, recorded in the report; None if the initial value stays."""
    origin = _origin(name, checkpoint.config, config)
    tensor = checkpoint.tensors.get(origin)
    if tensor is None:
        _check_may_be_new(name, checkpoint, config, report.source)
        report.newly_initialized.append(name)
        return None
    tensor = tensor.float()
    # 2x6 and 3x4 patches are as many, at other positions
    moved = name == "embedding.position" and checkpoint.config.grid[1:] != config.grid[1:]
    if moved or tensor.shape != initial.shape:
        if name.startswith("head."):
            report.newly_initialized.append(name)
            return None
        tensor, how = _resize(name, tensor, initial, checkpoint.config, config, report.source)
        report.resized[name] = how
    elif origin != name:
        report.copied[name] = origin
    else:
        report.loaded.append(name)
    return tensor


def _origin(name: str, old: ModelConfig, new: ModelConfig) -> str:
    """The stored parameter for parameter `name`: of the same name, or of the only attention step stored."""
    step = re.match(r"(blocks\.\d+\.steps\.)\w+(\..*)", name)
    scheme = scheme_of(old)
    if step is None or old.scheme == new.scheme or len(scheme.steps) > 1:
        return name
    return f"{step[1]}{scheme.image_step}{step[2]}"


def _check_may_be_new(name: str, checkpoint: Checkpoint, config: ModelConfig, source: str) -> None:
    old = checkpoint.config
    gains_scheme = len(scheme_of(old).steps) == 1 and old.scheme != config.scheme
    gains_time = name == "embedding.time" and (gains_scheme or old.position_embedding != "space_time")
    gains_position = name == "embedding.position" and old.position_embedding == "none"
    gains_fc = ".fc." in name and ".steps." in name and gains_scheme
    gains_norm = name.startswith("head_norm.") and old.head_norm == "none"
    if name.endswith(".qkv.bias") and not old.qkv_bias:
        raise WeightsError(f"{source}: has no {name}{_what_differs(old, config)}")
    if not (gains_norm or gains_time or gains_position or gains_fc or name in checkpoint.missing):
        raise WeightsError(
            f"{source}: scheme={old.scheme!r} has no {name}, which scheme={config.scheme!r} needs; only weights with "
            f"one attention step (image ViT, space_only, joint_space_time) can become another scheme"
        )


def _resize(
    name: str, tensor: Tensor, initial: Tensor, old: ModelConfig, new: ModelConfig, source: str
) -> tuple[Tensor, str]:
    mode = new.position_interpolation
    if name == "embedding.position" and tensor.shape[-1] == initial.shape[-1]:
        patches = resize(tensor[:, 1:], old=old.grid[1:], new=new.grid[1:], mode=mode)
        how = f"{old.grid[1]}x{old.grid[2]} to {new.grid[1]}x{new.grid[2]} patches, {mode}"
        return torch.cat([tensor[:, :1], patches], dim=1), how
    if name == "embedding.time" and tensor.shape[-1] == initial.shape[-1]:
        how = f"{old.num_frames} to {new.num_frames} frames, {'nearest' if mode == 'nearest' else 'linear'}"
        return resize(tensor, old=old.grid[:1], new=new.grid[:1], mode=mode), how
    if name == "embedding.patch.weight" and len(tensor) == len(initial):
        return _other_patches(tensor, old, new)
    raise WeightsError(
        f"{source}: {name} is {tuple(tensor.shape)}, the config needs {tuple(initial.shape)}{_what_differs(old, new)}"
    )


def _what_differs(old: ModelConfig, new: ModelConfig) -> str:
    """Changed fields that weights determine, for the end of a message."""
    names = [name for name in FIXED_BY_WEIGHTS if getattr(old, name) != getattr(new, name)]
    return "".join(f"; the weights have {name}={getattr(old, name)}, not {getattr(new, name)}" for name in names)


def _other_patches(weight: Tensor, old: ModelConfig, new: ModelConfig) -> tuple[Tensor, str]:
    """Patch projection for another number of channels, another patch size, or both."""
    how = []
    if old.in_channels != new.in_channels:
        weight = _other_channels(weight, new.in_channels)
        how.append(f"{old.in_channels} to {new.in_channels} channels")
    if old.patch_size != new.patch_size:
        weight = resize_patches(weight, new.patch_size)
        how.append(f"patches of {old.patch_size} to {new.patch_size} pixels")
    return weight, ", ".join(how)


def _other_channels(weight: Tensor, channels: int) -> Tensor:
    """Patch projection for another channel count, with the same output for equal channels."""
    mean = reduce(weight, "d c h w -> d 1 h w", "sum") / channels
    return repeat(mean, "d 1 h w -> d c h w", c=channels)


def _why_dropped(name: str, old: ModelConfig, new: ModelConfig, source: str) -> str:
    block = re.match(r"blocks\.(\d+)\.", name)
    if block is not None and int(block[1]) >= new.depth:
        return f"depth={new.depth} keeps the first {new.depth} of {old.depth} blocks"
    if name.startswith("head."):
        return f"{old.num_classes} classes became {new.num_classes}"
    if name.startswith("head_norm."):
        return "folded into the head"
    if name == "embedding.time":
        return f"position_embedding={new.position_embedding!r}, scheme={new.scheme!r} has no time embedding"
    if name == "embedding.position":
        return f"position_embedding={new.position_embedding!r}"
    if name.endswith(".qkv.bias") and not new.qkv_bias:
        raise WeightsError(f"{source}: the model has no {name}{_what_differs(old, new)}")
    raise WeightsError(f"{source}: scheme={new.scheme!r} has no {name}, which scheme={old.scheme!r} has")
