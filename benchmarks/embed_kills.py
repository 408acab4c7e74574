"""Does `embed` survive? Its driver is killed ten times; then every video must have one row, and no row two.

    python benchmarks/embed_kills.py --data DATA/videos --model MODEL --files 640
    python benchmarks/embed_kills.py --files 640

Without `--data`, videos are made; without `--model`, the model has random weights. A few of the files are corrupt. The
job runs twice: undisturbed, and killed by SIGKILL at moments drawn from `--seed`, counted in rows on the disk. Rows are
written chunk by chunk, not every 1000 rows or 30 s, so that each start leaves some. Then each id must be in the rows
once, every corrupt file with its error, both jobs equal to the byte, no finished video opened again after a kill, and
no process or temporary file left. Prints JSON; the exit status is 1 if anything is wrong. Linux only.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from fault_videos import OPENED, write_fault_videos, write_traps
from import_hooks import import_hook
from job_faults import differing_files, num_quarantined, python_path, write_model
from job_faults import finished as finished_names
from job_runs import Job, Kill, OpenedFiles, run_disturbed, run_undisturbed
from machine import describe_machine
from timesformer.data.manifest.video_search import find_videos_below

_FLUSH = 'module.run_job.__kwdefaults__["flush"] = module.Flush(rows=1)'
"""Runs in the driver: the product has no option for it."""
_CHUNK = 32


def main() -> int:
    """Run the benchmark, print JSON, and give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of videos (default: made ones)")
    parser.add_argument("--model", type=Path, help="model (default: a tiny one with random weights)")
    parser.add_argument("--files", type=int, default=640, help="number of files")
    parser.add_argument("--corrupt", type=int, default=6, help="number of corrupt files among them")
    parser.add_argument("--kills", type=int, default=10, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="of the choice and order of files, and of the kills")
    parser.add_argument("--level", choices=("cls", "frame", "patch"), default="cls", help="what is embedded")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder), **vars(arguments))
    print(json.dumps(result | {"machine": describe_machine()}, indent=2))
    return 0 if not any(result["wrong"].values()) else 1


def run(
    folder: Path,
    *,
    files: int,
    kills: int,
    seed: int,
    corrupt: int = 6,
    data: Path | None = None,
    model: Path | None = None,
    level: str = "cls",
) -> dict[str, Any]:
    """Run both jobs and count.

    Args:
        folder: Existing folder for all files.
        files: Number of files.
        kills: Number of kills.
        seed: Of the choice and order of the files, and of the moments of the kills.
        corrupt: Number of corrupt files among them, at least 1.
        data: Folder of real videos; None makes some.
        model: A model; None makes a tiny one.
        level: What is embedded.
    """
    videos, bad = write_videos(folder / "videos", data, files=files, corrupt=corrupt, seed=seed)
    traps, model = write_traps(folder / "traps"), model or write_model(folder / "model")
    with (traps / "sitecustomize.py").open("a") as file:
        file.write(import_hook("timesformer.jobs.run", _FLUSH))
    opened = OpenedFiles(folder / "opened")
    jobs = {
        name: Job(
            command=[sys.executable, "-m", "timesformer", "embed", str(folder / "videos"), "--model", str(model),
                     "--output", str(folder / name), "--level", level, "--workers", "1"],
            folder=folder / name,
            environment={"PYTHONPATH": python_path(traps), OPENED: str(folder / "opened")},
            log=folder / f"{name}.log",
            opened=opened,
        )
        for name in ("undisturbed", "disturbed")
    }  # fmt: skip
    planned = plan_kills(files, count=kills, seed=seed)
    seconds = run_undisturbed(jobs["undisturbed"])
    disturbance = run_disturbed(
        jobs["disturbed"],
        planned,
        count=lambda: num_written(folder / "disturbed"),
        finished=lambda: finished_names(folder / "disturbed"),
        is_worker=lambda process: False,
    )
    wrong = audit(videos, bad, jobs["undisturbed"], jobs["disturbed"])
    return {
        "videos": "made" if data is None else str(data),
        "files": files,
        "corrupt": len(bad),
        "level": level,
        "seed": seed,
        "undisturbed_s": round(seconds, 1),
        "kills": len(disturbance.kills),
        "rows_at_kill": [kill.at for kill in planned],
        "wrong": wrong
        | {
            "finished, and read again": sorted(disturbance.read_again),
            "not killed": [kill.at for kill in planned[len(disturbance.kills) :]],
        },
    }


