"""Speed of `timesformer check`, against a bare PyAV loop that decodes all frames and keeps none.

Both read the same files with the same number of processes; the runs alternate, and the best and the median of each are
printed. The check starts its processes, hashes, fingerprints, compares and writes its cache; the bare loop only
decodes, in processes that already run.

    python benchmarks/check_speed.py --clips 2000 --repeats 3
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import av

from machine import describe_machine
from timesformer.data.check.cache import CACHE_FILE
from timesformer.data.check.data_check import check_dataset
from timesformer.data.synthetic.dataset import write_motion_dataset
from timesformer.data.synthetic.motion import MOTION_CLASSES


def write_class(folder: Path, motion: str, *, clips_per_class: int, num_frames: int, size: int) -> None:
    """Write the clips of one class, all different."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        drawn = write_motion_dataset(
            Path(temporary) / "set",
            clips_per_class=clips_per_class,
            val_clips_per_class=0,
            classes=[motion],
            num_frames=num_frames,
            size=size,
        )
        (drawn / "train" / motion).rename(folder / motion)


def decode(paths: list[Path]) -> int:
    """Decode all frames of the files on one thread and return their number."""
    count = 0
    for path in paths:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_count, stream.thread_type = 1, "NONE"
            count += sum(1 for _ in container.decode(stream))
    return count


def bare(paths: list[Path], pool: ProcessPoolExecutor) -> int:
    """Decode all files in processes that already run."""
    return sum(pool.map(decode, [paths[start : start + 8] for start in range(0, len(paths), 8)]))


def check(folder: Path, num_workers: int) -> int:
    """Check the data set without its cache and return the number of frames."""
    (folder / CACHE_FILE).unlink(missing_ok=True)
    result = check_dataset(folder, num_workers=num_workers)
    assert not result.findings, result.counts
    return sum(found.num_frames for found in result.readable)


def seconds(action: Callable[[], int], *, expected: int) -> float:
    """Time an action that must return the expected number of frames."""
    start = time.perf_counter()
    count = action()
    duration_s = time.perf_counter() - start
    assert count == expected, f"{count} frames instead of {expected}"
    return duration_s


def alternate(folder: Path, *, num_frames: int, num_workers: int, repeats: int) -> dict[str, object]:
    """Alternate between the bare loop and the check, then check once more from the cache."""
    paths = sorted(folder.rglob("*.mp4"))
    expected = len(paths) * num_frames
    times: dict[str, list[float]] = {"bare": [], "check": []}
    with ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        bare(paths, pool)  # starts the processes and caches the files
        for _ in range(repeats):
            times["bare"].append(seconds(lambda: bare(paths, pool), expected=expected))
            times["check"].append(seconds(lambda: check(folder, num_workers), expected=expected))
    again_s = seconds(lambda: sum(f.num_frames for f in check_dataset(folder).readable), expected=expected)
    clips_per_s = {
        name: {"best": len(paths) / min(taken), "median": len(paths) / statistics.median(taken)}
        for name, taken in times.items()
    }
    return {
        "clips": len(paths),
        "frames_a_clip": num_frames,
        "processes": num_workers,
        "clips_per_s": clips_per_s,
        "check_to_bare": clips_per_s["check"]["median"] / clips_per_s["bare"]["median"],
        "check_from_cache_s": again_s,
        "seconds": times,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=2000, help="rounded up to whole classes")
    parser.add_argument("--frames", type=int, default=60, help="frames per clip")
    parser.add_argument("--size", type=int, default=112, help="height and width of a clip, pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        clips = Path(temporary) / "clips"
        clips.mkdir()
        per_class = -(-options.clips // len(MOTION_CLASSES))
        write_one = partial(write_class, clips, clips_per_class=per_class, num_frames=options.frames, size=options.size)
        with ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(write_one, MOTION_CLASSES))
        measured = alternate(clips, num_frames=options.frames, num_workers=options.processes, repeats=options.repeats)
    print(
        json.dumps(
            {"date": time.strftime("%Y-%m"), "machine": describe_machine(), "size": options.size, **measured}, indent=1
        )
    )


if __name__ == "__main__":
    main()
