"""Memory of a training step, estimated before the run."""

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from timesformer.config.run import RunConfig
from timesformer.model.cost import cost
from timesformer.model.timesformer import TimeSformer
from timesformer.training.init_weights import missing_in_image_vit
from timesformer.training.lightning_module import ClipClassifier

MOMENTS = {"adamw": 2, "sgd": 1}
"""Moments that each optimizer keeps per weight."""
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
_CGROUP = Path("/sys/fs/cgroup")


class Weightless(NamedTuple):
    """A model and its optimizer on the meta device; frozen parameters need no gradient."""

    model: TimeSformer
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Memory of a training step, in bytes, without that of libraries and of data loading."""

    weights: int
    """Weights, with their copies in half precision and their moving average if the run has these."""
    gradients: int
    """Gradients of the trained weights."""
    optimizer: int
    """Moments of the optimizer."""
    activations_per_clip: int
    """Activations that one clip keeps for the backward pass, and its temporary tensors at the peak."""
    clips: int
    """Clips in a micro-batch: `batch_size / accumulate`."""
    available: int | None
    """Free memory of the device; None if unknown."""

    @property
    def fixed(self) -> int:
        """Bytes that do not depend on the number of clips."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """Bytes of the whole step."""
        return self.fixed + self.clips * self.activations_per_clip

    @property
    def fitting_batch(self) -> int | None:
        """The largest micro-batch that fits, 0 if not even one clip does; None if free memory is unknown."""
        if self.available is None:
            return None
        return max((self.available - self.fixed) // self.activations_per_clip, 0)


def estimate_memory(run: RunConfig, device: torch.device | None) -> MemoryEstimate:
    """Estimate the memory of a step on tensors that have shapes but no content.

    The forward pass of one clip and of two is run on fake tensors, and the bytes of the distinct tensors that autograd
    saves are counted. Precision, frozen parameters and recomputation are those of the run. `init_from` is not opened;
    its weights are assumed to come from an image ViT. For a closed form in fp32 see `timesformer.model.cost`.

    Args:
        run: The run, with the number of classes of its data if known.
        device: Only asked for its free memory; None if this machine does not have it.
    """
    model = weightless(run).model
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    one, two = (_saved_bytes(model, run, clips=clips) for clips in (1, 2))
    return MemoryEstimate(
        weights=4 * total * (1 + (run.optim.ema_decay > 0)) + 2 * one - two,
        gradients=4 * trained,
        optimizer=4 * trained * MOMENTS[run.optim.optimizer],
        activations_per_clip=two - one + _work(run, saved=two - one),
        clips=run.micro_batch_size,
        available=free_memory(device) if device else None,
    )


def weightless(run: RunConfig) -> Weightless:
    """Build the model and the optimizer of a run on the meta device: shapes without content.

    `init_from` is not opened; its weights are assumed to come from an image ViT, which lacks most steps.
    """
    with torch.device("meta"):
        model = TimeSformer(run.model).train()
        newly_initialized = missing_in_image_vit(model) if run.init_from else frozenset[str]()
        if run.probe_views or run.init_head:
            newly_initialized = frozenset(name for name in newly_initialized if not name.startswith("head."))
        module = ClipClassifier(model, run=run, total_steps=1, newly_initialized=newly_initialized)
        configured: Any = module.configure_optimizers()
    return Weightless(model, configured["optimizer"])


def memory_advice(run: RunConfig, device: torch.device, *, sharing: int = 1) -> str | None:
    """Advice if a step of a run does not fit into memory; None if it fits or free memory is unknown.

    Args:
        run: The run.
        device: Its device.
        sharing: Processes with such a step that share the device.
    """
    available = free_memory(device)
    available = None if available is None else available // sharing
    if available is None or _rough_total(run) < available / 4:
        return None
    estimate = replace(estimate_memory(run, None), available=available)
    fitting = estimate.fitting_batch
    if fitting is None or fitting >= estimate.clips:
        return None
    size = run.model.image_size
    cure = next((f"accumulate={count} fits" for count in _accumulations(run, fitting=fitting)), "")
    if not cure:
        cure = "no micro-batch fits: use a smaller model, fewer frames or checkpoint_activations=true"
    return (
        f"a step needs about {gigabytes(estimate.total)} for {estimate.clips} clips of {run.model.num_frames} frames "
        f"of {size[0]} x {size[1]}, and {device} has {gigabytes(available)} free: {cure}"
    )


def out_of_memory_advice(run: RunConfig, device: torch.device, *, available: int | None) -> str:
    """What to do after a step of a run that did not fit into memory.

    Args:
        run: The run.
        device: Its device.
        available: Free memory of the device before the run, in bytes; None if unknown.
    """
    estimate = replace(estimate_memory(run, None), available=available)
    fitting, clips, size = estimate.fitting_batch, run.micro_batch_size, run.model.image_size
    if fitting is None or fitting >= clips:  # other processes use the memory, too
        fitting = clips // 2
    ways = [f"accumulate={count}, for the same steps" for count in _accumulations(run, fitting=fitting)][:1]
    if not run.checkpoint_activations:
        lean = estimate_memory(replace(run, checkpoint_activations=True), None).activations_per_clip
        if lean < estimate.activations_per_clip:
            share = lean / estimate.activations_per_clip
            ways.append(f"checkpoint_activations=true, with which a clip needs {share:.0%} of the memory")
    ways.append("fewer frames or a smaller model")
    return (
        f"out of memory on {device} in a step of {clips} clips of {run.model.num_frames} frames of {size[0]} x "
        f"{size[1]}; there is room for about {fitting}: use {'; or '.join(ways)}"
    )


def free_memory(device: torch.device) -> int | None:
    """Free bytes of a device; for the CPU, what the system, the container and the limits of the process have left."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    sources = _system_memory(), _container_memory(), _memory_to_limit()
    free = [value for value in sources if value is not None]
    return min(free, default=None)


