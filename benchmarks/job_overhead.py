"""What a batch job costs compared with the plain loop over the same files, and the memory of its driver.

    python benchmarks/job_overhead.py --videos 1280 --rounds 5
    python benchmarks/job_overhead.py --rows 20000

The first form classifies the same videos with `Predictor.each` in this process and with `run_job` and one worker, in
turns. Times are per file, without starts: of the loop from its first result to its last, of the job from its first
chunk to its last. CPU times are of the process and its children, whole. The second form runs a job of a task that
computes nothing and measures the memory of its driver. Prints JSON.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from machine import describe_machine
from nothing_task import NothingTask
from timesformer.config.info import ModelInfo
from timesformer.config.presets import CLIP_PRESETS, PRESETS
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import MOTION_CLASSES, render_clip
from timesformer.inference.predictor import Predictor
from timesformer.jobs.engine import Engine
from timesformer.jobs.engine_local import run_local
from timesformer.jobs.item import Item
from timesformer.jobs.predict import predict_task
from timesformer.jobs.progress import Progress
from timesformer.jobs.run import run_job
from timesformer.jobs.workers import Workers
from timesformer.model.timesformer import TimeSformer
from timesformer.processes import num_cores
from timesformer.weights.model_folder import save

_VIDEOS = {"tiny": (8, (32, 32)), "small": (48, (160, 212))}
"""Number of frames, and height and width, of the videos of each model: those of the demo, and 3 s at 16 frames/s."""
_NUM_SOURCES = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=list(_VIDEOS), choices=list(_VIDEOS))
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="engine of the job")
    parser.add_argument("--rows", type=int, default=0, help="measure the memory of the driver over so many rows")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.rows:
            measured = measure_memory(Path(folder), num_rows=arguments.rows, engine=_engine(arguments.engine))
        else:
            measured = {
                name: compare(
                    name,
                    Path(folder) / name,
                    num_videos=arguments.videos,
                    rounds=arguments.rounds,
                    engine=_engine(arguments.engine),
                )
                for name in arguments.models
            }
    print(json.dumps({"machine": describe_machine(), "load": os.getloadavg(), **measured}, indent=1))


def _engine(name: str) -> Engine:
    if name == "local":
        return run_local
    from timesformer.jobs.engine_ray import ray_engine

    return ray_engine("local")


def compare(name: str, folder: Path, *, num_videos: int, rounds: int, engine: Engine) -> dict[str, Any]:
    """Times per file of the loop and of the job, in milliseconds."""
    folder.mkdir()
    videos = write_videos(folder / "videos", shape=_VIDEOS[name], count=num_videos)
    torch.manual_seed(0)
    info = ModelInfo(clip=CLIP_PRESETS[name], labels=(), license="MIT", source="benchmark")
    model = save(TimeSformer(PRESETS[name], info=info), folder / "model")
    predictor = Predictor(model)
    list(predictor.each(videos[:64]))
    loops, jobs = [], []
    for number in range(rounds):
        loops.append(time_loop(predictor, videos))
        jobs.append(time_job(str(model), videos, folder / f"job-{number}", engine=engine))
    result = {"loop": _spread(loops), "job": _spread(jobs)}
    for clock in ("wall_ms", "cpu_ms"):
        ratios = [job[clock] / loop[clock] for loop, job in zip(loops, jobs, strict=True)]
        result[f"overhead_{clock.removesuffix('_ms')}"] = round(statistics.median(ratios) - 1, 4)
    return {"videos": num_videos, "rounds": rounds, "threads": num_cores(), **result}


def time_loop(predictor: Predictor, videos: Sequence[Path]) -> dict[str, float]:
    """Time per file of the plain loop."""
    cpu, times = _cpu_s(), []
    for _ in predictor.each(videos):
        times.append(time.perf_counter())
    return {
        "wall_ms": 1000 * (times[-1] - times[0]) / (len(times) - 1),
        "cpu_ms": 1000 * (_cpu_s() - cpu) / len(videos),
    }


def time_job(model: str, videos: Sequence[Path], folder: Path, *, engine: Engine) -> dict[str, float]:
    """Time per file of a job with one worker; its CPU time without that of a job of one chunk."""
    cost_of_start = _job(model, videos[:32], folder.with_name(f"{folder.name}-start"), engine=engine)
    whole = _job(model, videos, folder, engine=engine)
    num_files = len(videos) - 32
    return {
        "wall_ms": 1000 * whole["steady_s"] / num_files,
        "cpu_ms": 1000 * (whole["cpu_s"] - cost_of_start["cpu_s"]) / num_files,
        "start_s": whole["start_s"],
        "end_s": whole["end_s"],
    }


def _job(model: str, videos: Sequence[Path], folder: Path, *, engine: Engine) -> dict[str, float]:
    times: list[float] = []

    def on_progress(now: Progress) -> None:
        times.append(time.perf_counter())

    start, cpu = time.perf_counter(), _cpu_s()
    workers = Workers(count=1, threads=num_cores())
    task = predict_task(model, num_decoders=workers.decoders)
    items = (Item(path=str(path)) for path in videos)
    run_job(task, items, folder, engine=engine, workers=workers, on_progress=on_progress)
    return {
        "steady_s": times[-1] - times[1],
        "start_s": times[1] - start,
        "end_s": time.perf_counter() - times[-1],
        "cpu_s": _cpu_s() - cpu,
    }


def measure_memory(folder: Path, *, num_rows: int, engine: Engine) -> dict[str, Any]:
    """Resident memory of the driver in MiB at ten moments of a job."""
    samples: list[tuple[int, float]] = []

    def on_progress(now: Progress) -> None:
        if now.done * 10 // num_rows >= len(samples):
            samples.append((now.done, _resident_mib()))

    items = (Item(path=f"/videos/{number // 1000:05d}/{number:08d}.mp4") for number in range(num_rows))
    start = time.perf_counter()
    summary = run_job(NothingTask(), items, folder / "job", engine=engine, workers=Workers(), on_progress=on_progress)
    return {
        "rows": summary.num_rows,
        "rows_per_s": round(num_rows / (time.perf_counter() - start)),
        "resident_mib": [{"done": done, "mib": round(mib, 1)} for done, mib in samples],
        "after_compaction_mib": round(_resident_mib(), 1),
    }


def write_videos(folder: Path, *, shape: tuple[int, tuple[int, int]], count: int) -> list[Path]:
    """Different videos of moving shapes, and copies of them."""
    folder.mkdir()
    paths, (num_frames, size) = [], shape
    for number in range(count):
        path = folder / f"{number:06d}.mp4"
        if number < _NUM_SOURCES:
            motion = MOTION_CLASSES[number % len(MOTION_CLASSES)]
            write_clip(path, render_clip(motion, seed=number, num_frames=num_frames, size=size, background="texture"))
        else:
            shutil.copyfile(paths[number % _NUM_SOURCES], path)
        paths.append(path)
    return paths


def _spread(rounds: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    return {
        key: [round(value, 3) for value in (min(values), statistics.median(values), max(values))]
        for key in rounds[0]
        if (values := [each[key] for each in rounds])
    }


def _cpu_s() -> float:
    """CPU time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
