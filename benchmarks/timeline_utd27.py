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

import argparse
import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import timesformer as tsf
from long_videos import FPS, Clip, LabeledTime, draw_order, write_long_video, write_table
from machine import describe_machine
from timesformer.data.manifest.manifest import load_manifest
from timesformer.errors import TimeSformerError
from timesformer.evaluation.evaluate import open_both
from timesformer.evaluation.segments.evaluate import MeasuredVideo, default_of, evaluate_measured, measure_videos
from timesformer.evaluation.segments.metrics import Events, merge_touching
from timesformer.evaluation.segments.result import SegmentEvaluation
from timesformer.evaluation.segments.summary import ComparedVideo, summarize_segments
from timesformer.timelines.thresholds import BACKGROUND
from timesformer.timelines.timeline import Timeline

TRAINING_SUBJECTS = (1, 3, 5, 7)
HELD_OUT = "_s7_t2"
"""Subject and trial of the clips that monitor training."""
CLIPS_IN_A_VIDEO = 27


def make(data: Path, output: Path, *, background: float, orders: int, shifts: int, seed: int) -> dict[str, object]:
    """Write training material: videos of 27 clips of one subject, each clip in `orders` of them.

    Args:
        data: Folder of UTD-MHAD.
        output: Folder to write.
        background: Fraction of background.
        orders: Videos that each clip is in, every time with other neighbors.
        shifts: Copies of each training segment in the table, each shifted by up to a quarter of its length, as windows
            lie that are not centered on an action.
        seed: Seed of all choices.

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
        parts = write_long_video(path, chosen, background=background, rng=rng)
        copies = _shifted(parts, copies=shifts, rng=rng) if part == "train" else []
        rows[part] += [(path, row) for row in (*parts, *copies)]
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


def _shifted(parts: Sequence[LabeledTime], *, copies: int, rng: np.random.Generator) -> Iterator[LabeledTime]:
    """Copies of labeled parts, shifted by whole frames, within the video."""
    end = parts[-1].end
    for part in parts:
        for _ in range(copies if part.label else 0):
            most = round(0.25 * (part.end - part.start) * FPS)
            shift = int(rng.integers(-most, most + 1))
            first, last = (round(edge * FPS) + shift for edge in (part.start, part.end))
            yield LabeledTime(label=part.label, start=max(first, 0) / FPS, end=min(last / FPS, end))


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


def measure(model: str, table: Path, *, window: float | None, stride: float | None, curves: Path) -> dict[str, object]:
    """Timeline of a long video against its truth, and the accuracy of the same model on the same clips.

    Args:
        model: A model folder.
        table: Segments of the video, from `make_test`.
        window: Length of a window in seconds; None takes that of the model.
        stride: Seconds from one window to the next; None takes a quarter of the window.
        curves: Folder that keeps the curves.
    """
    loaded, manifest = open_both(model, table)
    clips = tsf.evaluate(loaded, manifest, num_workers=0)
    started = time.perf_counter()
    measured = measure_videos(
        loaded, manifest, window=window, stride=stride, curves=curves, options=tsf.ComputeOptions()
    )
    seconds = time.perf_counter() - started
    result = evaluate_measured(measured, thresholds=default_of(loaded, measured))
    video = measured.videos[0]
    at_end = answer_at_end(video.timeline, window=measured.windows.length)
    return {
        "model": model,
        "video_seconds": round(video.timeline.source.duration, 3),
        "background": round(1 - float((video.truth.end - video.truth.start).sum()) / video.timeline.source.duration, 3),
        "segments": result.num_segments,
        "window": result.window,
        "stride": result.stride,
        "clip_accuracy": clips.top1,
        **_measures(result),
        "frame_accuracy_minus_clip_accuracy": result.frame_accuracy.value - clips.top1,
        "frame_accuracy_inside_over_clip_accuracy": result.frame_accuracy_inside.value / clips.top1,
        "answer_at_window_end": _measures(_with_prediction(result, video, at_end)),
        "seconds": round(seconds, 1),
    }


def answer_at_end(timeline: Timeline, *, window: float) -> Events:
    """The most probable class of each window, told from its end until the end of the next one, as a live display does.

    The windows and their probabilities are those of the curves, each moved by half a window. Until the first window
    ends there is no answer.
    """
    curves, background = timeline.curves, timeline.classes
    assert curves is not None
    shown = curves.times + window / 2
    ends = np.append(shown[1:], timeline.source.duration)
    labels = curves.probabilities.argmax(axis=1).tolist()
    return Events.of(
        [
            (float(start), float(min(end, timeline.source.duration)), label, 1.0)
            for start, end, label in zip(shown, ends, labels, strict=True)
            if start < timeline.source.duration and background[label] != BACKGROUND
        ]
    )


def _with_prediction(result: SegmentEvaluation, video: MeasuredVideo, predicted: Events) -> SegmentEvaluation:
    curves = video.timeline.curves
    assert curves is not None
    compared = ComparedVideo(
        path=str(video.path),
        group="",
        times=curves.frame_times,
        duration=video.timeline.source.duration,
        truth=video.truth,
        exclusive=merge_touching(predicted),
        overlapping=merge_touching(predicted),
    )
    names = [found.name for found in result.classes]
    return summarize_segments(
        [compared], class_names=names, window=result.window, stride=result.stride, thresholds=result.thresholds
    )


def _measures(result: SegmentEvaluation) -> dict[str, float | None]:
    values = {
        "frame_accuracy": result.frame_accuracy.value,
        "frame_accuracy_inside": result.frame_accuracy_inside.value,
        "f1_50": result.f1[50].value,
        "edit": result.edit.value,
        "boundary_median_s": result.boundary_median.value,
        "boundary_mean_s": result.boundary_mean.value,
    }
    return {name: None if np.isnan(value) else round(value, 4) for name, value in values.items()}


def _arguments() -> argparse.Namespace:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("data", type=Path, metavar="DATA", help="folder of UTD-MHAD clips")
    shared.add_argument("--output", type=Path, required=True, help="folder to write")
    shared.add_argument("--seed", type=int, default=0, help="seed of orders and background (default: 0)")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("make", parents=[shared], help="write training material")
    made.add_argument("--background", type=float, default=0.3, help="fraction of background (default: 0.3)")
    made.add_argument("--orders", type=int, default=2, help="videos that each clip is in (default: 2)")
    made.add_argument("--shifts", type=int, default=0, help="shifted copies of each training segment (default: 0)")
    measured = commands.add_parser("measure", parents=[shared], help="measure timelines of ten minutes")
    measured.add_argument("--model", required=True, help="model folder for the video without background")
    measured.add_argument("--background-model", help="model folder for the other one (default: the same)")
    measured.add_argument("--seconds", type=float, default=600.0, help="length of the videos (default: 600)")
    measured.add_argument("--window", type=float, help="seconds (default: the model's)")
    measured.add_argument("--stride", type=float, help="seconds (default: a quarter of the window)")
    return parser.parse_args()


def _measure_both(options: argparse.Namespace) -> dict[str, object]:
    """Write both test videos unless they exist, and measure a model on each."""
    options.output.mkdir(parents=True, exist_ok=True)
    results = {}
    models = {0.0: options.model, 0.3: options.background_model or options.model}
    for background, model in models.items():
        path = options.output / f"background_{background:.0%}_seed_{options.seed}_{options.seconds:g}_s.mp4"
        if not path.with_suffix(".csv").exists():
            make_test(options.data, path, seconds=options.seconds, background=background, seed=options.seed)
        results[f"background {background:.0%}"] = measure(
            model,
            path.with_suffix(".csv"),
            window=options.window,
            stride=options.stride,
            curves=options.output / "curves",
        )
    return results


def main() -> None:
    """Print JSON; usage errors exit with status 2."""
    options = _arguments()
    try:
        if options.command == "make":
            numbers = {name: getattr(options, name) for name in ("background", "orders", "shifts", "seed")}
            result = make(options.data, options.output, **numbers)
        else:
            result = _measure_both(options)
    except (TimeSformerError, FileExistsError) as error:
        raise SystemExit(f"error: {error}") from error
    print(json.dumps({**result, "machine": describe_machine()}, indent=2))


if __name__ == "__main__":
    main()
