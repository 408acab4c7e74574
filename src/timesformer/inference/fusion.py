"""Fusion of views: one prediction for a video from the logits of its views."""

from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from timesformer.config.schema import Fusion
from timesformer.errors import TimeSformerError


def fuse(logits: Float[Tensor, "views k"], fusion: Fusion) -> Float[Tensor, " k"]:
    """Probabilities of a video's classes from the logits of its views.

    `softmax` averages the views' probabilities (paper, section 4). `logits` ranks by the sum of logits, as the released
    code does; the sum is divided by the number of views, which changes no rank, before it becomes probabilities.
    """
    if fusion == "logits":
        return logits.mean(dim=0).softmax(dim=-1)
    return logits.softmax(dim=-1).mean(dim=0)


def check_finite(logits: Float[Tensor, "views k"], path: str | Path) -> None:
    """Refuse logits of a video that are not finite.

    Raises:
        TimeSformerError: One is nan or inf; the message names the video.
    """
    if not logits.isfinite().all():
        raise TimeSformerError(f"{path}: the model outputs nan or inf: its weights are broken")
