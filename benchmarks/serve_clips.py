"""Clips that carry a number, and the answers by which the number is known again.

Each clip shows a texture of its own, and a model with random weights gives each its own probabilities. The answers that
are expected come from `Predictor`, outside the server.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.synthetic.dataset import write_clip
from timesformer.inference.predictor import Predictor
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.model_folder import save

TOLERANCE = 1e-4
"""Largest difference of a probability: batches of other sizes are added up in another order."""
MARGIN = 20
"""The answers of two clips differ by at least this many times the tolerance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clips:
    """Numbered clips."""

    contents: tuple[bytes, ...]
    """The file of each number."""
    answers: np.ndarray
    """Probabilities of all classes, [number, class]."""
    labels: tuple[str, ...]

    def number_of(self, answer: dict) -> int:
        """The number of the clip that an answer of `/v1/predict` with all classes belongs to; -1 if there is none."""
        probabilities = np.zeros(len(self.labels))
        probabilities[answer["indices"]] = answer["probabilities"]
        distances = np.abs(self.answers - probabilities).max(axis=1)
        nearest = int(distances.argmin())
        return nearest if distances[nearest] < TOLERANCE else -1


def write_model(folder: Path, *, num_classes: int = 5, seed: int = 0) -> Path:
    """Save a tiny model of 4 frames with random weights, and give the folder back."""
    config = ModelConfig(
        num_frames=4, image_size=(24, 24), patch_size=8, embed_dim=32, depth=1, num_heads=2, num_classes=num_classes
    )
    torch.manual_seed(seed)
    model = TimeSformer(config, info=ModelInfo(clip=ClipConfig(sampling="segment", num_crops=1)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.25)
    save(model.eval(), folder)
    return folder


def write_clips(folder: Path, model: Path, *, count: int, num_frames: int = 8, side: int = 48) -> Clips:
    """Write numbered clips and predict them.

    Raises:
        AssertionError: Two clips have answers that are too much alike.
    """
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:04d}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        write_clip(path, texture(number, num_frames=num_frames, side=side))
    predictor = Predictor(model, device="cpu", batch_size=1)
    top_k = predictor.model.config.num_classes
    predictions = [predictor(path, top_k=top_k) for path in paths]
    answers = np.zeros((count, top_k))
    for row, prediction in zip(answers, predictions, strict=True):
        row[list(prediction.indices)] = prediction.probabilities
    check_differences(answers)
    labels = dict(zip(predictions[0].indices, predictions[0].labels, strict=True))
    return Clips(
        contents=tuple(path.read_bytes() for path in paths),
        answers=answers,
        labels=tuple(labels[index] for index in range(top_k)),
    )


def texture(number: int, *, num_frames: int, side: int, blocks: int = 4) -> np.ndarray:
    """Frames of large blocks of random colors, which change slowly; 0 to 255."""
    rng = np.random.default_rng(number)
    first, last = rng.integers(16, 240, (2, blocks, blocks, 3))
    shares = np.linspace(0, 1, num_frames)[:, None, None, None]
    frames = (1 - shares) * first + shares * last
    return frames.repeat(side // blocks, axis=1).repeat(side // blocks, axis=2).astype(np.uint8)


def plain_clip(path: Path, brightness: int) -> bytes:
    """A clip of one gray, 0 to 255, for the traps of `trapped_serve.py`."""
    write_clip(path, np.full((8, 48, 48, 3), brightness, np.uint8))
    return path.read_bytes()


def check_differences(answers: np.ndarray) -> None:
    """Check that no two rows are alike."""
    distances = np.abs(answers[:, None] - answers[None]).max(axis=-1) + np.eye(len(answers))
    assert distances.min() > MARGIN * TOLERANCE, f"two clips differ by {distances.min():.2g} only"


def marked(content: bytes, mark: bytes) -> bytes:
    """An MP4 with a mark that `trapped_serve.py` finds, in a box at its end that players skip."""
    return content + (8 + len(mark)).to_bytes(4, "big") + b"free" + mark


def percentile_ms(seconds: Sequence[float], share: float) -> float | None:
    """The value that a share of the values does not exceed, in milliseconds; None if there is none."""
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else None
