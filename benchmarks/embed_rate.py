"""The rate of `embed` compared with the bare model over the same views.

    python benchmarks/embed_rate.py --data DATA/videos --model MODEL --videos 128 --rounds 5
    python benchmarks/embed_rate.py --videos 128 --rounds 5

Without `--data`, videos are made; without `--model`, the model is a ViT-S/16 of 8 frames with random weights. In turns:
the model in a plain loop over views that lie decoded in memory, and the job with one worker over the files, which it
reads, decodes, hashes and writes as Parquet. Both use all cores. Times are without starts: of the job from its first
chunk to its last. `of_model` is the rate of the job divided by that of the model. Without a GPU, decoding takes cores
from the model: `decode_ms` is its CPU time per video, and `of_model_and_decoding` compares the job with the rate that
the cores allow for both. Prints JSON.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from job_overhead import write_videos
from machine import describe_machine
from timesformer.config.compute import ComputeOptions
from timesformer.config.info import ModelInfo
from timesformer.config.presets import CLIP_PRESETS, PRESETS
from timesformer.data.clips.dataset import read_pixel_views
from timesformer.data.manifest.video_search import find_videos_below
from timesformer.data.video.file_stat import video_sha256
from timesformer.data.video.reader import open_reader
from timesformer.inference.predictor import Predictor
from timesformer.jobs.embed import CHUNK_SIZE, embed_task
from timesformer.jobs.item import Item
from timesformer.jobs.progress import Progress
from timesformer.jobs.run import run_job
from timesformer.jobs.workers import Workers
from timesformer.model.timesformer import TimeSformer
from timesformer.processes import num_cores
from timesformer.weights.model_folder import save


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of videos (default: made ones)")
    parser.add_argument("--model", type=Path, help="model (default: ViT-S/16 with random weights)")
    parser.add_argument("--videos", type=int, default=128, help="number of videos, repeated if there are fewer")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each")
    parser.add_argument("--device", default="auto", help="device of both")
    parser.add_argument("--batch-size", type=int, default=8, help="views per forward pass of both")
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
    device: str = "auto",
    batch_size: int = 8,
) -> dict[str, Any]:
    """Measure both in turns.

    Args:
        folder: Existing folder for all files.
        data: Folder of videos; None makes some.
        model: A model; None makes one.
        videos: Number of videos, at least three chunks.
        rounds: Measurements of each.
        device: Device of both.
        batch_size: Views per forward pass of both.
    """
    files = _links(folder / "videos", _sources(folder, data, count=videos), count=videos)
    source = str(model or _vit_s(folder / "model"))
    predictor = Predictor(source, device=device, batch_size=batch_size)
    views, decode_s = decoded(predictor, files)
    threads = num_cores()
    torch.set_num_threads(threads)
    times: dict[str, list[float]] = {"model": [], "job": []}
    for number in range(rounds):
        times["model"].append(time_model(predictor, views) / len(files))
        times["job"].append(
            time_job(source, files, folder / f"job{number}", device=device, batch_size=batch_size, threads=threads)
        )
    model_s, job_s = (statistics.median(times[name]) for name in ("model", "job"))
    return {
        "videos": len(files),
        "views": len(views),
        "device": str(predictor.device),
        "ms_per_video": {name: _spread([1000 * each for each in values]) for name, values in times.items()},
        "decode_ms": round(1000 * decode_s, 2),
        "of_model": round(model_s / job_s, 3),
        "of_model_and_decoding": round((model_s + decode_s / threads) / job_s, 3),
        "rounds": rounds,
        "threads": threads,
        "machine": describe_machine() | {"torch": torch.__version__},
    }


def decoded(predictor: Predictor, files: Sequence[Path]) -> tuple[UInt8[Tensor, "views 3 t s1 s2"], float]:
    """The views of all videos, and the CPU time in seconds that a video takes to be decoded and hashed."""
    config, clip = predictor.model.config, predictor.model.info.clip
    start = time.process_time()
    views = []
    for path in files:
        views.append(read_pixel_views(open_reader(path), config, clip)[0])
        video_sha256(path)
    return torch.cat(views), (time.process_time() - start) / len(files)


def time_model(predictor: Predictor, views: UInt8[Tensor, "views 3 t s1 s2"]) -> float:
    """Seconds of the model for all views, the time of its first batch left out."""
    predictor.encode(views[: predictor.batch_size])
    start = time.perf_counter()
    predictor.encode(views)
    return time.perf_counter() - start


def time_job(model: str, files: Sequence[Path], folder: Path, *, device: str, batch_size: int, threads: int) -> float:
    """Seconds per video of the job, from its first chunk to its last."""
    times: list[tuple[float, int]] = []

    def on_progress(now: Progress) -> None:
        times.append((time.perf_counter(), now.done))

    workers = Workers(count=1, threads=threads)
    options = ComputeOptions(device=device, batch_size=batch_size)
    task = embed_task(model, folder=folder, options=options, num_decoders=workers.decoders)
    run_job(task, (Item(path=str(path)) for path in files), folder, workers=workers, on_progress=on_progress)
    (start, before), (end, after) = times[1], times[-1]  # the first report comes before any chunk
    if after == before:
        raise ValueError(f"{len(files)} videos are one chunk: pass at least {3 * CHUNK_SIZE}")
    return (end - start) / (after - before)


def _sources(folder: Path, data: Path | None, *, count: int) -> Sequence[Path]:
    if data is not None:
        return sorted(find_videos_below(data).videos)
    return write_videos(folder / "made", shape=(48, (160, 212)), count=min(count, 32))


def _links(folder: Path, sources: Sequence[Path], *, count: int) -> list[Path]:
    """Links to videos with names of their own, the first ones again if there are too few."""
    folder.mkdir()
    links = [folder / f"{number:06d}{source.suffix}" for number, source in enumerate(islice(cycle(sources), count))]
    for link, source in zip(links, cycle(sources), strict=False):
        link.symlink_to(source.resolve())
    return links


def _vit_s(folder: Path) -> Path:
    torch.manual_seed(0)
    clip = replace(CLIP_PRESETS["vit_s"], num_crops=1)
    return save(TimeSformer(PRESETS["vit_s"], info=ModelInfo(clip=clip)), folder)


def _spread(values: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in (min(values), statistics.median(values), max(values))]


if __name__ == "__main__":
    main()
