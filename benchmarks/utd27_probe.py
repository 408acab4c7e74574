"""Linear probe of a frozen image ViT on actions, block by block: ridge regression, with subjects held out in turn.

The features of a clip are, for each frame, the class token and the patch tokens averaged over 4 x 3 cells, all
concatenated, so that the classifier knows where and when. `pixels` are the frames averaged over 6 x 6 pixels. The
result shows which blocks are worth starting from, and the accuracy of a linear classifier without fine-tuning.

    python benchmarks/utd27_probe.py DATA/train.csv --weights vit_small_patch16_224.safetensors

File names contain the subject as `_s1_`. Prints JSON; takes minutes on one core.
"""

import argparse
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

import timesformer as tsf
from machine import describe_machine
from timesformer.config.schema import ClipConfig
from timesformer.data.clips.dataset import EvalViews
from timesformer.data.manifest.manifest import Manifest, load_manifest

SIZE = (96, 64)
CELLS = (4, 3)
STRENGTHS = (0.003, 0.03, 0.3)
"""Strengths of the ridge, relative to the mean of the kernel's diagonal; the best mean over the subjects is used."""


def load_image_model(weights: str, *, num_frames: int) -> tsf.TimeSformer:
    """A ViT that computes each frame separately."""
    return tsf.load(weights, scheme="space_only", image_size=SIZE, num_frames=num_frames)


@torch.inference_mode()
def describe(model: tsf.TimeSformer, clip: Tensor) -> Iterator[tuple[str, np.ndarray]]:
    """Name and values of each feature vector of a clip `[1, 3, T, H, W]`."""
    pixels = rearrange(clip, "1 c t h w -> (t c) 1 h w")
    yield "pixels", F.avg_pool2d(pixels, 6).flatten().numpy()
    frames = rearrange(clip, "1 c t h w -> t c 1 h w")
    tokens, grid = model.embedding(frames)
    for number, block in enumerate(model.blocks, start=1):
        tokens = block(tokens, grid)
        standard = F.layer_norm(tokens, tokens.shape[-1:])
        patches = rearrange(standard[:, 1:], "t (h w) d -> t d h w", h=grid.h)
        cells = F.adaptive_avg_pool2d(patches, CELLS).flatten(1)
        yield f"block {number}", torch.cat([standard[:, 0], cells], dim=1).flatten().numpy()


def held_out_accuracy(numbers: np.ndarray, labels: np.ndarray, subjects: np.ndarray) -> dict[str, float]:
    """Accuracy on each subject of a ridge classifier fitted to the others, and the mean."""
    numbers = (numbers - numbers.mean(0)) / (numbers.std(0) + 1e-3 * numbers.std())
    kernel = numbers @ numbers.T
    kernel /= np.trace(kernel) / len(kernel)
    results = [
        {str(subject): _accuracy(kernel, labels, subjects == subject, strength) for subject in np.unique(subjects)}
        for strength in STRENGTHS
    ]
    best = max(results, key=lambda by_subject: np.mean(list(by_subject.values())))
    return best | {"mean": float(np.mean(list(best.values())))}


def _accuracy(kernel: np.ndarray, labels: np.ndarray, test: np.ndarray, strength: float) -> float:
    targets = np.eye(labels.max() + 1)[labels[~test]]
    ridge = kernel[np.ix_(~test, ~test)] + strength * np.eye((~test).sum())
    weights = np.linalg.solve(ridge, targets - targets.mean(0))
    return float(((kernel[np.ix_(test, ~test)] @ weights).argmax(1) == labels[test]).mean())


def subjects_of(manifest: Manifest) -> np.ndarray:
    """The subject of each video, from its file name."""
    found = [re.search(r"_s(\d+)_", sample.path.name) for sample in manifest.samples]
    return np.array([int(match[1]) if match else -1 for match in found])


def main() -> None:
    """Compute the features of all clips, fit, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--num-frames", type=int, default=8)
    parser.add_argument("--channels", choices=["rgb", "time"], default="time")
    parser.add_argument("--background", choices=["keep", "remove"], default="keep")
    options = parser.parse_args()
    began, manifest = time.time(), load_manifest(options.data)
    model = load_image_model(options.weights, num_frames=options.num_frames)
    clip = ClipConfig(
        sampling="segment",
        num_crops=1,
        test_scale=1.0,
        channel_order=options.channels,
        background=options.background,
    )
    views = EvalViews(manifest, model=model.config, clip=clip)
    seen: dict[str, list[np.ndarray]] = defaultdict(list)
    for index in range(len(views)):
        for name, numbers in describe(model, views[index][0]):
            seen[name].append(numbers)
    labels, subjects = np.array([sample.label for sample in manifest.samples]), subjects_of(manifest)
    accuracy = {name: held_out_accuracy(np.stack(numbers), labels, subjects) for name, numbers in seen.items()}
    about = {**vars(options), "data": options.data.name, "weights": Path(options.weights).name, "size": SIZE}
    print(f"{len(manifest.samples)} videos, {time.time() - began:.0f} s", file=sys.stderr)
    print(json.dumps({"date": time.strftime("%Y-%m"), "machine": describe_machine(), **about, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
