"""The small models that `timesformer bench explain` explains: trained on planted evidence, saved and reused.

A scheme first learns `where`, in clips of half the frames, which costs little; the model of `when` starts from it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from timesformer.bench.timing import OnProgress
from timesformer.config.info import ModelInfo
from timesformer.config.optim import OptimConfig
from timesformer.config.schema import ClipConfig, ModelConfig, SchemeName
from timesformer.data.clips.transforms import to_floats
from timesformer.data.synthetic.planted import PLANTED_CLASSES, Evidence, render_planted
from timesformer.errors import ConfigError
from timesformer.model.timesformer import TimeSformer
from timesformer.training.optim import build_optimizer, lr_factor
from timesformer.weights.load import load
from timesformer.weights.model_folder import save

CLIP = ClipConfig(sampling="uniform", num_crops=1)
"""Clips as the models read them."""

_TRAIN_SEED, _BATCH = 1, 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """Clips and training steps of one kind of evidence."""

    num_frames: int
    steps: int
    clips: int = 2048
    """Different training clips, each flipped, transposed and played backwards at random."""
    size: int = 64
    """Side of a clip in pixels."""


LESSONS: dict[Evidence, Lesson] = {
    "where": Lesson(num_frames=8, steps=150),
    "when": Lesson(num_frames=16, steps=400),
}
"""Training of each kind of evidence, in this order."""


def config_of(scheme: SchemeName, evidence: Evidence) -> ModelConfig:
    """Architecture of a small model: 0.1 M parameters, patches of 8 x 8 pixels."""
    return ModelConfig(
        scheme=scheme,
        num_frames=LESSONS[evidence].num_frames,
        image_size=(LESSONS[evidence].size, LESSONS[evidence].size),
        patch_size=8,
        embed_dim=64,
        depth=3,
        num_heads=4,
        mlp_ratio=2.0,
        num_classes=len(PLANTED_CLASSES),
        drop_path=0.0,
        head_norm="batch",
        initialization="scratch",
    )


def trained_model(
    scheme: SchemeName,
    evidence: Evidence,
    *,
    folder: Path | None,
    start: TimeSformer | None,
    device: torch.device,
    on_progress: OnProgress = lambda done, total: None,
) -> TimeSformer:
    """The model of a scheme and a kind of evidence: read from `folder` if it is there, else trained and saved there.

    Args:
        scheme: Its attention.
        evidence: What its clips show.
        folder: Folder of models; None saves none.
        start: A model with the same weights but for the time embedding, to start from.
        device: Device to train on.
        on_progress: Called after each step.

    Raises:
        ConfigError: The folder has a model of this name that was trained otherwise.
    """
    path = None if folder is None else folder / f"{scheme}-{evidence}"
    source = _describe(evidence, has_start=start is not None)
    if path is not None and path.exists():
        return _read(path, source=source, config=config_of(scheme, evidence)).to(device)
    info = ModelInfo(clip=CLIP, labels=PLANTED_CLASSES, license="MIT", source=source)
    with torch.random.fork_rng():
        torch.manual_seed(_TRAIN_SEED)
        model = TimeSformer(config_of(scheme, evidence), info=info)
    if start is not None:
        tensors = {name: tensor for name, tensor in start.state_dict().items() if name != "embedding.time"}
        model.load_state_dict(tensors, strict=False)
    train(model.to(device), evidence, device=device, on_progress=on_progress)
    if path is not None:
        save(model, path)
    return model


def _describe(evidence: Evidence, *, has_start: bool) -> str:
    """Training of a model in words, which its folder holds."""
    lesson = LESSONS[evidence]
    after = f", after {_describe('where', has_start=False)}" if has_start else ""
    return f"timesformer bench explain: {lesson.steps} steps on {lesson.clips} clips of {evidence!r}{after}"


def _read(path: Path, *, source: str, config: ModelConfig) -> TimeSformer:
    model = load(path)
    if (model.info.source, model.config) != (source, config):
        raise ConfigError(f"{path}: was trained otherwise ({model.info.source}); name another folder of models")
    return model.eval()


def train(
    model: TimeSformer,
    evidence: Evidence,
    *,
    device: torch.device,
    on_progress: OnProgress = lambda done, total: None,
) -> None:
    """Train a model in place, and leave it in eval mode: AdamW, batches of 16 clips, drawn with a fixed seed."""
    lesson, optim = LESSONS[evidence], OptimConfig(lr=2e-3)
    optimizer = build_optimizer(model.train(), optim=optim)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: lr_factor(step, total_steps=lesson.steps, optim=optim)
    )
    for step, (clips, labels) in enumerate(_batches(evidence), start=1):
        loss = F.cross_entropy(model(clips.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip_grad_norm)
        optimizer.step()
        schedule.step()
        on_progress(step, lesson.steps)
    model.eval()


def _batches(evidence: Evidence) -> Iterator[tuple[Float[Tensor, "b c t h w"], Int64[Tensor, " b"]]]:
    lesson, rng = LESSONS[evidence], np.random.default_rng((_TRAIN_SEED, LESSONS[evidence].num_frames))
    kept: dict[int, tuple[np.ndarray, int]] = {}
    for _ in range(lesson.steps):
        for index in (indices := rng.integers(lesson.clips, size=_BATCH).tolist()):
            if index not in kept:
                clip = render_planted(
                    evidence, seed=(_TRAIN_SEED, index), num_frames=lesson.num_frames, size=lesson.size
                )
                kept[index] = clip.frames, clip.label
        frames = np.stack([_turned(kept[index][0], rng) for index in indices])
        yield normalized(frames), torch.tensor([kept[index][1] for index in indices])


def _turned(frames: UInt8[np.ndarray, "t h w 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "t h w 3"]:
    """A clip played backwards, flipped and transposed, each at random: the class stays."""
    frames = np.flip(frames, tuple(np.flatnonzero(rng.integers(2, size=3)).tolist()))
    return frames.swapaxes(1, 2) if rng.integers(2) else frames


def normalized(frames: UInt8[np.ndarray, "b t h w 3"]) -> Float[Tensor, "b 3 t h w"]:
    """Clips as the models read them."""
    views = rearrange(torch.from_numpy(np.ascontiguousarray(frames)), "b t h w c -> b c t h w")
    return to_floats(views, CLIP)
