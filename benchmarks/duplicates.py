"""Near-duplicates by embeddings against those by pixels, on re-encoded copies of videos.

    python benchmarks/duplicates.py DATA/train.csv --model RUN --videos 60

Each video gets copies: re-encoded at `crf` 28 and 34, at half the size, mirrored, and cropped by a tenth on each side.
A pair is right if both come from the same video. Recall is over pairs of an original and a copy; precision over all
pairs that are found. Prints JSON; a model that was trained on the videos takes clips of one class for the same.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

import timesformer as tsf
from machine import describe_machine
from timesformer.data.check.fingerprint import fingerprint
from timesformer.data.check.near_duplicates import near_pairs
from timesformer.data.manifest.manifest import load_manifest
from timesformer.data.video.reader import open_reader
from timesformer.data.video.writer import with_even_sides, write_mp4
from timesformer.retrieval.rows import Rows

Frames = UInt8[np.ndarray, "t h w 3"]
EPS = (0.001, 0.003, 0.01, 0.02, 0.05, 0.1)


def _halved(frames: Frames) -> Frames:
    size = (frames.shape[2] // 4 * 2, frames.shape[1] // 4 * 2)
    return np.stack([np.asarray(Image.fromarray(frame).resize(size)) for frame in frames])


def _cropped(frames: Frames) -> Frames:
    top, left = frames.shape[1] // 20 * 2, frames.shape[2] // 20 * 2
    return np.ascontiguousarray(frames[:, top : frames.shape[1] - top, left : frames.shape[2] - left])


COPIES: dict[str, tuple[Callable[[Frames], Frames], int]] = {
    "crf 28": (lambda frames: frames, 28),
    "crf 34": (lambda frames: frames, 34),
    "half size": (_halved, 23),
    "mirrored": (lambda frames: np.ascontiguousarray(frames[:, :, ::-1]), 23),
    "cropped": (_cropped, 23),
}
"""What is done to the frames of each copy, and its `crf`."""


def main() -> None:
    """Make copies, compare, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--videos", type=int, default=60, help="videos to copy, evenly spaced in the list")
    arguments = parser.parse_args()
    samples = load_manifest(arguments.data).samples
    chosen = np.linspace(0, len(samples) - 1, min(arguments.videos, len(samples))).round().astype(int)
    sources = [Path(samples[index].path) for index in chosen]
    with tempfile.TemporaryDirectory() as folder:
        files = [[source, *write_copies(source, Path(folder), number=number)] for number, source in enumerate(sources)]
        print(json.dumps(compare(files, model=arguments.model) | {
            "videos": len(sources),
            "copies": list(COPIES),
            "model": Path(arguments.model).name,
            "date": time.strftime("%Y-%m"),
            "machine": describe_machine(),
        }, indent=1))  # fmt: skip


def write_copies(source: Path, folder: Path, *, number: int) -> list[Path]:
    """The copies of a video, in the order of `COPIES`."""
    with open_reader(source) as reader:
        frames = reader.read(range(reader.info.num_frames))
        rate = Fraction(reader.info.fps).limit_denominator(1001)
    paths = []
    for place, (change, crf) in enumerate(COPIES.values()):
        path = folder / f"{number:04d}_{place}.mp4"
        even = np.stack([with_even_sides(frame) for frame in change(frames)])
        write_mp4(path, even, rate=rate, quality={"crf": str(crf)})
        paths.append(path)
    return paths


def compare(files: Sequence[Sequence[Path]], *, model: str) -> dict[str, Any]:
    """Recall of each kind of copy and precision, by embeddings for each eps, and by pixels."""
    flat = [path for group in files for path in group]
    rows = Rows(np.stack([each.features for each in tsf.embed(model, flat)]))
    units = rows.unit_rows(np.arange(len(rows)))
    similarities = units @ units.T
    results: dict[str, Any] = {}
    for eps in EPS:
        first, second = np.nonzero(np.triu(similarities >= 1 - eps, k=1))
        results[f"embeddings, eps={eps}"] = score({*zip(first.tolist(), second.tolist(), strict=True)}, len(files[0]))
    prints = [fingerprint(path) for path in flat]
    pairs = near_pairs(
        np.stack([each.thumbnails for each in prints]),
        num_frames=np.array([each.num_frames for each in prints], dtype=np.int64),
    )
    results["pixels (check)"] = score(set(pairs), len(files[0]))
    return {"methods": results}


def score(pairs: Collection[tuple[int, int]], size: int) -> dict[str, Any]:
    """Recall of each kind of copy, and precision over all pairs.

    Args:
        pairs: Pairs that were found, of files in groups of one size: an original, then its copies.
        size: Files in each group.
    """
    is_right = [first // size == second // size for first, second in pairs]
    originals: dict[str, list[int]] = {name: [] for name in COPIES}
    for first, second in pairs:
        if first // size == second // size and first % size == 0:
            originals[[*COPIES][second % size - 1]].append(first)
    return {
        "pairs": len(pairs),
        "precision": round(float(np.mean(is_right)), 4) if is_right else None,
        "found": {name: len(found) for name, found in originals.items()},
    }


if __name__ == "__main__":
    main()