def write_videos(
    folder: Path, data: Path | None, *, files: int, corrupt: int, seed: int
) -> tuple[list[Path], frozenset[Path]]:
    """Copies of videos with names of their own, and which of them are corrupt."""
    if data is None:
        made = write_fault_videos(folder, count=files, share=corrupt, hangs=0, seed=seed)
        for path in made.kills:  # decoders that die are the matter of `job_faults.py`
            path.unlink()
        return [path for path in made.order if path not in made.kills], made.corrupt
    sources = sorted(find_videos_below(data).videos)
    drawn = random.Random(seed)
    chosen = [drawn.choice(sources) for _ in range(files)] if len(sources) < files else drawn.sample(sources, files)
    folder.mkdir()
    videos = [folder / f"{number:05d}-{source.name}" for number, source in enumerate(chosen)]
    for source, video in zip(chosen, videos, strict=True):
        shutil.copyfile(source, video)
    bad = frozenset(drawn.sample(videos, corrupt))
    for video in bad:
        video.write_bytes(b"no video" * 64)
    return videos, bad


def plan_kills(files: int, *, count: int, seed: int) -> list[Kill]:
    """Kills of the driver, each up to a second after a number of rows on the disk, of which no two are equal."""
    drawn = random.Random(seed)
    chunks = sorted(drawn.sample(range(max(count, files // _CHUNK - 1)), k=count))
    return [Kill(what="driver", at=_CHUNK * chunk, delay_s=drawn.random(), choice=0) for chunk in chunks]


def num_written(job: Path) -> int:
    """Rows in the parts of a job."""
    with suppress(OSError):  # a compaction has moved a file
        return sum(pq.read_metadata(path).num_rows for path in job.glob("*/part-*.parquet"))
    return 0


def audit(videos: Sequence[Path], bad: frozenset[Path], undisturbed: Job, disturbed: Job) -> dict[str, Any]:
    """What is wrong with the folder of the disturbed job: empty lists if nothing is."""
    columns = ["id", "path", "error", "embedding"]
    rows = [row for file in sorted((disturbed.folder / "rows").iterdir())
            for row in pq.read_table(file, columns=columns).to_pylist()]  # fmt: skip
    ids, paths = Counter(row["id"] for row in rows), Counter(row["path"] for row in rows)
    names = {str(path) for path in videos}
    failed = {row["path"] for row in rows if row["error"]}
    return {
        "missing": sorted(names - set(paths)),
        "unknown": sorted(set(paths) - names),
        "more than once": sorted(key for counts in (ids, paths) for key, count in counts.items() if count > 1),
        "error and vector, or neither": [
            row["path"] for row in rows if (row["error"] is None) != (row["embedding"] is not None)
        ],
        "corrupt without an error": sorted(set(map(str, bad)) - failed),
        "good with an error": sorted(failed - set(map(str, bad))),
        "quarantine without an error in its row": num_quarantined(disturbed.folder) - len(failed),
        "rows that differ": differing_files(undisturbed.folder, disturbed.folder),
        "files that are left over": sorted(_names(disturbed.folder) ^ _names(undisturbed.folder)),
        "processes that are left over": [each.command for job in (undisturbed, disturbed) for each in job.processes()],
    }


def _names(job: Path) -> set[str]:
    return {str(path.relative_to(job)) for path in job.rglob("*")}


if __name__ == "__main__":
    sys.exit(main())
