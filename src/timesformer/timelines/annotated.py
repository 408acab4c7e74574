"""Annotated copy of a video: labels burnt in, and the timeline with a moving cursor beneath."""

import os
from collections.abc import Callable, Collection, Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from timesformer.data.video.feed import FrameGap
from timesformer.data.video.reader import open_reader
from timesformer.data.video.sequential import open_feed
from timesformer.data.video.writer import with_even_sides, write_timed_mp4
from timesformer.errors import DataError
from timesformer.timelines.captions import Caption, burn_in
from timesformer.timelines.strip import Strip, draw_strip
from timesformer.timelines.timeline import Curves, Timeline

_STRIP = 0.2
"""Height of the strip as a share of the frame's."""
_STRIP_PIXELS = (36, 180)

OnProgress = Callable[[int, int], None]
"""Called with the number of frames written and the number in total."""


def write_annotated(
    timeline: Timeline,
    path: Path,
    *,
    video: str | os.PathLike[str],
    curves: Curves | None = None,
    allow_codecs: Collection[str] = (),
    on_progress: OnProgress | None = None,
) -> None:
    """Write a copy of a video with the labels burnt in, and the timeline beneath.

    Frames keep their size and times; sound is left out. Each shows the classes of its segments with their probability
    at that time, or the mean over the segment if there are no curves. The strip beneath shows the segments, the curves
    and the gaps of the whole video. Sides are made even by repeating pixels, since H.264 in 4:2:0 needs it. Frames are
    decoded and written one after another, so that memory does not grow with the video.

    Args:
        timeline: Timeline of the video.
        path: The file; an existing one is replaced.
        video: The video: a file, a folder of numbered pictures or a member of a tar file.
        curves: Class probabilities; None draws the segments only.
        allow_codecs: As in `timesformer.data.video.reader.open_reader`.
        on_progress: Called after each frame.

    Raises:
        DataError: The frames of the video have another size than those of the timeline.
        DecodeError, CodecError: The video cannot be read.
        OSError: The file cannot be written.
    """
    with open_reader(video, allow_codecs=allow_codecs) as reader:
        info, times = reader.info, reader.times
    if (info.height, info.width) != (timeline.source.height, timeline.source.width):
        raise DataError(
            f"{video}: has frames of {info.height}x{info.width} pixels, but the timeline is of a video of "
            f"{timeline.source.height}x{timeline.source.width} pixels: pass the video of the timeline"
        )
    low, high = _STRIP_PIXELS
    strip = draw_strip(
        timeline,
        curves=curves,
        width=info.width + info.width % 2,
        height=2 * round(min(max(_STRIP * info.height, low), high) / 2),
        duration=max(timeline.source.duration, float(times[-1])) or 1.0,
    )
    frames = _frames(video, num_frames=len(times), allow_codecs=allow_codecs)
    pages = _pages(frames, timeline, curves, times=times, strip=strip, on_progress=on_progress)
    write_timed_mp4(path, pages, times=times, quality={"crf": "20"})


def _frames(
    video: str | os.PathLike[str], *, num_frames: int, allow_codecs: Collection[str]
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Every frame of a video; in place of one that cannot be decoded, the one before, or the first good one."""
    number, frame = 0, None
    with open_feed(video, allow_codecs=allow_codecs) as feed:
        for item in feed:
            if isinstance(item, FrameGap) or not number <= item.number < num_frames:
                continue
            pixels = item.pixels()
            yield from repeat(pixels if frame is None else frame, item.number - number)
            yield pixels
            number, frame = item.number + 1, pixels
    if frame is not None:
        yield from repeat(frame, num_frames - number)


def _pages(
    frames: Iterator[UInt8[np.ndarray, "h w 3"]],
    timeline: Timeline,
    curves: Curves | None,
    *,
    times: Float64[np.ndarray, " n"],
    strip: Strip,
    on_progress: OnProgress | None,
) -> Iterator[UInt8[np.ndarray, "page_height page_width 3"]]:
    """Frames with captions, each above the strip."""
    for number, (time, frame) in enumerate(zip(times.tolist(), frames, strict=True), 1):
        picture = with_even_sides(frame)
        burn_in(picture, _captions(timeline, curves, time=time))
        yield np.concatenate([picture, strip.at(time)])
        if on_progress is not None:
            on_progress(number, len(times))


def _captions(timeline: Timeline, curves: Curves | None, *, time: float) -> list[Caption]:
    """Classes at a time, the most probable first."""
    captions = [
        Caption(segment.label, segment.index, _probability(curves, segment.index, time=time, default=segment.score))
        for segment in timeline.segments
        if segment.start <= time < segment.end
    ]
    return sorted(captions, key=lambda caption: -caption.probability)


def _probability(curves: Curves | None, index: int, *, time: float, default: float) -> float:
    if curves is None or not len(curves.times):
        return default
    after = int(np.searchsorted(curves.times, time))
    near = slice(max(after - 1, 0), after + 1)  # interpolation of the whole curve would copy it for each frame
    return float(np.interp(time, curves.times[near], curves.probabilities[near, index]))
