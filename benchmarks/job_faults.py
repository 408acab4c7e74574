"""Does a batch job survive? Its driver is killed twice and its workers three times; then every file is counted.

    python benchmarks/job_faults.py --engine local --files 2000

Of the files, 1 % are corrupt, 1 % kill the process that opens them, and one hangs (see `fault_videos.py`). The job runs
twice: undisturbed, and killed at moments drawn from `--seed`, counted in finished files. Then each file must be exactly
once in `rows` or in `quarantine.jsonl`, the rows of both runs equal to the byte, no finished file opened again after a
restart, and no process or temporary file left. `restart_s` is the time of one more start, which finds nothing to do.
Prints JSON; the exit status is 1 if anything is wrong. Linux only.
"""

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet

from fault_videos import OPENED, FaultVideos, write_fault_videos, write_traps
from job_runs import Job, Kill, OpenedFiles, run_disturbed, run_undisturbed
from machine import describe_machine
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.model_folder import save

TIMEOUT_S = 20.0
"""Time limit of a video."""
WORKERS = {"local": ("timesformer.jobs.model_worker",), "ray": ("ray::MapWorker", "timesformer.jobs.model_worker")}
"""Parts of the command lines of the processes that are killed as workers, by engine: workers and what forks them."""


def main() -> int:
    """Run the benchmark, print JSON, and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("local", "ray"), default="local", help="engine of the job")
    parser.add_argument("--files", type=int, default=2000, help="number of files")
    parser.add_argument("--share", type=int, default=0, help="corrupt files, and files that kill (default: 1 %% each)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--seed", type=int, default=0, help="of the order of the files and the moments of the kills")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(
            Path(folder),
            engine=arguments.engine,
            files=arguments.files,
            share=arguments.share,
            workers=arguments.workers,
            seed=arguments.seed,
        )
    print(json.dumps(result | {"machine": describe_machine()}, indent=2))
    return 0 if not any(result["wrong"].values()) else 1


def run(
    folder: Path,
    *,
    engine: str,
    files: int,
    workers: int,
    seed: int,
    share: int = 0,
    hangs: int = 1,
) -> dict[str, Any]:
    """Run both jobs and count.

    Args:
        folder: Existing folder for all files.
        engine: `local` or `ray`.
        files: Number of files.
        workers: Worker processes.
        seed: Of the order of the files and of the moments of the kills.
        share: Number of corrupt files, and of those that kill; 0 takes 1 %.
        hangs: Number of files that hang.
    """
    videos = write_fault_videos(folder / "videos", count=files, share=share, hangs=hangs, seed=seed)
    traps, model = write_traps(folder / "traps"), write_model(folder / "model")
    opened = OpenedFiles(folder / "opened")
    jobs = {}
    for name in ("undisturbed", "disturbed"):
        command = [sys.executable, "-m", "timesformer", "predict", str(folder / "videos"), "--model", str(model),
                   "--job", str(folder / name), "--engine", engine, "--workers", str(workers),
                   "--seconds-per-video", f"{TIMEOUT_S:g}"]  # fmt: skip
        jobs[name] = Job(
            command=command,
            folder=folder / name,
            environment={"PYTHONPATH": python_path(traps), "OMP_NUM_THREADS": "1", OPENED: str(folder / "opened")},
            log=folder / f"{name}.log",
            opened=opened,
        )
    planned = kills(len(videos.bad), seed=seed)
    seconds = run_undisturbed(jobs["undisturbed"])
    disturbance = run_disturbed(
        jobs["disturbed"],
        planned,
        count=lambda: num_quarantined(folder / "disturbed"),
        finished=lambda: finished(folder / "disturbed"),
        is_worker=lambda process: any(part in process.command for part in WORKERS[engine]),
    )
    wrong = audit(videos, jobs["undisturbed"], jobs["disturbed"])
    opened.names()
    restart_s = run_undisturbed(jobs["disturbed"])
    read_again = disturbance.read_again | opened.names()
    return {
        "engine": engine,
        "files": files,
        "bad": {"corrupt": len(videos.corrupt), "kills": len(videos.kills), "hangs": len(videos.hangs)},
        "workers": workers,
        "seed": seed,
        "undisturbed_s": round(seconds, 1),
        "kills": disturbance.kills,
        "restart_s": round(restart_s, 1),
        "wrong": wrong
        | {
            "finished, and read again": sorted(read_again),
            "not killed": [kill.what for kill in planned[len(disturbance.kills) :]],
        },
    }


def write_model(folder: Path) -> Path:
    """A model folder with random weights for two frames of 16 x 24 pixels."""
    config = ModelConfig(
        num_frames=2, image_size=(16, 24), patch_size=8, embed_dim=12, depth=2, num_heads=3, num_classes=5
    )
    return save(TimeSformer(config, info=ModelInfo(clip=ClipConfig(sampling="uniform", num_crops=1))), folder)


def kills(num_bad: int, *, seed: int) -> list[Kill]:
    """The kills: the driver twice, a worker three times, each up to two seconds after a number of files in quarantine.

    The numbers differ, so that the job gets on between two kills: it ends with an error if a worker cannot be started
    twice in succession.
    """
    drawn = random.Random(seed)
    what = ["driver"] * 2 + ["worker"] * 3
    drawn.shuffle(what)
    moments = sorted(drawn.sample(range(num_bad - 1), k=len(what)))
    return [
        Kill(what=each, at=at, delay_s=2 * drawn.random(), choice=drawn.random())
        for at, each in zip(moments, what, strict=True)
    ]


def num_quarantined(job: Path) -> int:
    """Number of files in quarantine, which are written at once, while rows wait for a part to be full."""
    return sum(path.read_bytes().count(b"\n") for path in job.glob("quarantine*.jsonl"))


def finished(job: Path) -> set[str]:
    """Names of the files with a row on the disk, or in quarantine."""
    lines = [line for path in job.glob("quarantine*.jsonl") for line in path.read_bytes().split(b"\n")[:-1]]
    return {Path(path).name for path in [*_row_paths(job), *(json.loads(line)["path"] for line in lines)]}


def audit(videos: FaultVideos, undisturbed: Job, disturbed: Job) -> dict[str, Sequence[str]]:
    """What is wrong with the folder of the disturbed job: empty lists if nothing is."""
    rows, quarantine = _row_paths(disturbed.folder), _quarantine(disturbed.folder)
    counts = Counter([*rows, *(entry["path"] for entry in quarantine)])
    names = {str(path) for path in videos.order}
    bad = set(map(str, videos.bad))
    signals = {str(path): {"SIGSEGV"} for path in videos.kills} | {str(path): {"", "SIGKILL"} for path in videos.hangs}
    return {
        "missing": sorted(names - set(counts)),
        "more than once": sorted(path for path, count in counts.items() if count > 1),
        "bad, with a row": sorted(bad & set(rows)),
        "good, in quarantine": sorted(entry["path"] for entry in quarantine if entry["path"] not in bad),
        "without a reason": [entry["path"] for entry in quarantine if not entry["reason"]],
        "with another signal": [
            f"{entry['path']}: {entry['signal']!r}"
            for entry in quarantine
            if entry["signal"] not in signals.get(entry["path"], {""})
        ],
        "rows that differ": differing_files(undisturbed.folder, disturbed.folder),
        "files that are left over": sorted(_names(disturbed.folder) ^ _names(undisturbed.folder)),
        "processes that are left over": [each.command for job in (undisturbed, disturbed) for each in job.processes()],
    }


def _row_paths(job: Path) -> list[str]:
    files = [*sorted((job / "rows").glob("*.parquet")), *sorted((job / "parts").glob("*.parquet"))]
    return [path for file in files for path in pyarrow.parquet.read_table(file, columns=["path"])["path"].to_pylist()]


def _quarantine(job: Path) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in (job / "quarantine.jsonl").read_text().splitlines()]


def differing_files(one: Path, other: Path) -> list[str]:
    """Names of the files of rows that are not equal to the byte."""
    names = {path.name for job in (one, other) for path in (job / "rows").iterdir()}
    return sorted(name for name in names if _content(one / "rows" / name) != _content(other / "rows" / name))


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _names(job: Path) -> set[str]:
    return {str(path.relative_to(job)) for path in job.rglob("*")}


def python_path(traps: Path) -> str:
    """`PYTHONPATH` of a job: the traps first."""
    import timesformer

    return f"{traps}:{Path(timesformer.__file__).parent.parent}"


if __name__ == "__main__":
    sys.exit(main())
