"""Nearest neighbors in the embeddings of a model on UTD-27, one subject left out at a time, against head and pixels.

    timesformer embed --data utd27.csv --model RUN --output DIR    # `path,label`, or as for `train`
    python benchmarks/knn_utd27.py DIR --trained-on 1,3,5,7 --map utd27.html

A clip is classified by its k nearest clips of all other subjects. The head is what the model predicts for the same
clips. Pixels are 12 gray frames of 20 x 20, evenly spaced, without their mean over the clip. A model has seen the
subjects it was trained on: its embeddings of them are fitted, and the head's accuracy on them is that of training. So
the other subjects are reported apart; only these say something about new people. Intervals are Wilson's over clips;
clips of one subject are alike, so that the true ones are wider. File names contain the subject as `_s1_`. Prints JSON.
"""

import argparse
import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64
from PIL import Image

from machine import describe_machine
from timesformer.data.video.reader import open_reader
from timesformer.evaluation.metrics import wilson_interval
from timesformer.inference.read_ahead import read_ahead
from timesformer.retrieval.index import Index
from timesformer.retrieval.knn import nearest_classes
from timesformer.retrieval.map import make_map
from timesformer.retrieval.map_page import write_map
from timesformer.retrieval.rows import Rows

NUM_FRAMES, SIDE = 12, 20


def main() -> None:
    """Classify, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embeddings", type=Path)
    parser.add_argument("--trained-on", default="1,3,5,7", help="subjects that the model has seen")
    parser.add_argument("--k", type=int, nargs="+", default=[1, 5, 10])
    parser.add_argument("--map", type=Path, default=None, help="also write the map, to this page")
    arguments = parser.parse_args()
    index = Index.open(arguments.embeddings, columns=None)
    names = index.catalog.values("true_label")
    classes, labels = np.unique(np.array(names), return_inverse=True)
    subjects = np.array([_subject(path) for path in index.catalog.values("path")])
    correct = {"head": np.array(index.catalog.values("label")) == np.array(names)}
    pixels = Rows(np.stack([*read_ahead(read_pixels, index.catalog.values("path"))]))
    for k in arguments.k:
        for name, rows in (("kNN on embeddings", index.rows), ("kNN on pixels", pixels)):
            found = nearest_classes(rows, labels, sources=[subjects], k=k, num_classes=len(classes))
            correct[f"{name}, k={k}"] = found == labels
    if arguments.map is not None:
        write_map(make_map(index), arguments.map, title=f"UTD-27: {arguments.embeddings.name}", overwrite=True)
    seen = np.isin(subjects, [int(each) for each in arguments.trained_on.split(",")])
    print(json.dumps(report(correct, subjects=subjects, seen=seen) | {
        "embeddings": arguments.embeddings.name,
        "trained_on": arguments.trained_on,
        "classes": len(classes),
        "date": time.strftime("%Y-%m"),
        "machine": describe_machine(),
    }, indent=1))  # fmt: skip


def read_pixels(path: str) -> Float32[np.ndarray, " d"]:
    """Small gray frames of a video, without their mean over the clip."""
    with open_reader(path) as reader:
        frames = reader.read(np.linspace(0, reader.info.num_frames - 1, NUM_FRAMES).round().astype(int).tolist())
    small = [np.asarray(Image.fromarray(frame).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))
             for frame in frames]  # fmt: skip
    gray = np.stack(small).astype(np.float32)
    return (gray - gray.mean()).ravel()


def report(
    correct: Mapping[str, Bool[np.ndarray, " n"]],
    *,
    subjects: Int64[np.ndarray, " n"],
    seen: Bool[np.ndarray, " n"],
) -> dict[str, Any]:
    """Accuracy of each method on new subjects, on those of the training, and on each."""
    parts = {"new subjects": ~seen, "subjects of the training": seen}
    parts |= {f"subject {subject}": subjects == subject for subject in np.unique(subjects).tolist()}
    return {
        "clips": {name: int(part.sum()) for name, part in parts.items()},
        "accuracy": {
            method: {name: _accuracy(is_correct[part]) for name, part in parts.items() if part.any()}
            for method, is_correct in correct.items()
        },
    }


def _accuracy(correct: Sequence[bool] | Bool[np.ndarray, " n"]) -> dict[str, float]:
    accuracy = float(np.mean(correct))
    low, high = wilson_interval(accuracy, num_trials=len(correct))
    return {"accuracy": round(accuracy, 4), "low": round(low, 4), "high": round(high, 4)}


def _subject(path: str) -> int:
    found = re.search(r"_s(\d+)_", Path(path).name)
    return int(found[1]) if found else -1


if __name__ == "__main__":
    main()
