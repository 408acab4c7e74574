"""Conversion of decoded frames to upright RGB pixels of one size."""

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from timesformer.data.video.container import orientation


class UprightFrames:
    """Converts the frames of a video; all get the size and the rotation of the first.

    Args:
        first: The first frame of the video.

    Raises:
        av.FFmpegError: The pixel format cannot be converted.
    """

    def __init__(self, first: VideoFrame) -> None:
        self._stored = first.height, first.width
        self.quarter_turns, self._is_mirrored = orientation(first.reformat(width=2, height=2, format="gray", threads=1))
        self._scaler = VideoReformatter()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels as displayed."""
        height, width = self._stored
        return (height, width) if self.quarter_turns % 2 == 0 else (width, height)

    def __call__(self, frame: VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
        """The pixels of a frame as displayed."""
        height, width = self._stored
        # One thread: by default the scaler has a thread pool, and a forked process hangs when it frees one.
        image = self._scaler.reformat(frame, width=width, height=height, format="rgb24", threads=1).to_ndarray()
        return np.rot90(image[:, ::-1] if self._is_mirrored else image, self.quarter_turns)
