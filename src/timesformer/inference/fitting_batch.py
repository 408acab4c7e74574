"""The batch that fits, measured after one that did not."""

from collections.abc import Callable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from timesformer.device import is_out_of_memory
from timesformer.errors import TimeSformerError

Clips = Float[Tensor, "b 3 t h w"] | UInt8[Tensor, "b 3 t h w"]
Compute = Callable[[Clips], Float[Tensor, "b k"]]


def compute_or_advise(compute: Compute, clips: Clips, *, device: torch.device) -> Float[Tensor, "b k"]:
    """The logits of clips; if memory is too small, an error that names the largest batch that fits.

    Args:
        compute: Moves clips to the device and computes their logits.
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


def largest_fitting(compute: Compute, clips: Clips) -> int:
    """The largest number of clips, below the given one, that memory is enough for; 0 if not even one fits."""
    fits, too_many = 0, len(clips)
    while too_many - fits > 1:
        count = (fits + too_many) // 2
        if _fits(compute, clips[:count]):
            fits = count
        else:
            too_many = count
    return fits


def _fits(compute: Compute, clips: Clips) -> bool:
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
