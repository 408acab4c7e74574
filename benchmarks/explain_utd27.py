"""Pointing game of explanations on UTD-MHAD before photographs: does the most relevant patch lie on the person?

The same clip exists as depth, gray on black, which says in every frame where the person is. For each clip the center of
the most relevant patch is looked up in its frame: a hit lies on the person's silhouette, or in its bounding box. Both
are widened by a few pixels, because a patch is far larger than an arm.

    python benchmarks/explain_utd27.py DATA/photo112/val.csv --depth DATA/depth112/videos --model runs/utd27_photo

Prints JSON: hits with Wilson's 95 % interval, their chance level (the fraction of all patches that would be hits), the
relevance on the silhouette, and its chance level (the silhouette's share of the crop). Maps that know nothing of the
model stand next to the methods.
"""

import argparse
import json
import logging
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

import timesformer as tsf
from machine import describe_machine
from timesformer.data.manifest.manifest import Sample, load_manifest
from timesformer.data.video.reader import read_frames
from timesformer.evaluation.metrics import wilson_interval
from timesformer.explanation.explain import Explainer
from timesformer.explanation.explanation import Explanation, Method
from timesformer.explanation.overlay import cells_of_pixels
from timesformer.explanation.render import write_strip

DARKEST_PERSON = 64
"""Least gray level of the person, from 0 to 255; the compressed background stays below."""
METHODS = ("rollout", "rollout-norm", "class", "contribution", "occlusion")
NULLS: dict[str, Callable[[Explanation, int], np.ndarray]] = {
    "random": lambda item, seed: np.random.default_rng(seed).random(item.map.shape),
    "center Gaussian": lambda item, _: _center_gaussian(item.map.shape),
    "frame difference": lambda item, _: _frame_difference(item),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One map of one clip against the person."""

    on_silhouette: bool
    in_box: bool
    mass: float
    """Fraction of the relevance on the silhouette."""
    chances: tuple[float, float, float]
    """The same three numbers for a map that knows nothing: hits on silhouette and box of a random patch, and share."""
    is_correct: bool
    """Whether the model predicts, or the method explains, the right class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Where the person is in the frames of a view, as fractions of patches and at their centers."""

    covered: np.ndarray
    """Fraction of each patch on the silhouette: `[t, h, w]`."""
    on_silhouette: np.ndarray
    """Whether the center of each patch lies on the widened silhouette: `[t, h, w]`."""
    in_box: np.ndarray
    """Whether it lies in the widened bounding box: `[t, h, w]`."""


def find_person(item: Explanation, depth: Path, *, margin: int) -> Person:
    """Look the frames of a view up in the clip's depth video."""
    silhouettes = read_frames(depth, item.frames.tolist()).max(axis=-1) >= DARKEST_PERSON
    _, height, width = item.map.shape
    top, left, crop_height, crop_width = item.box
    rows = cells_of_pixels(size=silhouettes.shape[1], start=top, length=crop_height, count=height)
    columns = cells_of_pixels(size=silhouettes.shape[2], start=left, length=crop_width, count=width)
    inside = silhouettes[:, rows >= 0][:, :, columns >= 0].astype(float)
    to_rows, to_columns = np.eye(height)[rows[rows >= 0]], np.eye(width)[columns[columns >= 0]]
    covered = np.einsum("t y x, y h, x w -> t h w", inside, to_rows, to_columns)
    covered /= np.outer(to_rows.sum(axis=0), to_columns.sum(axis=0))
    centers = np.ix_(
        range(len(silhouettes)),
        (top + (np.arange(height) + 0.5) * crop_height / height).astype(int),
        (left + (np.arange(width) + 0.5) * crop_width / width).astype(int),
    )
    boxes = np.stack([_bounding_box(silhouette) for silhouette in silhouettes])
    return Person(
        covered=covered,
        on_silhouette=_widened(silhouettes, margin)[centers],
        in_box=_widened(boxes, margin)[centers],
    )


def score(relevance: np.ndarray, person: Person, *, is_correct: bool) -> Score:
    """Pointing game and relevance mass of one map."""
    peak = np.unravel_index(relevance.argmax(), relevance.shape)
    return Score(
        on_silhouette=bool(person.on_silhouette[peak]),
        in_box=bool(person.in_box[peak]),
        mass=float((relevance * person.covered).sum() / relevance.sum()),
        chances=(float(person.on_silhouette.mean()), float(person.in_box.mean()), float(person.covered.mean())),
        is_correct=is_correct,
    )


def summarize(scores: Sequence[Score], *, seconds: float) -> dict[str, Any]:
    """Means over clips, with intervals of the hits, for all clips and for those of the right class."""
    silhouette, box, share = np.mean([item.chances for item in scores], axis=0).tolist()
    mass = float(np.mean([item.mass for item in scores]))
    return {
        "clips": len(scores),
        "hits_in_box": _hits([item.in_box for item in scores]) | {"chance": round(box, 4)},
        "hits_on_silhouette": _hits([item.on_silhouette for item in scores]) | {"chance": round(silhouette, 4)},
        "hits_in_box_if_correct": _hits([item.in_box for item in scores if item.is_correct]),
        "mass": round(mass, 4),
        "mass_chance": round(share, 4),
        "mass_ratio": round(mass / share, 2),
        "seconds_per_clip": round(seconds / len(scores), 3),
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Explain every clip by every method and score the maps."""
    samples, class_names = _read_list(options.data, limit=options.limit)
    model = tsf.load(options.model)
    scores: dict[str, list[Score]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    for number, name in enumerate(options.methods):
        explainer = _explainer(model, name)
        for index, sample in enumerate(samples):
            start = time.perf_counter()
            item = explainer(sample.path)
            seconds[name] += time.perf_counter() - start
            person = find_person(item, options.depth / sample.path.name, margin=options.margin)
            is_correct = item.label == class_names[sample.label]
            scores[name].append(score(item.map, person, is_correct=is_correct))
            for null, draw in NULLS.items() if number == 0 else ():
                scores[null].append(score(draw(item, index), person, is_correct=is_correct))
            if options.strips:
                write_strip(item, options.strips / f"{item.name}_{name.replace(':', '_')}.png")
        print(f"{name}: {len(scores[name])} clips, {seconds[name]:.0f} s", file=sys.stderr)
    return {name: summarize(found, seconds=seconds[name]) for name, found in scores.items()}


def _explainer(model: tsf.TimeSformer, name: str) -> Explainer:
    method, _, step = name.partition(":")
    steps = [step] if step else []
    if method == "rollout-norm":
        return Explainer(model, method="rollout", residual="norm", steps=steps)
    return Explainer(model, method=cast(Method, method), steps=steps)  # which refuses unknown methods


def _read_list(data: Path, *, limit: int | None) -> tuple[list[Sample], Sequence[str]]:
    manifest = load_manifest(data)
    samples = manifest.samples
    chosen = np.linspace(0, len(samples) - 1, min(limit or len(samples), len(samples))).round().astype(int)
    return [samples[index] for index in chosen], manifest.class_names


def _hits(hits: Sequence[bool]) -> dict[str, Any]:
    if not hits:
        return {"clips": 0}
    low, high = wilson_interval(float(np.mean(hits)), num_trials=len(hits))
    return {
        "clips": len(hits),
        "fraction": round(float(np.mean(hits)), 4),
        "low": round(low, 4),
        "high": round(high, 4),
    }


def _bounding_box(mask: np.ndarray) -> np.ndarray:
    """The smallest rectangle around a silhouette; nothing if there is none."""
    box = np.zeros_like(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows):
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


def _widened(masks: np.ndarray, margin: int) -> np.ndarray:
    """Masks `[t, y, x]` with every pixel that is at most `margin` pixels away along both axes."""
    wide = torch.from_numpy(masks.astype(np.float32))[:, None]
    wide = torch.nn.functional.max_pool2d(wide, 2 * margin + 1, stride=1, padding=margin)
    return wide[:, 0].numpy() > 0


def _center_gaussian(shape: tuple[int, ...]) -> np.ndarray:
    """A Gaussian around the middle of every frame, with a quarter of the side as standard deviation."""
    across = [np.exp(-0.5 * (((np.arange(size) + 0.5) / size - 0.5) / 0.25) ** 2) for size in shape[1:]]
    return np.broadcast_to(np.outer(*across), shape)


def _frame_difference(item: Explanation) -> np.ndarray:
    """Mean difference of brightness between a frame of the view and its neighbors, over each patch."""
    num_frames, height, width = item.map.shape
    gray = item.pixels.mean(axis=-1)
    steps = np.abs(np.diff(gray, axis=0))
    changes = np.concatenate([steps[:1], steps]) + np.concatenate([steps, steps[-1:]]) if num_frames > 1 else gray
    top, left, crop_height, crop_width = item.box
    rows = cells_of_pixels(size=gray.shape[1], start=top, length=crop_height, count=height)
    columns = cells_of_pixels(size=gray.shape[2], start=left, length=crop_width, count=width)
    means = [
        [changes[:, rows == row][:, :, columns == column].mean(axis=(1, 2)) for column in range(width)]
        for row in range(height)
    ]
    return np.moveaxis(np.array(means), -1, 0) + 1e-6


def main() -> None:
    """Score and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="list of the clips before photographs")
    parser.add_argument("--depth", type=Path, required=True, help="folder of the same clips as depth")
    parser.add_argument("--model", required=True, help="folder of a run or a model")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=list(METHODS),
        help=f"any of {', '.join(METHODS)}; with :STEP at the end, along that attention step only",
    )
    parser.add_argument("--margin", type=int, default=2, help="pixels by which silhouette and box are widened")
    parser.add_argument("--limit", type=int, help="number of clips, evenly spaced; all by default")
    parser.add_argument("--strips", type=Path, help="existing folder for a picture of every clip and method")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    began = time.time()
    results = run(options)
    about = {"data": options.data.parent.name, "model": Path(options.model).name, "margin": options.margin}
    print(f"{time.time() - began:.0f} s", file=sys.stderr)
    print(
        json.dumps({"date": time.strftime("%Y-%m"), "machine": describe_machine(), **about, "maps": results}, indent=2)
    )


if __name__ == "__main__":
    main()
