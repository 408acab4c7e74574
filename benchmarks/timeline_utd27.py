"""Timelines of long videos made from UTD-MHAD clips, against their known boundaries.

    python benchmarks/timeline_utd27.py make DATA --output MATERIAL
    timesformer train MATERIAL/train.csv --val MATERIAL/val.csv --config recipes/utd27_depth.toml --output RUN
    python benchmarks/timeline_utd27.py measure DATA --model RUN --output LONG [--background-model RUN2]

`make` writes training material: long videos of subjects 1, 3, 5 and 7 with background, and tables of their segments.
The second trial of each action of subject 7 is in `val.csv`, all others in `train.csv`. `measure` writes ten minutes of
subjects 2 and 4, without background and with 30 %, and compares the timeline with the truth and with the accuracy of
the same model on the same clips. It prints JSON. DATA is a folder with `train.csv`, `val.csv`, `classes.txt` and
`videos`, whose file names contain the subject as `_s1_`. How the videos are made is in `long_videos.py`.
"""

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from long_videos import Clip, LabeledTime, draw_order, write_long_video, write_table
from timesformer.data.manifest.manifest import load_manifest

TRAINING_SUBJECTS = (1, 3, 5, 7)
HELD_OUT = "_s7_t2"
"""Subject and trial of the clips that monitor training."""
CLIPS_IN_A_VIDEO = 27


def make(data: Path, output: Path, *, background: float, orders: int, seed: int) -> dict[str, object]:
    """Write training material: videos of 27 clips of one subject, each clip in `orders` of them.

    Returns:
        Numbers of videos and segments, seconds of labeled time and background, and the time it took.
    """
    started = time.perf_counter()
    (output / "videos").mkdir(parents=True)
    clips = clips_of(data / "train.csv")
    rng = np.random.default_rng(seed)
    rows: dict[str, list[tuple[Path, LabeledTime]]] = {"train": [], "val": []}
    for part, name, chosen in _videos(clips, orders=orders, rng=rng):
        path = output / "videos" / f"{name}.mp4"
        rows[part] += [(path, row) for row in write_long_video(path, chosen, background=background, rng=rng)]
    counts = {}
    for part, found in rows.items():
        write_table(output / f"{part}.csv", found)
        counts[part] = _describe(found)
    return {**counts, "seconds": round(time.perf_counter() - started, 1)}


def clips_of(table: Path) -> list[Clip]:
    """The clips of a table and the names of their classes."""
    manifest = load_manifest(table)
    return [Clip(path=sample.path, label=manifest.class_names[sample.label]) for sample in manifest.samples]


def subject_of(clip: Clip) -> int:
    """The subject of a clip, from its file name."""
    found = re.search(r"_s(\d+)_", clip.path.name)
    if found is None:
        raise SystemExit(f"{clip.path}: the name does not contain the subject as _s1_")
    return int(found[1])


def _videos(clips: Sequence[Clip], *, orders: int, rng: np.random.Generator) -> Iterator[tuple[str, str, list[Clip]]]:
    """Part, name and clips of each video of the training material."""
    held_out = [clip for clip in clips if HELD_OUT in clip.path.name]
    yield "val", "val", [held_out[index] for index in rng.permutation(len(held_out))]
    for subject in TRAINING_SUBJECTS:
        own = [clip for clip in clips if subject_of(clip) == subject and HELD_OUT not in clip.path.name]
        for order in range(orders):
            shuffled = [own[index] for index in rng.permutation(len(own))]
            for number, first in enumerate(range(0, len(own), CLIPS_IN_A_VIDEO)):
                yield "train", f"s{subject}_{order}_{number}", shuffled[first : first + CLIPS_IN_A_VIDEO]


def _describe(rows: Sequence[tuple[Path, LabeledTime]]) -> dict[str, float]:
    labeled = sum(row.end - row.start for _, row in rows if row.label)
    background = sum(row.end - row.start for _, row in rows if not row.label)
    return {
        "videos": len({path for path, _ in rows}),
        "segments": sum(bool(row.label) for _, row in rows),
        "labeled_seconds": round(labeled, 1),
        "background_seconds": round(background, 1),
    }


def make_test(data: Path, path: Path, *, seconds: float, background: float, seed: int) -> list[LabeledTime]:
    """Write a long video of the clips in `val.csv`, and its table; an equal seed gives an equal order of clips."""
    rng = np.random.default_rng(seed)
    clips = draw_order(clips_of(data / "val.csv"), seconds=seconds * (1 - background), rng=rng)
    parts = write_long_video(path, clips, background=background, rng=rng)
    write_table(path.with_suffix(".csv"), [(path, part) for part in parts])
    return parts
