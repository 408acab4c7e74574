"""Long videos with known boundaries, made from clips that show one action each.

Clips follow each other in random order, cut to cut. Between some of them the person of the clip before stands still,
which is background and has no label: a random walk over the first five frames of that clip, in which the action has not
started. All frames are real ones, so that neither a frozen picture nor made-up noise gives background away. A stretch
lasts 1 to 4 s.
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

import timesformer as tsf
from timesformer.data.video.writer import write_mp4

FPS = 30
QUALITY = {"crf": "8"}
BACKGROUND_SECONDS = (1.0, 4.0)
STILL_FRAMES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A clip and what it shows."""

    path: Path
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledTime:
    """A part of a long video, in seconds; the label is empty for background."""

    label: str
    start: float
    end: float


def draw_order(clips: Sequence[Clip], *, seconds: float, rng: np.random.Generator) -> list[Clip]:
    """Clips in random order until they last `seconds`; once all were drawn, they are drawn again in another order."""
    lengths = {clip.path: tsf.probe(clip.path).num_frames / FPS for clip in clips}
    drawn: list[Clip] = []
    while sum(lengths[clip.path] for clip in drawn) < seconds:
        for index in rng.permutation(len(clips)):
            if sum(lengths[clip.path] for clip in drawn) >= seconds:
                break
            drawn.append(clips[index])
    return drawn


def write_long_video(
    path: Path, clips: Sequence[Clip], *, background: float, rng: np.random.Generator
) -> list[LabeledTime]:
    """Write clips one after the other as an MP4, with stretches of background.

    Args:
        path: The file.
        clips: The clips, in order; they have 30 frames a second and one size.
        background: Fraction of the video that is background, from 0 to less than 1.
        rng: Source of the places and lengths of background, and of its frames.

    Returns:
        All parts in order, without gaps.
    """
    parts = list(_with_background(clips, background=background, rng=rng))
    ends = np.cumsum([len(frames) for _, frames in parts]) / FPS
    starts = [0.0, *ends[:-1].tolist()]
    write_mp4(path, np.concatenate([frames for _, frames in parts]), rate=Fraction(FPS), quality=QUALITY)
    labels = [label for label, _ in parts]
    return [
        LabeledTime(label=label, start=start, end=end)
        for label, start, end in zip(labels, starts, ends.tolist(), strict=True)
    ]


def write_table(path: Path, rows: Sequence[tuple[Path, LabeledTime]]) -> None:
    """Write the labeled parts as a table `path,label,start,end`, with paths relative to it; background has no row."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "label", "start", "end"))
        writer.writerows(
            (video.relative_to(path.parent), part.label, part.start, part.end) for video, part in rows if part.label
        )


def _with_background(
    clips: Sequence[Clip], *, background: float, rng: np.random.Generator
) -> Iterator[tuple[str, UInt8[np.ndarray, "t h w 3"]]]:
    """Label and frames of each part."""
    owed = 0.0  # seconds of background that are missing so far
    for clip in clips:
        frames = _read(clip.path)
        yield clip.label, frames
        owed += len(frames) / FPS * background / (1 - background)
        shortest, longest = BACKGROUND_SECONDS
        if owed >= rng.uniform(shortest, longest):
            count = round(min(owed, longest) * FPS)
            owed -= count / FPS
            yield "", hold_still(frames, count, rng=rng)


def hold_still(
    frames: UInt8[np.ndarray, "t h w 3"], count: int, *, rng: np.random.Generator
) -> UInt8[np.ndarray, "n h w 3"]:
    """The person of a clip standing still: a random walk over its first frames, reflected at both ends."""
    turn = STILL_FRAMES - 1
    walk = np.cumsum(rng.integers(-1, 2, count))
    return frames[np.abs((walk + turn) % (2 * turn) - turn)]


def _read(path: Path) -> UInt8[np.ndarray, "t h w 3"]:
    return tsf.read_frames(path, range(tsf.probe(path).num_frames))
