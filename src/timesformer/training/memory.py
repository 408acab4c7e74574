"""How much memory a training step takes, before it is taken."""

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
"""Numbers that each optimizer keeps for a weight."""
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
_CGROUP = Path("/sys/fs/cgroup")


class Weightless(NamedTuple):
    """A model and its optimizer on the meta device; what is frozen needs no gradient."""

    model: TimeSformer
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Memory of a training step, in bytes. What the libraries and the loading of videos take comes on top."""

    weights: int
    """Weights; with them their copies in half precision and their moving average, where the run has these."""
    gradients: int
    """Gradients of the weights that are trained."""
    optimizer: int
    """Moments that the optimizer keeps."""
    activations_per_clip: int
    """What one clip keeps until the backward pass, and what it takes for a while at the height of the step."""
    clips: int
    """Clips that go through the model at a time: `batch_size / accumulate`."""
    available: int | None
    """Memory that is free on the device now; None where the system does not tell."""

    @property
    def fixed(self) -> int:
        """What does not depend on the number of clips."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """All of a step."""
        return self.fixed + self.clips * self.activations_per_clip

    @property
    def fitting_batch(self) -> int | None:
        """The most clips that fit at a time, 0 where not even one does; None where nobody knows what is free."""
        if self.available is None:
            return None
        return max((self.available - self.fixed) // self.activations_per_clip, 0)


def estimate_memory(run: RunConfig, device: torch.device | None) -> MemoryEstimate:
    """Count what a step of a run keeps, on tensors that have shapes but no content.

    The model is run forward for one clip and for two, and the distinct tensors are counted that autograd saves. This is
    exact in kind: precision, frozen parts and recomputation count as they will be; weights to start from are taken for
    those of an image ViT.

    Args:
        run: The run; `run.model.num_classes` is that of its data, where that is known.
        device: Where it will run; only asked for its free memory. None where it is not here.
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
    """Set up what trains a run as it will be, on the meta device: all shapes, and no content.

    Weights to start from are not opened; they are taken for those of an image ViT, of which most is new.
    """
    with torch.device("meta"):
        model = TimeSformer(run.model).train()
        newly_initialized = missing_in_image_vit(model) if run.init_from else ()
        module = ClipClassifier(model, run=run, total_steps=1, newly_initialized=newly_initialized)
        configured: Any = module.configure_optimizers()
    return Weightless(model, configured["optimizer"])


def memory_advice(run: RunConfig, device: torch.device) -> str | None:
    """What to change where a step of a run does not fit; None where it does, or where nobody knows what is free."""
    available = free_memory(device)
    if available is None or _rough_total(run) < available / 4:
        return None
    estimate = estimate_memory(run, device)
    fitting = estimate.fitting_batch
    if fitting is None or fitting >= estimate.clips:
        return None
    size = run.model.image_size
    cure = next(
        (f"accumulate={parts} fits" for parts in range(1, run.batch_size + 1) if _fits(run, parts, fitting)), ""
    )
    if not cure:
        cure = "no part of it fits: take a smaller model, fewer frames or checkpoint_activations=true"
    return (
        f"a step takes about {gigabytes(estimate.total)} with {estimate.clips} clips of {run.model.num_frames} frames "
        f"of {size[0]} x {size[1]} at a time, and {device} has {gigabytes(available)} free: {cure}"
    )


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device: on the CPU those that the system and the container can give."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    free = [value for value in (_system_memory(), _container_memory()) if value is not None]
    return min(free, default=None)


def gigabytes(num_bytes: int) -> str:
    """A size for people."""
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes < 1e10 else f"{num_bytes / 1e9:.0f} GB"


def _fits(run: RunConfig, parts: int, fitting: int) -> bool:
    clips, rest = divmod(run.batch_size, parts)
    is_alone = clips == 1 and run.model.head_norm == "batch"
    return rest == 0 and clips % run.augment.repeats == 0 and clips <= fitting and not is_alone


def _rough_total(run: RunConfig) -> int:
    """A closed form that is right within a factor of two, for the many runs that are small."""
    size = cost(run.model)
    return 4 * size.weight_bytes + run.micro_batch_size * size.activation_bytes


def _work(run: RunConfig, *, saved: int) -> int:
    """What a clip takes for a while on top: as much as a block saves, in the backward pass of another; a quarter more
    in the forward pass of a frozen one, which is not fused; twice as much where a block is computed again."""
    plain = replace(run, checkpoint_activations=False, optim=replace(run.optim, freeze="none"))
    if plain != run:
        model = weightless(plain).model
        saved = _saved_bytes(model, plain, clips=2) - _saved_bytes(model, plain, clips=1)
    quarters = 8 if run.checkpoint_activations else 4 if run.optim.freeze == "none" else 5
    return quarters * saved // (4 * run.model.depth)


def _saved_bytes(model: TimeSformer, run: RunConfig, *, clips: int) -> int:
    """Bytes of the distinct tensors that autograd saves of a forward pass, parameters left out."""
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
    """What the limit of the container leaves; files that the system only caches count as free."""
    try:
        limit = (_CGROUP / "memory.max").read_text("utf-8").strip()
        used = int((_CGROUP / "memory.current").read_text("utf-8"))
        stat = dict(line.split() for line in (_CGROUP / "memory.stat").read_text("utf-8").splitlines())
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    return max(int(limit) - used + int(stat.get("inactive_file", 0)), 0)
