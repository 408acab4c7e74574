"""Files of an explanation: a strip of frames, an animated clip and a curve."""

import math
import os
from collections.abc import Collection, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from PIL import Image

from timesformer.data.video.frame_array import FrameArray, FrameArrayReader
from timesformer.data.video.reader import Reader, open_reader
from timesformer.data.video.writer import with_even_sides, write_timed_mp4
from timesformer.errors import ConfigError, DataError
from timesformer.explanation.curve import svg
from timesformer.explanation.explanation import Explanation
from timesformer.explanation.overlay import Picture, interpolated, overlay
from timesformer.explanation.strip import draw_strip
from timesformer.files import replacing
from timesformer.outputs import writing

_READ_BYTES = 2**27
"""Decoded frames in memory at a time."""
_QUALITY = {"crf": "16"}
_GIF_SIDE, _GIF_FRAMES, _GIF_INTERVAL_S = 480, 150, 0.02
"""Limits of a GIF: the longer side, the number of frames, and the least time between two that browsers respect."""


def write_strip(explanation: Explanation, path: str | Path) -> None:
    """Write a PNG: every frame of the view with its heat map, the color scale and the curve over time.

    Frames are scaled to fit; the color scale is the same for all of them. The part of a frame outside the crop is gray
    and hatched.

    Args:
        explanation: What to draw.
        path: The file; an existing one is replaced.

    Raises:
        TimeSformerError: The file cannot be written.
    """
    path = Path(path)
    image = draw_strip(explanation)
    with writing(path), replacing(path) as partial:
        image.save(partial, format="PNG")


def write_curve(explanation: Explanation, path: str | Path) -> None:
    """Write an SVG: the relevance of each frame of the view over seconds.

    Args:
        explanation: What to draw.
        path: The file; an existing one is replaced.

    Raises:
        TimeSformerError: The file cannot be written.
    """
    path = Path(path)
    with writing(path), replacing(path) as partial:
        partial.write_text(svg(explanation), encoding="utf-8")


def write_clip(
    explanation: Explanation,
    path: str | Path,
    *,
    video: str | os.PathLike[str] | FrameArray,
    allow_codecs: Collection[str] = (),
) -> None:
    """Write an MP4 or a GIF: every frame of the video from the first to the last of the view, with its heat map.

    Between the frames of the view the maps are interpolated linearly in time. Frames are upright. An MP4 has their
    original size and times; an odd height or width is made even by repeating the last row or column, because H.264 in
    4:2:0 needs even sides. A GIF has at most 480 pixels a side and 150 frames, 50 a second: of a larger video it is a
    smaller picture, of a longer or faster one it has every second frame, every third, and so on.

    Args:
        explanation: What to draw.
        path: The file, `.mp4` or `.gif`; an existing one is replaced.
        video: The explained video: its path, or its frames as uint8 `[t, h, w, 3]`.
        allow_codecs: As in `timesformer.data.video.reader.open_reader`.

    Raises:
        ConfigError: The path has another suffix.
        DataError: The video is not the explained one: it has another size, or too few frames.
        DecodeError, CodecError: The video cannot be read.
        TimeSformerError: The file cannot be written.
    """
    path = Path(path)
    write = {".mp4": _write_mp4, ".gif": _write_gif}.get(path.suffix.lower())
    if write is None:
        raise ConfigError(f"{path}: a clip is written as .mp4 or .gif")
    with _open(explanation, video, allow_codecs=allow_codecs) as reader:
        _check_video(explanation, reader)
        with writing(path), replacing(path) as partial:
            write(explanation, partial, reader=reader)


def _open(
    explanation: Explanation, video: str | os.PathLike[str] | FrameArray, *, allow_codecs: Collection[str]
) -> Reader:
    if isinstance(video, str | os.PathLike):
        return open_reader(video, allow_codecs=allow_codecs)
    frames, seconds = np.unique(explanation.frames), np.unique(explanation.seconds)
    rate = (frames[-1] - frames[0]) / (seconds[-1] - seconds[0]) if len(seconds) > 1 else 1.0
    return FrameArrayReader(video, fps=float(rate))  # raises for what is not frames


def _check_video(explanation: Explanation, reader: Reader) -> None:
    expected, info = explanation.pixels.shape[1:3], reader.info
    if (info.height, info.width) != expected:
        raise DataError(
            f"the video has frames of {info.height}x{info.width} pixels, the explained one of "
            f"{expected[0]}x{expected[1]}: pass the video that was explained"
        )
    if info.num_frames <= explanation.frames.max():
        raise DataError(
            f"the video has {info.num_frames} frames, the explanation needs frame {explanation.frames.max()}: "
            "pass the video that was explained"
        )


def _write_mp4(explanation: Explanation, path: Path, *, reader: Reader) -> None:
    indices = np.arange(explanation.frames.min(), explanation.frames.max() + 1)
    times = reader.times[indices]
    frames = map(with_even_sides, _overlays(explanation, indices, times=times, reader=reader))
    write_timed_mp4(path, frames, times=times - times[0], quality=_QUALITY)


def _write_gif(explanation: Explanation, path: Path, *, reader: Reader) -> None:
    first, last = int(explanation.frames.min()), int(explanation.frames.max())
    end = float(reader.times[last]) + 1 / reader.info.fps
    indices = np.arange(first, last + 1, _step(reader.times[first : last + 1]))
    times = reader.times[indices]
    frames = [_paletted(frame) for frame in _overlays(explanation, indices, times=times, reader=reader)]
    frames[0].save(
        path,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=_durations_ms(times, end=end),
        loop=0,
    )


def _overlays(
    explanation: Explanation, indices: np.ndarray, *, times: Float64[np.ndarray, " n"], reader: Reader
) -> Iterator[Picture]:
    """Frames with their heat maps, a few in memory at a time."""
    scale = float(explanation.map.max())
    seconds = reader.times[explanation.frames]
    per_read = max(1, _READ_BYTES // explanation.pixels[0].nbytes)
    for start in range(0, len(indices), per_read):
        part = slice(start, start + per_read)
        maps = interpolated(explanation.map, seconds=seconds, at=times[part])
        for frame, relevance in zip(reader.read(indices[part].tolist()), maps, strict=True):
            yield overlay(frame, relevance, scale=scale, box=explanation.box)


def _step(times: Float64[np.ndarray, " n"]) -> int:
    """Distance between the frames of a GIF, in frames of the video: the least within its limits."""
    fastest = len(times) * _GIF_INTERVAL_S / max(float(times[-1] - times[0]), _GIF_INTERVAL_S)
    return max(1, math.ceil(len(times) / _GIF_FRAMES), math.floor(fastest))


def _durations_ms(times: Float64[np.ndarray, " n"], *, end: float) -> list[int]:
    """Time of each frame in milliseconds, in the hundredths of a second that GIF stores; errors do not add up."""
    edges = [round(100 * (time - times[0])) for time in (*times.tolist(), end)]
    return [10 * max(2, after - before) for before, after in pairwise(edges)]


def _paletted(frame: Picture) -> Image.Image:
    image = Image.fromarray(frame)
    image.thumbnail((_GIF_SIDE, _GIF_SIDE), Image.Resampling.LANCZOS)
    return image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
