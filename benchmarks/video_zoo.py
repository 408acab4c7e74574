"""Does the reader return every frame of every file correctly, refuse files that are not videos, and never hang?

Reads each file of a folder in a separate process, with a time limit, and compares all its frames and random ones
with a plain decode from first to last by PyAV, pixel for pixel. Prints JSON; writes a table on request.

    python benchmarks/video_zoo.py FOLDER --table benchmarks/results/video_zoo_<cpu>_<yyyymm>.md

FOLDER holds video files and `MANIFEST.json`: a list of objects with `file` and, found by another program, `decoded`
(frames; absent or 0 if there is no video) and `rot` (counter-clockwise rotation in degrees). The exit status is 1 if a
file is read wrongly, or differs from the manifest without an entry in `EXPLAINED`.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np

from machine import describe_machine
from timesformer.data.video.file_reader import VideoReader
from timesformer.errors import DecodeError

EXPLAINED = {
    "decord__tests_test_data_corrupted.mp4": "one packet of its 50 is damaged, and the manifest's decode stopped "
    "there; ours goes on, with frame 29 in the place of the lost frame 30 and later ones as the decoder patches them",
}
"""Files that may differ from the manifest, and why."""
CHUNK = 16
Digest = str


def digest(frame: np.ndarray) -> Digest:
    """Hash of a frame's pixels and shape."""
    return f"{frame.shape}{hashlib.blake2b(frame.tobytes()).hexdigest()}"


def decode_plainly(path: Path) -> Iterator[tuple[int | None, Digest]]:
    """Time and digest of each frame, decoded from first to last by PyAV alone."""
    with av.open(path, metadata_errors="ignore") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"  # a decoder's concealment of damage depends on its threads
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                upright = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                yield frame.pts, digest(upright)


def shown_times(path: Path) -> list[int]:
    """Presentation times of the frames of a file, from its packets."""
    with av.open(path, metadata_errors="ignore") as container:
        return sorted(p.pts for p in container.demux(video=0) if p.size and p.pts is not None and not p.is_discard)


def expected_frames(path: Path, num_frames: int) -> list[Digest]:
    """Digest of each frame; for one that does not decode, of the nearest earlier frame, else of the first."""
    decoded = list(decode_plainly(path))
    if len(decoded) == num_frames:
        return [frame for _, frame in decoded]
    by_time, last, expected = dict(decoded), decoded[0][1], []
    for at in shown_times(path):
        last = by_time.get(at, last)
        expected.append(last)
    return expected


def count_wrong(reader: VideoReader, expected: list[Digest]) -> int:
    """Number of frames that differ, read in chunks from first to last and then in random groups of four."""
    num_frames, rng = len(expected), np.random.default_rng(0)
    edges = [*range(0, num_frames, CHUNK), num_frames]
    reads = [list(range(first, end)) for first, end in pairwise(edges)]
    reads += rng.integers(num_frames, size=(8, 4)).tolist()
    return sum(
        digest(frame) != expected[index]
        for wanted in reads
        for index, frame in zip(wanted, reader.read(wanted), strict=True)
    )


def examine(path: Path) -> dict[str, Any]:
    """The row of one file."""
    start = time.perf_counter()
    try:
        with VideoReader(path) as reader:
            info, opened = reader.info, time.perf_counter()
            reader.read(np.linspace(0, info.num_frames - 1, 8).round().astype(int))
            read = time.perf_counter()
            expected = expected_frames(path, info.num_frames)
            wrong = count_wrong(reader, expected)
    except DecodeError as error:
        return {"outcome": "refused", "reason": str(error).removeprefix(f"{path}: ")}
    return {
        "outcome": "wrong" if wrong else "exact",
        "num_frames": info.num_frames,
        "wrong_frames": wrong,
        "fps": round(info.fps, 3),
        "height": info.height,
        "width": info.width,
        "rotation": info.rotation,
        "open_ms": round(1e3 * (opened - start), 1),
        "read_8_ms": round(1e3 * (read - opened), 1),
    }


