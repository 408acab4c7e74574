"""Sampling of clips: which frames of a video, and which crops of a frame. Pure functions from numbers to numbers.

A dense clip of T frames spans L frames of the video, and its frames lie evenly from the first to the last of that span:

    video   |----------------------------------------------------|  n frames at `fps`
    clip             ^      ^      ^      ^      ^                  L = T * frame_stride * fps / target_fps
                   start                    start + L - 1

so their distance is (L - 1) / (T - 1) frames: 36.4, not 32, for the paper's 8 frames at stride 32. If the clip is
longer than the video, the last frame is repeated. An implausible rate, above 240 or below 1, is not followed: `fps` is
then taken to be `target_fps`, and `VideoInfo.timing` says so.

Source: the released data pipeline; Bertasius et al. 2021, section 4.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from timesformer.config.schema import ClipConfig
from timesformer.data.video.timing import is_plausible
from timesformer.errors import DataError


@runtime_checkable
class Timing(Protocol):
    """Frame count and frame rate of a video, such as a `timesformer.data.video.file_reader.VideoInfo`."""

    @property
    def num_frames(self) -> int:
        """Number of frames in the video, n."""

    @property
    def fps(self) -> float:
        """Frames a second."""


class Box(NamedTuple):
    """A rectangle of a frame, in pixels."""

    top: int
    left: int
    height: int
    width: int


def eval_clips(info: Timing, clip: ClipConfig, *, num_frames: int) -> list[list[int]]:
    """Choose the frames of all temporal views of a video for evaluation.

    Args:
        info: Frame count and frame rate of the video.
        clip: Sampling of the views.
        num_frames: Frames of the model's clip, T.

    Returns:
        For each view, in temporal order, `num_frames * clip.frames_per_channel_group` frame numbers from 0 to n - 1,
        never decreasing: they cover the same span as `num_frames` of them would.

    Raises:
        DataError: The video has no frames or no frame rate.
    """
    _check_timing(info)
    count = num_frames * clip.frames_per_channel_group
    if clip.sampling == "segment":
        return segment_clips(info.num_frames, num_frames=count, num_clips=clip.num_clips)
    if clip.sampling == "uniform":
        return uniform_clips(info.num_frames, num_frames=count, num_clips=clip.num_clips)
    length = clip_length(clip, num_frames=num_frames, fps=info.fps)
    starts = _EVAL_STARTS[clip.sampling](info.num_frames, length, clip.num_clips)
    return [dense_indices(start, length=length, num_frames=count, total=info.num_frames) for start in starts]


def train_clip(
    info: Timing, clip: ClipConfig, *, num_frames: int, generator: np.random.Generator, jitter: float = 0.0
) -> list[int]:
    """Draw the frames of one training clip.

    `dense`, `center` and `coverage` draw the start of a dense clip, uniformly over the video; `segment` draws one frame
    of each segment. `uniform` draws nothing: it sees the same frames as in evaluation.

    Args:
        info: Frame count and frame rate of the video.
        clip: Sampling of the clip.
        num_frames: Frames of the model's clip, T.
        generator: Source of the draws.
        jitter: Random speed, from 0 to less than 1. The span of a dense clip is multiplied by 1 - jitter to 1 + jitter;
            `segment` and `uniform` sample a random span of 1 - jitter of the video to all of it.

    Returns:
        `num_frames * clip.frames_per_channel_group` frame numbers from 0 to n - 1, never decreasing.

    Raises:
        DataError: The video has no frames or no frame rate.
    """
    _check_timing(info)
    count = num_frames * clip.frames_per_channel_group
    if clip.sampling in ("segment", "uniform"):
        first, total = random_span(info.num_frames, jitter=jitter, generator=generator)
        if clip.sampling == "segment":
            chosen = segment_draws(total, num_frames=count, generator=generator)
        else:
            chosen = uniform_indices(total, num_frames=count)
        return [first + index for index in chosen]
    length = clip_length(clip, num_frames=num_frames, fps=info.fps)
    if jitter:
        length = max(1.0, length * generator.uniform(1 - jitter, 1 + jitter))
    start = random_start(info.num_frames, length=length, generator=generator)
    return dense_indices(start, length=length, num_frames=count, total=info.num_frames)


def clip_length(clip: ClipConfig, *, num_frames: int, fps: float) -> float:
    """Compute the span of a dense clip, L, in frames of the video: a real number, at least 1."""
    fps = fps if is_plausible(fps) else clip.target_fps
    return max(1.0, num_frames * clip.frame_stride * fps / clip.target_fps)


def dense_indices(start: float, *, length: float, num_frames: int, total: int) -> list[int]:
    """Space `num_frames` frames evenly from `start` to `start + length - 1`, rounded down to whole numbers.

    Positions past the end of the video become its last frame. The released code computes them in single precision: a
    position that is a whole number may give the frame before.

    Args:
        start: First position, in frames of the video, from 0.
        length: Span of the clip in frames, L.
        num_frames: Frames of the clip, T.
        total: Frames of the video, n.
    """
    steps = max(num_frames - 1, 1)
    positions = (start + (length - 1) * i / steps for i in range(num_frames))
    # a position that rounding leaves just below a whole number is that frame
    return [int(min(max(position + 1e-9, 0), total - 1)) for position in positions]


def view_starts(total: int, length: float, num_clips: int) -> list[float]:
    """Place `num_clips` dense clips as released: view i of k at (n - L) * i / k, so that one view starts at 0.

    The last of several views ends before the end of the video. All start at 0 if the clip is longer than the video.
    """
    return [max(total - length, 0.0) * i / num_clips for i in range(num_clips)]


def center_start(total: int, length: float) -> float:
    """Place one dense clip in the middle of the video, as in the paper's text: at (n - L) / 2, at least 0."""
    return max(total - length, 0.0) / 2