def gigabytes(num_bytes: int) -> str:
    """A number of bytes, in gigabytes for people."""
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes < 1e10 else f"{num_bytes / 1e9:.0f} GB"


def _accumulations(run: RunConfig, *, fitting: int) -> list[int]:
    """Values of `accumulate` with micro-batches of at most `fitting` clips, in ascending order."""
    return [count for count in range(1, run.batch_size + 1) if _fits(run, accumulate=count, fitting=fitting)]


def _fits(run: RunConfig, *, accumulate: int, fitting: int) -> bool:
    clips, rest = divmod(run.batch_size, accumulate)
    is_alone = clips == 1 and run.model.head_norm == "batch"
    return rest == 0 and clips % run.augment.repeats == 0 and clips <= fitting and not is_alone


def _rough_total(run: RunConfig) -> int:
    """Total bytes within a factor of two, without running the model: enough for small runs."""
    size = cost(run.model)
    return 4 * size.weight_bytes + run.micro_batch_size * size.activation_bytes


def _work(run: RunConfig, *, saved: int) -> int:
    """Temporary bytes of a clip at the peak, as a multiple of what one plain block saves: 1 in the backward pass of a
    block, 5/4 in the forward pass of a frozen one, which is not fused, 2 when a block is recomputed."""
    plain = replace(run, checkpoint_activations=False, optim=replace(run.optim, freeze="none"))
    if plain != run:
        model = weightless(plain).model
        saved = _saved_bytes(model, plain, clips=2) - _saved_bytes(model, plain, clips=1)
    quarters = 8 if run.checkpoint_activations else 4 if run.optim.freeze == "none" else 5
    return quarters * saved // (4 * run.model.depth)


def _saved_bytes(model: TimeSformer, run: RunConfig, *, clips: int) -> int:
    """Bytes of the distinct tensors that autograd saves in a forward pass, without parameters."""
    saved: dict[int, Tensor] = {}
    config, half = run.model, _HALF.get(run.precision)
    precision = torch.autocast("cpu", dtype=half) if half else contextlib.nullcontext()

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with FakeTensorMode():
        weights = {
            name: torch.empty(parameter.shape, requires_grad=parameter.requires_grad)
            for name, parameter in model.named_parameters()
        }
        weights |= {name: torch.empty(buffer.shape, dtype=buffer.dtype) for name, buffer in model.named_buffers()}
        batch = torch.empty(clips, config.in_channels, config.num_frames, *config.image_size)
        with precision, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            functional_call(model, weights, (batch,)).float().log_softmax(-1).sum()
    own = {weight.untyped_storage()._cdata for weight in weights.values()}
    return sum(tensor.untyped_storage().nbytes() for key, tensor in saved.items() if key not in own)


def _system_memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # no Unix
        return None


def _container_memory() -> int | None:
    """Bytes left of the container's limit; cached files count as free."""
    try:
        limit = (_CGROUP / "memory.max").read_text("utf-8").strip()
        used = int((_CGROUP / "memory.current").read_text("utf-8"))
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text("utf-8").splitlines())
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    return max(int(limit) - used + int(stat.get("inactive_file", 0)), 0)


def _memory_to_limit() -> int | None:
    """Bytes left of the limits of this process (`ulimit -v`, `ulimit -d`)."""
    try:
        import resource  # Unix alone

        pages = Path("/proc/self/statm").read_text("utf-8").split()
    except (ImportError, OSError):
        return None
    used = {resource.RLIMIT_AS: int(pages[0]), resource.RLIMIT_DATA: int(pages[5])}
    limits = {which: resource.getrlimit(which)[0] for which in used}
    left = [limits[which] - used[which] * resource.getpagesize() for which in used if limits[which] >= 0]
    return max(min(left), 0) if left else None
