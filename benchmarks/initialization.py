"""Which initialization lets a small divided model learn the order of frames without pretraining?

Trains the `tiny` preset on synthetic motions whose classes come in pairs, each the other reversed in time, from several
initializations with equal seeds, data and steps. Prints JSON: accuracy after every 100 steps, and the fraction of clips
whose pair is right. A pair can be recognized without the order of frames, so 50 % accuracy at 100 % of pairs means that
nothing is known of the order.

    python benchmarks/initialization.py --steps 800 --seeds 0 1 > initialization.json
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer import PRESETS, ClipConfig, TimeSformer
from timesformer.data.clips.transforms import normalize
from timesformer.data.synthetic.motion import OPPOSITES, render_clip
from timesformer.model.initialization import set_sinusoids

PAIRS = ("move_left", "move_up", "shrink", "vanish")
CLASSES = [name for first in PAIRS for name in (first, OPPOSITES[first])]


def clips(count: int, *, split: int, background: str) -> tuple[Tensor, Tensor]:
    """`count` clips of each class, normalized, and their labels."""
    frames, labels = [], []
    for label, name in enumerate(CLASSES):
        for number in range(count):
            seed = np.random.default_rng([split, label, number])
            frames.append(
                normalize(render_clip(name, seed=seed, num_frames=8, size=32, background=background), ClipConfig())
            )
            labels.append(label)
    return torch.stack(frames), torch.tensor(labels)


@torch.no_grad()
def unit_embeddings(model: TimeSformer) -> None:
    """Position and time from a normal of std 1."""
    nn.init.normal_(model.embedding.position)
    nn.init.normal_(model.embedding.time)


@torch.no_grad()
def xavier(model: TimeSformer) -> None:
    """All linear layers except the head by Xavier's rule."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "head":
            nn.init.xavier_uniform_(module.weight)


@torch.no_grad()
def sinusoids(model: TimeSformer) -> None:
    """Position and time as sinusoids."""
    set_sinusoids(model.embedding)


@torch.no_grad()
def drawn_fc(model: TimeSformer) -> None:
    """`fc` drawn like the other linear layers of the released initialization, not zero."""
    for name, module in model.named_modules():
        if name.endswith(".fc") and isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)


INITIALIZATIONS: dict[str, list[Callable[[TimeSformer], None]]] = {
    "released": [],
    "released, fc drawn, embeddings std 1": [drawn_fc, unit_embeddings],
    "Xavier, embeddings std 1": [xavier, unit_embeddings],
    "released, fc drawn, sinusoids": [drawn_fc, sinusoids],
    "scratch (Xavier, sinusoids)": [xavier, sinusoids],
    "released, head_norm=batch": [],
    "scratch, head_norm=batch": [xavier, sinusoids],
}


def run(
    initialization: str, *, seed: int, steps: int, data: tuple[Tensor, Tensor, Tensor, Tensor]
) -> list[dict[str, float]]:
    """Train one model and evaluate it every 100 steps."""
    train_x, train_y, val_x, val_y = data
    torch.manual_seed(seed)
    head_norm = "batch" if initialization.endswith("head_norm=batch") else "none"
    config = replace(PRESETS["tiny"], num_classes=len(CLASSES), initialization="released", head_norm=head_norm)
    model = TimeSformer(config)
    for change in INITIALIZATIONS[initialization]:
        change(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.05)
    generator = torch.Generator().manual_seed(seed)
    curve = []
    for step in range(1, steps + 1):
        chosen = torch.randint(len(train_x), (16,), generator=generator)
        shift = torch.randint(-2, 3, (2,), generator=generator).tolist()
        loss = F.cross_entropy(model(train_x[chosen].roll(shift, dims=(-2, -1))), train_y[chosen])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            curve.append({"step": step, **evaluate(model.eval(), val_x, val_y)})
            model.train()
    return curve


@torch.inference_mode()
def evaluate(model: TimeSformer, x: Tensor, y: Tensor) -> dict[str, float]:
    """Accuracy on classes and on pairs of classes."""
    predicted = torch.cat([model(chunk).argmax(-1) for chunk in x.split(80)])
    return {
        "accuracy": (predicted == y).float().mean().item(),
        "pairs": (predicted // 2 == y // 2).float().mean().item(),
    }


def main() -> None:
    """Run all initializations for all seeds, seeds in the outer loop, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--background", default="dark", choices=["dark", "plain", "texture"])
    arguments = parser.parse_args()
    data = *clips(150, split=0, background=arguments.background), *clips(25, split=1, background=arguments.background)
    curves: dict[str, list[list[dict[str, float]]]] = {name: [] for name in INITIALIZATIONS}
    began = time.time()
    for seed in arguments.seeds:
        for name in INITIALIZATIONS:
            curves[name].append(run(name, seed=seed, steps=arguments.steps, data=data))
            print(f"{time.time() - began:5.0f} s  seed {seed}  {name}: {curves[name][-1][-1]}", file=sys.stderr)
    medians = {
        name: [
            {"step": points[0]["step"]}
            | {key: statistics.median(point[key] for point in points) for key in ("accuracy", "pairs")}
            for points in zip(*runs, strict=True)
        ]
        for name, runs in curves.items()
    }
    about = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "background": arguments.background,
        "seeds": arguments.seeds,
        "classes": CLASSES,
        "seconds": round(time.time() - began),
    }
    json.dump({"about": about, "median": medians, "runs": curves}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
