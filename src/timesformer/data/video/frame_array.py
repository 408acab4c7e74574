"""Frames in memory, read like a video."""

import math
from collections.abc import Iterable
from contextlib import suppress
from numbers import Real
from types import TracebackType
from typing import SupportsIndex

import numpy as np
from jaxtyping import Float64, UInt8
from torch import Tensor

from timesformer.data.video.file_reader import VideoInfo, checked_indices
from timesformer.data.video.timing import FrameTiming
from timesformer.errors import DataError

FrameArray = np.ndarray | Tensor
"""Upright RGB frames, 0 to 255: uint8 `[t, h, w, 3]`."""


class FrameArrayReader:
    """Frames in memory, with the interface of `VideoReader`.

    Args:
        frames: Upright RGB frames, 0 to 255: uint8 `[t, h, w, 3]`, an array or a tensor on any device.
        fps: Frame rate, in frames a second.

    Raises:
        DataError: The frames have another shape or type, or `fps` is not greater than 0 and finite.
    """

    def __init__(self, frames: FrameArray, *, fps: float) -> None:
        frames = frames.detach().cpu().numpy() if isinstance(frames, Tensor) else frames
        if not isinstance(frames, np.ndarray):
            raise DataError(
                f"a video is a path or RGB frames as uint8 [frames, height, width, 3] in an array, not {type(frames)}"
            )
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
            raise DataError(
                f"frames of shape {frames.shape} and type {frames.dtype} are not a video: "
                "allowed are RGB frames as uint8 [frames, height, width, 3]"
            )
        fps = _rate(fps)
        self._frames = frames
        num_frames, height, width, _ = frames.shape
        self.info = VideoInfo(
            num_frames=num_frames,
            fps=fps,
            height=height,
            width=width,
            duration_s=num_frames / fps,
            rotation=0,
            timing=FrameTiming(fps=fps, basis="caller").note,
        )
        """Size, length and timing of the video."""

    def __enter__(self) -> "FrameArrayReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @property
    def times(self) -> Float64[np.ndarray, " n"]:
        """Time of each frame, in seconds from the first."""
        return np.arange(len(self._frames)) / self.info.fps

    def read(self, indices: Iterable[SupportsIndex]) -> UInt8[np.ndarray, "t h w 3"]:
        """The given frames, in the given order, as `timesformer.read_frames`."""
        return self._frames[np.minimum(checked_indices(indices), self.info.num_frames - 1)]


def _rate(fps: object) -> float:
    with suppress(OverflowError):
        if isinstance(fps, Real) and 0 < (rate := float(fps)) < math.inf:
            return rate
    raise DataError(f"fps={str(fps)[:20]} must be greater than 0, and finite")
