"""The batch that fits, measured after one that did not."""

from collections.abc import Callable
from typing import TypeVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from timesformer.device import is_out_of_memory
from timesformer.errors import DependencyError, TimeSformerError

Clips = Float[Tensor, "b 3 t h w"] | UInt8[Tensor, "b 3 t h w"]
Result = TypeVar("Result")


def compute_in_batches(
    compute: Callable[[Clips], Result], clips: Clips, *, batch_size: int, device: torch.device
) -> list[Result]:
    """What a model computes for each batch of clips.

    Raises:
        DependencyError: The model cannot be compiled, because no compiler works.
        TimeSformerError: Out of memory; see `compute_or_advise`.
    """
    try:
        return [compute_or_advise(compute, batch, device=device) for batch in clips.split(batch_size)]
    except RuntimeError as error:
        if type(error).__name__ != "InductorError":  # its module is imported by compilation only
            raise
        reason = next(iter(str(error).splitlines()), "")
        raise DependencyError(
            f"the model cannot be compiled here; leave out compile=True (--compile), or fix this: {reason}"
        ) from error


def compute_or_advise(compute: Callable[[Clips], Result], clips: Clips, *, device: torch.device) -> Result:
    """What a model computes for clips; if memory is too small, an error that names the largest batch that fits.

    Args:
        compute: Moves clips to the device and computes.
        clips: A batch.
        device: The device, named in the message.

    Raises:
        TimeSformerError: Out of memory. The largest batch is found by bisection, which computes a few smaller ones.
    """
    try:
        return compute(clips)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # here, and not above: the traceback of the error keeps its tensors in memory
    raise TimeSformerError(_advice(clips, largest_fitting(compute, clips), device=device))


def largest_fitting(compute: Callable[[Clips], object], clips: Clips) -> int:
    """The largest number of clips, below the given one, that memory is enough for; 0 if not even one fits."""
    fits, too_many = 0, len(clips)
    while too_many - fits > 1:
        count = (fits + too_many) // 2
        if _fits(compute, clips[:count]):
            fits = count
        else:
            too_many = count
    return fits


def _fits(compute: Callable[[Clips], object], clips: Clips) -> bool:
    if clips.device.type == "cuda" or torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    try:
        compute(clips)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def _advice(clips: Clips, fitting: int, *, device: torch.device) -> str:
    count, _, num_frames, height, width = clips.shape
    head = f"out of memory on {device} with {count} clips of {num_frames} frames of {height} x {width} at a time"
    if fitting:
        return f"{head}; {fitting} fit: pass batch_size={fitting} (--batch-size {fitting})"
    other = "" if device.type == "cpu" else ", or device='cpu' (--device cpu)"
    return f"{head}; not even one fits: use a smaller model or fewer frames{other}"