def examine_apart(path: Path, limit_s: float) -> dict[str, Any]:
    """Examine a file in a separate process."""
    start = time.perf_counter()
    command = [sys.executable, __file__, "--one", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return {"outcome": "hangs", "reason": f"not done after {limit_s} s"}
    if done.returncode != 0:
        return {"outcome": "crashes", "reason": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    if done.stderr:
        return {"outcome": "prints", "reason": done.stderr.strip().splitlines()[0]}
    return {**json.loads(done.stdout), "seconds": round(time.perf_counter() - start, 2)}


def compare(row: dict[str, Any], known: dict[str, Any]) -> str:
    """Difference between a row and the manifest; empty if there is none."""
    decoded = known.get("decoded", 0)
    at_least = int(str(decoded).removeprefix(">="))
    if row["outcome"] == "refused" or at_least == 0:
        return "" if row["outcome"] == "refused" and at_least == 0 else f"the manifest has {decoded} frames"
    is_same = row["num_frames"] >= at_least if str(decoded).startswith(">=") else row["num_frames"] == at_least
    if not is_same:
        return f"the manifest has {decoded} frames"
    return "" if known["rot"] % 360 == row["rotation"] else f"the manifest has a rotation of {known['rot']}"


def table(report: dict[str, Any]) -> str:
    """The report as a Markdown page."""
    machine, rows = report["machine"], report["rows"]
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report["outcomes"].items())
    lines = [
        "# The reader on a zoo of videos",
        "",
        f"{report['date']}, {machine['cpu']}, {machine['cores']} cores, one decoding thread. "
        f"Python {machine['python']}, PyAV {machine['av']}, libavcodec {machine['libavcodec']}, "
        f"numpy {machine['numpy']}, timesformer {machine['timesformer']}. Made by `benchmarks/video_zoo.py`.",
        "",
        f"{len(rows)} files: {counts}. *Exact*: every frame, read in order and at random, equals a plain decode from "
        "first to last, pixel for pixel. *Refused*: one error that names file and reason. FFmpeg printed nothing, and "
        f"no file took longer than {report['slowest_s']} s (limit {report['limit_s']:g} s), the plain decode included.",
        "",
        "`manifest` is the number of frames that another decode found. The times are one run on a machine in use.",
        "",
        "| file | outcome | frames | manifest | fps | size, turn | open ms | 8 frames ms |",
        "|---|---|--:|--:|--:|---|--:|--:|",
    ]
    for row in rows:
        name, known = row["file"], row["manifest_frames"]
        if row["outcome"] in ("exact", "wrong"):
            size = f"{row['width']}x{row['height']}" + (f", {row['rotation']}" if row["rotation"] else "")
            cells = [row["outcome"], row["num_frames"], known, row["fps"], size, row["open_ms"], row["read_8_ms"]]
        else:
            cells = [f"{row['outcome']}: {row['reason']}", "", known, "", "", "", ""]
        lines.append(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    differing = [f"* `{row['file']}`: {row['differs']}; {row['explanation']}." for row in rows if row["differs"]]
    lines += ["", "## Where the manifest says otherwise", "", *(differing or ["Nowhere."])]
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit-s", type=float, default=120, help="seconds that a file may take")
    parser.add_argument("--table", type=Path, help="write a Markdown table here")
    parser.add_argument("--one", action="store_true", help="FOLDER is one file: print its row")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(examine(options.folder)))
        return 0
    rows = []
    for known in json.loads((options.folder / "MANIFEST.json").read_text()):
        row = examine_apart(options.folder / known["file"], options.limit_s)
        differs = compare(row, known)
        explanation = EXPLAINED.get(known["file"], "not explained") if differs else ""
        rows.append({"file": known["file"], "manifest_frames": known.get("decoded", 0), **row})
        rows[-1] |= {"differs": differs, "explanation": explanation}
    report = {
        "date": time.strftime("%Y-%m"),
        "machine": describe_machine(),
        "limit_s": options.limit_s,
        "outcomes": {
            kind: sum(row["outcome"] == kind for row in rows) for kind in sorted({row["outcome"] for row in rows})
        },
        "slowest_s": max(row.get("seconds", options.limit_s) for row in rows),
        "rows": rows,
    }
    print(json.dumps(report, indent=1))
    if options.table:
        options.table.write_text(table(report))
    is_good = all(row["outcome"] in ("exact", "refused") and row["explanation"] != "not explained" for row in rows)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
