"""Timelines made by hand, for the tests of their writers."""

from collections.abc import Sequence

import numpy as np

from timesformer.timelines.timeline import Curves, Gap, LabeledSegment, Source, Timeline

LABELS = ("clap", "déjà vu 拍手", 'say "hi", & <go>', "--> - leads", "-dash")


def labeled(label: str, start: float, end: float, *, fps: float = 25.0, index: int = 0) -> LabeledSegment:
    """A segment of a video with a constant rate."""
    frames = {"start_frame": round(start * fps), "end_frame": max(round(end * fps), round(start * fps) + 1)}
    return LabeledSegment(label=label, index=index, start=start, end=end, **frames, score=0.75, peak=0.875)


def make_timeline(
    segments: Sequence[tuple[str, float, float]],
    *,
    path: str = "videos/a b.mp4",
    mode: str = "exclusive",
    duration: float = 20.0,
    is_variable: bool = False,
    gaps: Sequence[Gap] = (),
    classes: Sequence[str] = LABELS,
) -> Timeline:
    """A timeline of a video at 25 frames a second."""
    return Timeline(
        source=Source(
            path=path,
            sha256="ab" * 32,
            duration=duration,
            num_frames=round(duration * 25),
            fps=25.0,
            is_variable=is_variable,
            height=48,
            width=80,
        ),
        model={"sha256": "cd" * 32, "scheme": "divided"},
        window=2.0,
        stride=0.5,
        settings={"mode": mode},
        classes=tuple(classes),
        segments=tuple(labeled(label, start, end, index=classes.index(label)) for label, start, end in segments),
        gaps=tuple(gaps),
    )


def make_curves(timeline: Timeline, *, num_times: int = 80) -> Curves:
    """Curves that are high where a class has a segment, and add up to 1."""
    times = np.linspace(0, timeline.source.duration, num_times)
    scores = np.full((num_times, len(timeline.classes)), 0.05)
    for segment in timeline.segments:
        scores[(segment.start <= times) & (times < segment.end), segment.index] = 0.9
    return Curves(times=times, probabilities=(scores / scores.sum(axis=1, keepdims=True)).astype(np.float32))
