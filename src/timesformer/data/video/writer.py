"""Write frames as H.264 files: synthetic clips, copies of videos and overlays."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import Float64, Int64, UInt8

_TICK = Fraction(1, 90_000)
"""Unit of explicit times, in seconds: exact for 24, 25, 30 and 30000/1001 frames a second."""


def with_even_sides(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
    """A frame whose odd sides are made even, as 4:2:0 needs, by repeating the last row or column."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def write_mp4(path: Path, frames: UInt8[np.ndarray, "t h w 3"], *, rate: Fraction, quality: Mapping[str, str]) -> None:
    """Write an H.264 MP4 in 4:2:0.

    Args:
        path: The file; an existing one is replaced.
        frames: RGB frames, 0 to 255, of even height and width.
        rate: Frames a second.
        quality: Rate control options of x264, such as `{"crf": "18"}`, or `{"qp": "0"}` for lossless.

    Raises:
        OSError: The file cannot be written.
    """
    _write(path, frames, ticks=np.arange(len(frames)), tick=1 / rate, rate=rate, quality=quality)


def write_timed_mp4(
    path: Path,
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    *,
    times: Float64[np.ndarray, " t"],
    quality: Mapping[str, str],
) -> None:
    """Write an H.264 MP4 in 4:2:0 whose frames have given times; one frame at a time is in memory.

    Args:
        path: The file; an existing one is replaced.
        frames: RGB frames, 0 to 255, all of one even height and width.
        times: Presentation time of each frame in seconds, 0 or more and never decreasing; equal times become 1/90000 s
            apart.
        quality: As in `write_mp4`.

    Raises:
        OSError: The file cannot be written.
    """
    steps = np.arange(len(times))
    ticks = np.maximum.accumulate(np.rint(times / float(_TICK)).astype(np.int64) - steps) + steps
    span = float(times[-1] - times[0])
    rate = Fraction((len(times) - 1) / span).limit_denominator(1001) if span > 0 else Fraction(25)
    _write(path, frames, ticks=ticks, tick=_TICK, rate=rate, quality=quality)


def _write(
    path: Path,
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    *,
    ticks: Int64[np.ndarray, " t"],
    tick: Fraction,
    rate: Fraction,
    quality: Mapping[str, str],
) -> None:
    # zerolatency turns off B-frames and look-ahead, which cost more than the encoding itself at these sizes
    options = {**quality, "preset": "veryfast", "tune": "zerolatency", "g": "12"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.codec_context.time_base = tick
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for number, picture in zip(ticks.tolist(), frames, strict=True):
            if number == ticks[0]:
                stream.height, stream.width = picture.shape[:2]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            # one thread: a thread pool left by the scaler would hang a forked worker
            frame = frame.reformat(format="yuv420p", threads=1)
            frame.pts, frame.time_base = number, tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
