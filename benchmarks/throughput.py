"""Videos a second of `predict`, `evaluate` and `embed`, compared with a loop that takes one video after the other.

    python benchmarks/throughput.py --data DATA/videos --model MODEL --videos 200 --rounds 5
    python benchmarks/throughput.py --videos 20 --rounds 3

Without `--data`, 720p videos of 10 s are made; without `--model`, the model is a tiny one of 8 frames of 32 x 32 pixels
with random weights. Each round runs the loop and the three others in turns, in one process with the same predictor,
after one round that does not count. `ratio` is the median over rounds of the loop's time divided by that of the other.
`cores_busy` is processor time, decoding processes included, divided by time and cores. `waiting` is the share of the
time in which the model waited for videos: from one half on, decoding limits. The processes that `evaluate` decodes in
are started in the measured time. Prints JSON.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from machine import describe_machine
from synthetic_videos import SyntheticVideo, write_synthetic_video
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.manifest.video_search import find_videos_below
from timesformer.evaluation.evaluate import evaluate
from timesformer.inference.embed import embed_read
from timesformer.inference.onnx_model import open_model
from timesformer.inference.predictor import Predictor
from timesformer.inference.throughput import Meter
from timesformer.model.timesformer import TimeSformer
from timesformer.processes import num_cores

NUM_MADE = 20
_GOP = 250
"""x264's default."""
_MADE = SyntheticVideo()
_DISTINCT = 2
"""Made videos that differ; the others are copies."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of videos (default: made ones of 720p)")
    parser.add_argument("--model", type=Path, help="model (default: a tiny one with random weights)")
    parser.add_argument("--videos", type=int, default=NUM_MADE, help="number of videos, at most those in the folder")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each")
    parser.add_argument("--batch-size", type=int, default=8, help="views per forward pass")
    parser.add_argument("--precision", default="fp32", help="fp32, bf16 or fp16")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(Path(folder), **vars(arguments)), indent=2))


def run(
    folder: Path,
    *,
    data: Path | None,
    model: Path | None,
    videos: int,
    rounds: int,
    batch_size: int = 8,
    precision: Any = "fp32",
    made: SyntheticVideo = _MADE,
) -> dict[str, Any]:
    """Measure all ways in turns.

    Args:
        folder: Existing folder for made videos.
        data: Folder of videos; None makes some.
        model: A model; None makes one.
        videos: Number of videos.
        rounds: Measurements of each.
        batch_size: Views per forward pass.
        precision: Floating-point type of the model.
        made: The videos to make.
    """
    found = make_videos(folder, made, count=videos) if data is None else sorted(find_videos_below(data).videos)
    files = list(islice(found, videos))
    classifier = _tiny_model() if model is None else open_model(model)
    predictor = Predictor(classifier, batch_size=batch_size, precision=precision)
    manifest = Manifest(tuple(Sample(file, 0) for file in files), classifier.info.labels or _names(classifier))
    ways: dict[str, Callable[[Meter], object]] = {
        "loop": lambda meter: [predictor(file) for file in files],
        "predict": lambda meter: list(predictor.each(files, meter=meter)),
        "evaluate": lambda meter: evaluate(
            classifier, manifest, batch_size=batch_size, precision=precision, meter=meter
        ),
        "embed": lambda meter: list(embed_read(predictor, meter.watch(predictor.reading(files)))),
    }
    measured = [{name: measure(way) for name, way in ways.items()} for _ in range(rounds + 1)][1:]
    return {
        "videos": len(files),
        "model": describe_model(classifier),
        "batch_size": batch_size,
        "precision": precision,
        "rounds": rounds,
        "ways": {name: summarize([each[name] for each in measured], [each["loop"] for each in measured], len(files))
                 for name in ways},
        "cores": num_cores(),
        "threads": torch.get_num_threads(),
        "machine": describe_machine() | {"torch": torch.__version__},
    }  # fmt: skip


def make_videos(folder: Path, video: SyntheticVideo, *, count: int) -> list[Path]:
    """Make videos, of which few differ: drawing one takes seconds, and a copy decodes as slowly."""
    paths = [folder / f"{number:03d}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        if number < _DISTINCT:
            changed = SyntheticVideo(num_frames=video.num_frames, fps=video.fps, height=video.height,
                                     width=video.width, seed=number)  # fmt: skip
            write_synthetic_video(changed, {_GOP: path})
        else:
            path.write_bytes(paths[number % _DISTINCT].read_bytes())
    return paths


def measure(way: Callable[[Meter], object]) -> tuple[float, float, float]:
    """Seconds, seconds of processor time, and seconds that the model waited, of one run."""
    meter, busy, start = Meter(), _processor_s(), time.perf_counter()
    way(meter)
    return time.perf_counter() - start, _processor_s() - busy, meter.waited_s


def summarize(
    times: Sequence[tuple[float, float, float]], loop: Sequence[tuple[float, float, float]], count: int
) -> dict[str, Any]:
    """Medians over rounds, and the least and largest ratio to the loop of the same round."""
    ratios = [before[0] / after[0] for before, after in zip(loop, times, strict=True)]
    return {
        "videos_per_s": round(count / statistics.median(each[0] for each in times), 2),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "cores_busy": round(statistics.median(busy / seconds / num_cores() for seconds, busy, _ in times), 2),
        "waiting": round(statistics.median(waited / seconds for seconds, _, waited in times), 2),
    }


def describe_model(model: Any) -> str:
    """Sizes of a model, for people."""
    config = model.config
    height, width = config.image_size
    return f"{config.embed_dim} wide, {config.depth} blocks, {config.num_frames} frames of {height} x {width}"


def _processor_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _tiny_model() -> TimeSformer:
    torch.manual_seed(0)
    config = ModelConfig(
        num_frames=8,
        image_size=(32, 32),
        patch_size=8,
        embed_dim=96,
        depth=3,
        num_heads=4,
        num_classes=8,
        drop_path=0.0,
    )
    clip = ClipConfig(sampling="uniform", num_crops=1)
    return TimeSformer(config, info=ModelInfo(clip=clip, labels=tuple("abcdefgh")))


def _names(model: Any) -> tuple[str, ...]:
    return tuple(model.info.label(index) for index in range(model.config.num_classes))


if __name__ == "__main__":
    main()
