"""Videos as a caller gives them: paths, frames in memory, one or several."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from timesformer.config.schema import ClipConfig
from timesformer.data.video.frame_array import FrameArray, FrameArrayReader
from timesformer.data.video.frame_folder import FRAMES_PER_SECOND
from timesformer.errors import ConfigError, DataError

Video = str | Path | FrameArray
"""A file, a folder of frames, a video in a tar file, or RGB frames in memory, uint8 `[t, h, w, 3]`."""


def as_list(video: Video | Sequence[Video]) -> tuple[Sequence[Video], bool]:
    """One video or several as a list, and whether it is one.

    Raises:
        DataError: It is neither.
    """
    if isinstance(video, str | Path | FrameArray):
        return [video], True
    if isinstance(video, bytes) or not isinstance(video, Iterable):
        raise DataError(f"a video is a path or RGB frames as uint8 [frames, height, width, 3], not {type(video)}")
    return video, False


def source_of(video: Video, *, fps: float | None) -> str | Path | FrameArrayReader:
    """A path as it is, or a reader of frames in memory.

    Args:
        video: A path or frames.
        fps: Frame rate of frames in memory; 30 by default.

    Raises:
        DataError: Frames in memory have the wrong shape or type.
        ConfigError: `fps` is given for a path.
    """
    if not isinstance(video, str | Path):
        return FrameArrayReader(video, fps=FRAMES_PER_SECOND if fps is None else fps)
    if fps is not None:
        raise ConfigError(f"fps={fps} is for frames in memory, but {video} is a file, which has its own frame rate")
    return video


def videos_per_batch(clip: ClipConfig, *, batch_size: int) -> int:
    """Number of videos that are read to fill a batch, at least 1; with `coverage` 1, whose views may be many."""
    return 1 if clip.sampling == "coverage" else max(1, batch_size // (clip.num_clips * clip.num_crops))