def coverage_starts(total: int, length: float) -> list[float]:
    """Place dense clips end to end over the whole video: at 0, L, 2 L and so on, while the start lies in the video.

    The last clip keeps the length L, so it may run past the end, where it repeats the last frame; it counts as much as
    the others, even if only one of its frames is new. A video shorter than one clip gives one clip.

    Source: Bertasius et al. 2021, section 4.6 (HowTo100M).
    """
    return [i * length for i in range(int((total - 1) / length) + 1)]


def random_start(total: int, *, length: float, generator: np.random.Generator) -> float:
    """Draw the start of a dense training clip uniformly from 0 to n - L; 0 if the clip is longer than the video."""
    return float(generator.uniform(0.0, max(total - length, 0.0)))


def random_span(total: int, *, jitter: float, generator: np.random.Generator) -> tuple[int, int]:
    """Draw a span of 1 - jitter of a video to all of it, at a uniform position; all of it if jitter is 0.

    Returns:
        Its first frame, and its number of frames, at least 1.
    """
    if jitter == 0:
        return 0, total
    length = max(1, round(total * generator.uniform(1 - jitter, 1)))
    return int(generator.integers(0, total - length, endpoint=True)), length


def segments(total: int, *, num_frames: int) -> list[tuple[int, int]]:
    """Cut a video into T equal segments.

    Returns:
        First and last frame of each segment. Neighbors share a frame, as released; ties round to even.
    """
    size = (total - 1) / num_frames
    return [(round(size * i), round(size * (i + 1))) for i in range(num_frames)]


def segment_midpoints(total: int, *, num_frames: int) -> list[int]:
    """Take the middle frame of each of T equal segments, the earlier of two."""
    return segment_clips(total, num_frames=num_frames, num_clips=1)[0]


