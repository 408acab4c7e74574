"""Evaluation of a variant: its model, on its clips, with its order of frames."""

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from timesformer.evaluation.evaluate import evaluate
from timesformer.evaluation.intervals import accuracy_interval
from timesformer.evaluation.result import Evaluation
from timesformer.model.timesformer import TimeSformer
from timesformer.reproduce.experiment import FrameOrder, Variant
from timesformer.weights.load import load

_SEED = 0


def measure(
    variant: Variant, folder: Path, videos: Path, *, device: str, num_workers: int, allow_codecs: Collection[str] = ()
) -> Evaluation:
    """Evaluate the model of a run with the test clips of a variant.

    Raises:
        TimeSformerError: As `timesformer.evaluation.evaluate`.
    """
    model = load(folder)
    model.info = replace(model.info, clip=variant.test_clip(model.info.clip))
    with frames_in_order(model, variant.frames):
        return evaluate(model, videos, device=device, num_workers=num_workers, allow_codecs=allow_codecs)


@contextmanager
def frames_in_order(model: TimeSformer, order: FrameOrder, *, seed: int = _SEED) -> Generator[None]:
    """Reorder the frames of every clip that a model receives, until the context ends."""
    generator = torch.Generator().manual_seed(seed)
    per_step = model.info.clip.frames_per_channel_group

    def reorder(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        frames = rearrange(inputs[0], "b (c k) t h w -> b c (t k) h w", k=per_step)
        frames = reordered(frames, order, generator=generator)
        return (rearrange(frames, "b c (t k) h w -> b (c k) t h w", k=per_step), *inputs[1:])

    handle = model.register_forward_pre_hook(reorder)
    try:
        yield
    finally:
        handle.remove()


def reordered(
    clips: Float[Tensor, "b c t h w"], order: FrameOrder, *, generator: torch.Generator
) -> Float[Tensor, "b c t h w"]:
    """Clips with reordered frames; `shuffled` draws one order per clip."""
    num_frames = clips.shape[2]
    if order == "given":
        return clips
    if order == "shuffled":
        orders = [torch.randperm(num_frames, generator=generator).tolist() for _ in clips]
        return torch.stack([clip[:, indices] for clip, indices in zip(clips, orders, strict=True)])
    indices: Mapping[str, list[int]] = {
        "reversed": list(range(num_frames))[::-1],
        "one": [(num_frames - 1) // 2] * num_frames,
    }
    return clips[:, :, indices[order]]


def hits(evaluation: Evaluation) -> Bool[np.ndarray, " n"]:
    """Correctness of each video, in the order of the manifest."""
    return np.array([video.predicted == video.label for video in evaluation.predictions])


def interval_over_seeds(
    correct: Sequence[Bool[np.ndarray, " n"]], *, groups: Sequence[str] = ()
) -> tuple[float, float]:
    """95 % interval of the mean accuracy of several models on the same videos, by `accuracy_interval`.

    The models are fixed: the interval covers other videos, not other seeds.

    Args:
        correct: Correctness of each model on each video.
        groups: Group of each video, empty for none; omit it if no video has a group.
    """
    interval = accuracy_interval(np.stack(correct), groups=groups or [""] * len(correct[0]))
    return interval.low, interval.high
