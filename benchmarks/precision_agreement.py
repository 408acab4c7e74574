"""How well a model in bf16 agrees with itself in fp32, on labeled videos, and how long both take.

    python benchmarks/precision_agreement.py --pair runs/demo runs/demo/data/val --pair runs/utd27 utd27/val.csv

Both precisions get the same views, which are read once; batches alternate between the two, and only the model is timed.
Prints JSON, and writes a Markdown table with --table FILE.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from machine import describe_machine
from timesformer.data.clips.dataset import EvalViews
from timesformer.data.manifest.manifest import Manifest
from timesformer.device import processor
from timesformer.evaluation.evaluate import open_both
from timesformer.evaluation.metrics import wilson_interval
from timesformer.inference.fusion import fuse
from timesformer.inference.onnx_model import Classifier
from timesformer.inference.predictor import Predictor

PRECISIONS = ("fp32", "bf16")


def measure(model: str, data: str, *, device: str, batch_size: int, limit: int | None) -> dict[str, Any]:
    """Accuracy, agreement and time of a model on labeled videos."""
    loaded, manifest = open_both(model, data)
    manifest = evenly(manifest, limit)
    predictors = [Predictor(loaded, device=device, precision=each, batch_size=batch_size) for each in PRECISIONS]
    probabilities, seconds = compute(predictors, read(loaded, manifest), videos_per_batch=batch_size)
    found = compare(probabilities, [sample.label for sample in manifest.samples])
    for precision, each in zip(PRECISIONS, seconds, strict=True):
        found[precision]["seconds"] = round(each, 3)
    return {"model": Path(model).name, "data": str(Path(*Path(data).parts[-2:])), **found}


def evenly(manifest: Manifest, limit: int | None) -> Manifest:
    """Some of the videos, evenly spread, or all."""
    count = len(manifest.samples)
    chosen = np.linspace(0, count - 1, min(limit or count, count)).round().astype(int)
    return Manifest(tuple(manifest.samples[index] for index in chosen), manifest.class_names)


def read(model: Classifier, manifest: Manifest) -> Iterator[Tensor]:
    """The views of each video."""
    views = EvalViews(manifest, model=model.config, clip=model.info.clip)
    return (views[index][0] for index in range(len(manifest.samples)))


def compute(
    predictors: Sequence[Predictor], videos: Iterator[Tensor], *, videos_per_batch: int
) -> tuple[list[np.ndarray], list[float]]:
    """Probabilities `[videos, k]` by each predictor, and the seconds of its model, without those of a first batch."""
    rows: list[list[np.ndarray]] = [[] for _ in predictors]
    seconds = [0.0] * len(predictors)
    is_warm = False
    while group := [*islice(videos, videos_per_batch)]:
        views = torch.cat(group)
        for number, predictor in enumerate(predictors):
            if not is_warm:
                predictor.logits(views)
            start = time.perf_counter()
            logits = predictor.logits(views)
            seconds[number] += time.perf_counter() - start
            fusion = predictor.model.info.clip.fusion
            rows[number] += [fuse(each, fusion).numpy() for each in logits.split([len(video) for video in group])]
        is_warm = True
    return [np.stack(each) for each in rows], seconds


def compare(probabilities: Sequence[np.ndarray], labels: Sequence[int]) -> dict[str, Any]:
    """Accuracy of both, agreement of their first classes, and differences of their probabilities."""
    first, second = probabilities
    tops, truth = [each.argmax(axis=1) for each in probabilities], np.array(labels)
    right = [top == truth for top in tops]
    difference = np.abs(first.astype(float) - second.astype(float))
    return {
        "videos": len(truth),
        **{name: accuracy(hits) for name, hits in zip(PRECISIONS, right, strict=True)},
        "agreement": fraction(tops[0] == tops[1]),
        "right_in_fp32_only": int((right[0] & ~right[1]).sum()),
        "right_in_bf16_only": int((right[1] & ~right[0]).sum()),
        "largest_difference": float(difference.max()),
        "mean_difference": float(difference.mean()),
    }


def accuracy(hits: np.ndarray) -> dict[str, Any]:
    """Top-1 accuracy with its 95 % interval."""
    return {"top1": float(hits.mean()), "interval": list(wilson_interval(float(hits.mean()), num_trials=len(hits)))}


def fraction(agrees: np.ndarray) -> dict[str, Any]:
    """The fraction of videos with the same first class, with its 95 % interval."""
    value = float(agrees.mean())
    return {
        "fraction": value,
        "videos": int(agrees.sum()),
        "interval": list(wilson_interval(value, num_trials=len(agrees))),
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    machine, lines = result["machine"], []
    bf16 = ", ".join(name for name, has in result["bf16_instructions"].items() if has) or "none"
    lines += [
        "# Agreement of bf16 with fp32",
        "",
        f"`python benchmarks/precision_agreement.py --device {result['device']}` on {machine['cpu']} with "
        f"{machine['cores']} cores ({result['threads']} threads; bf16 instructions: {bf16}), torch {result['torch']}, "
        f"{result['date']}.",
        "",
        "Both precisions get the same views. Intervals are Wilson's, 95 %. Differences are those of probabilities, "
        "over all classes. Times are those of the model for all videos, without reading them.",
        "",
        "| model | data | videos | top-1, fp32 | top-1, bf16 | same top-1 | largest difference | mean difference "
        "| fp32 | bf16 | times as fast |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
        *(_row(pair) for pair in result["pairs"]),
    ]
    return "\n".join(lines) + "\n"


def _row(pair: dict[str, Any]) -> str:
    seconds = [pair[name]["seconds"] for name in PRECISIONS]
    cells = [
        pair["model"],
        f"`{pair['data']}`",
        str(pair["videos"]),
        *(_percent(pair[name]["top1"], pair[name]["interval"]) for name in PRECISIONS),
        f"{pair['agreement']['videos']} of {pair['videos']}",
        f"{pair['largest_difference']:.2g}",
        f"{pair['mean_difference']:.2g}",
        *(f"{each:.2f} s" for each in seconds),
        f"{seconds[0] / seconds[1]:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def _percent(value: float, interval: Sequence[float]) -> str:
    low, high = interval
    return f"{100 * value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs=2, action="append", required=True, metavar=("MODEL", "DATA"))
    parser.add_argument("--device", default="cpu", help="device of the models")
    parser.add_argument("--batch-size", type=int, default=8, help="videos per forward pass")
    parser.add_argument("--limit", type=int, help="videos of each pair, evenly spread; all by default")
    parser.add_argument("--table", type=Path, help="write a Markdown table here")
    options = parser.parse_args()
    settings = {"device": options.device, "batch_size": options.batch_size, "limit": options.limit}
    found = processor()
    result = {
        "bench": "precision_agreement",
        "date": time.strftime("%Y-%m"),
        "machine": describe_machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": options.device,
        "batch_size": options.batch_size,
        "bf16_instructions": {"avx512": found.avx512_bf16, "amx": found.amx_bf16, "arm": found.arm_bf16},
        "pairs": [measure(model, data, **settings) for model, data in options.pair],
    }
    if options.table is not None:
        options.table.write_text(table(result), encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
