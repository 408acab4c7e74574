"""The classes that `transformers.pipeline` gives for what `push --also transformers` writes, against `predict`.

    python benchmarks/hub_pipeline.py runs/demo runs/demo/data/val --num-videos 10

Each video is first cut to as many frames as the model reads, spread over it, so that both read the same frames: the
pipeline chooses frames by itself. Prints JSON.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import timesformer as tsf
from machine import describe_machine
from timesformer.config.overrides import ModelOverrides
from timesformer.data.manifest.video_search import find_videos_below
from timesformer.data.video.writer import with_even_sides, write_mp4
from timesformer.evaluation.protocol import change_views
from timesformer.publishing.card import CardFacts
from timesformer.publishing.folder import write_published


def cut(video: Path, target: Path, *, num_frames: int) -> Path:
    """Write `num_frames` frames of a video, at the centers of equal parts of it, as a lossless video."""
    total = tsf.probe(video).num_frames
    indices = ((np.arange(num_frames) + 0.5) * total / num_frames).astype(int)
    frames = np.stack([with_even_sides(frame) for frame in tsf.read_frames(video, indices.tolist())])
    write_mp4(target, frames, rate=Fraction(25), quality={"qp": "0"})
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("videos", type=Path)
    parser.add_argument("--num-videos", type=int, default=10)
    parser.add_argument("--num-classes", type=int, help="a new, random head, for weights of another task")
    arguments = parser.parse_args()
    changes: ModelOverrides = {} if arguments.num_classes is None else {"num_classes": arguments.num_classes}
    model = tsf.load(arguments.model, **changes)
    if arguments.num_classes is not None:  # a new head starts near zero, where all classes are equally probable
        torch.nn.init.normal_(model.head.weight, std=0.2, generator=torch.Generator().manual_seed(0))
    clip = change_views(model.info.clip, {"sampling": "uniform", "num_crops": 1})
    model.info = replace(model.info, clip=clip, labels=tuple(map(model.info.label, range(model.config.num_classes))))
    files = sorted(find_videos_below(arguments.videos).videos)
    files = [files[index] for index in np.linspace(0, len(files) - 1, arguments.num_videos).astype(int)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        facts = CardFacts(name="me/model", license="unknown", for_transformers=True)
        published = write_published(model, folder / "published", facts=facts)
        clips = [cut(file, folder / f"{i}.mp4", num_frames=model.config.num_frames) for i, file in enumerate(files)]
        theirs = transformers.pipeline("video-classification", model=str(published))(list(map(str, clips)), top_k=5)
        ours = tsf.Predictor(model, device="cpu")(clips, top_k=5)
    rows: list[dict[str, Any]] = [
        {
            "video": file.name,
            "equal_top5": [each["label"] for each in found] == list(wanted.labels),
            "difference": max(abs(a["score"] - b) for a, b in zip(found, wanted.probabilities, strict=True)),
            "top5": list(wanted.labels),
        }
        for file, found, wanted in zip(files, theirs, ours, strict=True)
    ]
    result = {
        "model": arguments.model,
        "equal_top5": sum(row["equal_top5"] for row in rows),
        "num_videos": len(rows),
        "largest_difference": max(row["difference"] for row in rows),
        "videos": rows,
        "machine": {**describe_machine(), "torch": torch.__version__, "transformers": transformers.__version__},
    }
    json.dump(result, sys.stdout, indent=2)


if __name__ == "__main__":
    main()
