"""One answer for a video from the logits of its views, and the device to compute them on."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from timesformer.config.schema import Fusion
from timesformer.errors import ConfigError, TimeSformerError


def fuse(logits: Float[Tensor, "views k"], fusion: Fusion) -> Float[Tensor, " k"]:
    """Probabilities of a video's classes from the logits of its views.

    `softmax` averages the views' probabilities (paper, section 4). `logits` ranks by the sum of logits, as the released
    code does; the sum is divided by the number of views, which changes no rank, before it becomes probabilities.
    """
    if fusion == "logits":
        return logits.mean(dim=0).softmax(dim=-1)
    return logits.softmax(dim=-1).mean(dim=0)


def check_finite(logits: Float[Tensor, "views k"], path: str | Path) -> None:
    """Refuse logits of a video that rank nothing.

    Raises:
        TimeSformerError: One is nan or inf; the message names the video.
    """
    if not logits.isfinite().all():
        raise TimeSformerError(f"{path}: the model answers nan or inf: its weights are broken")


def resolve_device(name: str) -> torch.device:
    """The device of a name: `auto` is a GPU if there is one, otherwise the CPU.

    Raises:
        ConfigError: The name is no device, or this machine does not have it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device={name!r} is no device; use auto, cpu, cuda, cuda:N or mps") from error
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(device.type, False):
        present = ", ".join(kind for kind, there in available.items() if there)
        raise ConfigError(f"device={name!r} is not available on this machine, which has {present}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device={name!r} is not available: this machine has {torch.cuda.device_count()} GPUs, from 0"
        )
    return device