def segment_clips(total: int, *, num_frames: int, num_clips: int) -> list[list[int]]:
    """Cut each of T equal segments into k parts: clip j has the middle frame of part j of each, the earlier of two.

    One clip is `segment_midpoints`.
    """
    bounds = segments(total, num_frames=num_frames)
    return [
        [first + (last - first) * (2 * clip + 1) // (2 * num_clips) for first, last in bounds]
        for clip in range(num_clips)
    ]


def segment_draws(total: int, *, num_frames: int, generator: np.random.Generator) -> list[int]:
    """Draw one frame of each of T equal segments, both ends included."""
    bounds = segments(total, num_frames=num_frames)
    return [int(generator.integers(first, last, endpoint=True)) for first, last in bounds]


def uniform_indices(total: int, *, num_frames: int) -> list[int]:
    """Space T frames evenly from the first to the last, both included, rounded to the nearest frame, halves up.

    A single frame is the middle one (the earlier of two). If T exceeds the length of the video, frames repeat.
    """
    if num_frames == 1:
        return [(total - 1) // 2]
    steps = num_frames - 1
    return [(2 * i * (total - 1) + steps) // (2 * steps) for i in range(num_frames)]


def uniform_clips(total: int, *, num_frames: int, num_clips: int) -> list[list[int]]:
    """Shift T evenly spaced frames in k steps of a k-th of their distance, so that together they span the video.

    One clip is `uniform_indices`. The first of several clips has the first frame, the last one the last.
    """
    shift = (total - 1) / max(num_frames * num_clips - 1, 1)
    if num_clips == 1:
        return [uniform_indices(total, num_frames=num_frames)]
    return [[math.floor(shift * (num_clips * i + clip) + 0.5) for i in range(num_frames)] for clip in range(num_clips)]


def resized_size(
    height: int, width: int, *, crop: tuple[int, int], scale: float, aspect: float = 1.0
) -> tuple[int, int]:
    """Compute the size to which a frame is resized before cropping.

    The frame is made the smallest that covers the crop, times `scale`. For a square crop this is the released rule:
    the short side becomes round(scale * crop side) and the long side is floored.

    Args:
        height: Height of the frame in pixels.
        width: Width of the frame in pixels.
        crop: Height and width of the crop in pixels.
        scale: Side of the frame over side of the crop, on the tighter side; at least 1.
        aspect: Factor on the aspect ratio, width over height; 1 keeps it.

    Returns:
        Height and width in pixels, at least those of the crop.
    """
    crop_height, crop_width = crop
    reshaped_width = width * aspect
    # float quotients first, as released: exact integers differ by a pixel for a few sizes
    if reshaped_width * crop_height < height * crop_width:
        new_width = round(scale * crop_width)
        return max(math.floor(height / reshaped_width * new_width), crop_height), new_width
    new_height = round(scale * crop_height)
    return new_height, max(math.floor(reshaped_width / height * new_height), crop_width)


def crop_boxes(height: int, width: int, *, crop: tuple[int, int], num_crops: int) -> list[Box]:
    """Place the spatial views of a frame for evaluation.

    Args:
        height: Height of the frame in pixels.
        width: Width of the frame in pixels.
        crop: Height and width of the crop in pixels.
        num_crops: 1 (center) or 3 (left, center and right, or top, center and bottom: along the side that leaves
            more room). The center crop starts at ceil(room / 2), as released.

    Raises:
        DataError: The frame is smaller than the crop, or `num_crops` is neither 1 nor 3.
    """
    spare_height, spare_width = _spare_size(height, width, crop)
    top, left = math.ceil(spare_height / 2), math.ceil(spare_width / 2)
    if num_crops == 1:
        return [Box(top, left, *crop)]
    if num_crops != 3:
        raise DataError(f"num_crops={num_crops} must be 1 or 3")
    if spare_height > spare_width:
        return [Box(offset, left, *crop) for offset in (0, top, spare_height)]
    return [Box(top, offset, *crop) for offset in (0, left, spare_width)]


def eval_boxes(
    height: int, width: int, clip: ClipConfig, *, crop: tuple[int, int]
) -> tuple[tuple[int, int], list[Box]]:
    """Compute the spatial views of a frame for evaluation: see `transforms.eval_views`.

    Args:
        height: Height of the frame in pixels.
        width: Width of the frame in pixels.
        clip: Number of crops and their scale.
        crop: Height and width of a crop in pixels.

    Returns:
        Height and width to which the frame is resized, and the views in the resized frame, as `crop_boxes` orders them.
    """
    size = resized_size(height, width, crop=crop, scale=clip.test_scale if clip.num_crops == 1 else 1.0)
    return size, crop_boxes(*size, crop=crop, num_crops=clip.num_crops)


def random_box(
    height: int, width: int, *, crop: tuple[int, int], generator: np.random.Generator, jitter: float = 1.0
) -> Box:
    """Draw the crop of a training clip, uniformly over all positions.

    Args:
        height: Height of the frame in pixels.
        width: Width of the frame in pixels.
        crop: Height and width of the crop in pixels.
        generator: Source of the draws.
        jitter: Fraction of the room around the center in which the crop may lie: 1 is all of it, 0 the center.

    Raises:
        DataError: The frame is smaller than the crop.
    """
    top, left = (_draw_offset(room, jitter=jitter, generator=generator) for room in _spare_size(height, width, crop))
    return Box(top, left, *crop)


def _draw_offset(room: int, *, jitter: float, generator: np.random.Generator) -> int:
    # both ends included; the released code never draws the last position
    margin = round((1 - jitter) * room / 2)
    return int(generator.integers(min(margin, room // 2), max(room - margin, (room + 1) // 2), endpoint=True))


def _spare_size(height: int, width: int, crop: tuple[int, int]) -> tuple[int, int]:
    room = height - crop[0], width - crop[1]
    if min(room) < 0:
        raise DataError(f"a frame of {height} x {width} pixels is smaller than a crop of {crop[0]} x {crop[1]}")
    return room


def _check_timing(info: Timing) -> None:
    if info.num_frames < 1 or not 0 < info.fps < math.inf:
        raise DataError(f"num_frames={info.num_frames} and fps={info.fps} of a video must be greater than 0")


_EVAL_STARTS: dict[str, Callable[[int, float, int], list[float]]] = {
    "dense": view_starts,
    "center": lambda total, length, _: [center_start(total, length)],
    "coverage": lambda total, length, _: coverage_starts(total, length),
}
