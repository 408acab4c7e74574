"""Heads on the frozen features of an image ViT: actions of unseen subjects, and fights from unseen sources.

The ViT is read as `train --init-from` reads it: a divided TimeSformer that starts as the image model. For UTD-MHAD,
subjects 1, 3, 5 and 7 are for training and 2 and 4 for validation, and clips and size are those of
`recipes/utd27_photo_vit_s.toml`, which removes the background; for fights, groups and colors as they are. The linear
head reads the class token, the attentive head the frames. All on the CPU; prints JSON.

    python benchmarks/features_utd27.py --weights vit_small_patch16_224.safetensors --utd27 utd27/photo112 \
        --fight128 fight128
"""

import argparse
import json
import re
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from machine import describe_machine
from timesformer.config.schema import ClipConfig
from timesformer.data.manifest.manifest import Manifest, load_manifest
from timesformer.inference.embed import embed
from timesformer.inference.predictor import Predictor
from timesformer.retrieval.heads.run import HeadRun
from timesformer.retrieval.heads.train import TrainedHead, train_head
from timesformer.weights.load import load

HEADS = {"cls": "linear", "frame": "attentive"}
"""The head for the features of each level."""
SIZES = {"utd27": (96, 64), "fight128": (112, 112)}
"""Height and width of a frame."""
CLIPS = {
    "utd27": ClipConfig(
        sampling="segment",
        num_crops=1,
        test_scale=1.0,
        mean=(0.5, 0.5, 0.5),
        std=(0.15, 0.15, 0.15),
        channel_order="time",
        background="remove",
    ),
    "fight128": ClipConfig(sampling="segment", num_crops=1, test_scale=1.0),
}


def predictor_of(weights: str, *, depth: int, name: str) -> Predictor:
    """The first blocks of the ViT on 8 frames of a data set."""
    model = load(weights, image_size=SIZES[name], num_frames=8, depth=depth)
    model.info = replace(model.info, clip=CLIPS[name])
    return Predictor(model, device="cpu")


def with_subjects(manifest: Manifest) -> Manifest:
    """The manifest with the subject in a file name, as in `_s1_`, as group where it has none."""
    samples = []
    for sample in manifest.samples:
        found = re.search(r"_(s\d+)_", sample.path.name)
        samples.append(sample if sample.group or not found else replace(sample, group=found[1]))
    return Manifest(tuple(samples), manifest.class_names)


def write_features(manifest: Manifest, predictor: Predictor, *, level: Any, path: Path) -> float:
    """Embed the videos of a manifest into a Parquet file, and give the seconds that it took."""
    began = time.perf_counter()
    paths = [sample.path for sample in manifest.samples]
    vectors = [found.features for found in embed(predictor, paths, level=level)]
    seconds = time.perf_counter() - began
    flat = pa.array([list(vector.astype(np.float16).ravel()) for vector in vectors], pa.list_(pa.float16()))
    columns = {
        "path": list(map(str, paths)),
        "embedding": flat,
        "true_label": [manifest.class_names[sample.label] for sample in manifest.samples],
        "group": [sample.group for sample in manifest.samples],
    }
    metadata = {"timesformer.level": level, "timesformer.shape": json.dumps(list(vectors[0].shape))}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return seconds


def measure(folder: Path, predictor: Predictor, *, level: str, limit: int) -> dict[str, Any]:
    """Embed training and validation videos, train the head of the level, and give its measures."""
    splits = {name: with_subjects(load_manifest(folder / f"{name}.csv")) for name in ("train", "val")}
    if limit:  # every n-th video, so that classes and groups remain
        splits = {name: Manifest(split.samples[::limit], split.class_names) for name, split in splits.items()}
    with tempfile.TemporaryDirectory() as scratch:
        paths = {name: Path(scratch) / f"{name}.parquet" for name in splits}
        seconds = {
            name: write_features(split, predictor, level=level, path=paths[name]) for name, split in splits.items()
        }
        run = HeadRun(
            features=str(paths["train"]),
            val=str(paths["val"]),
            head=HEADS[level],  # ty: ignore[invalid-argument-type]
            output=f"{scratch}/run",
            device="cpu",
        )
        began = time.perf_counter()
        trained = train_head(run, on_message=lambda line: print(line, file=sys.stderr))
        seconds["head"] = time.perf_counter() - began
    return {**result_of(trained), "seconds": {name: round(value, 2) for name, value in seconds.items()}}


def result_of(trained: TrainedHead) -> dict[str, Any]:
    """The measures of a head."""
    evaluation = trained.evaluation
    return {
        "top1": evaluation.top1,
        "interval": list(evaluation.top1_interval),
        "interval_method": evaluation.describe_interval(),
        "mean_class": evaluation.mean_class,
        "ece": evaluation.calibration.ece,
        "num_videos": evaluation.num_videos,
        "baselines": trained.baselines.to_dict(),
        "strength": trained.strength,
    }


def main() -> None:
    """Measure each data set and level, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", required=True)
    parser.add_argument("--utd27", type=Path)
    parser.add_argument("--fight128", type=Path)
    parser.add_argument("--depth", type=int, nargs="+", default=[4, 12], help="blocks of the ViT to use")
    parser.add_argument("--limit", type=int, default=0, help="use every n-th video only, to try the script")
    options = parser.parse_args()
    sets = {name: path for name in CLIPS if (path := getattr(options, name)) is not None}
    if not sets:
        parser.error("give --utd27 or --fight128")
    results = {
        name: {
            f"{depth} blocks, {level}": measure(
                path, predictor_of(options.weights, depth=depth, name=name), level=level, limit=options.limit
            )
            for depth in options.depth
            for level in HEADS
        }
        for name, path in sets.items()
    }
    about: dict[str, Any] = {"weights": Path(options.weights).name, "sizes": SIZES}
    about |= {"machine": describe_machine(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    print(json.dumps({"date": time.strftime("%Y-%m"), **about, "results": results}))


if __name__ == "__main__":
    main()
