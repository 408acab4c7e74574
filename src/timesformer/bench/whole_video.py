"""Decoding a video whole, on one thread, as the released code and naive scripts do."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
import torch
from av.video.frame import VideoFrame
from jaxtyping import UInt8
from torch import Tensor


def read_whole_video(path: Path, indices: Sequence[int]) -> UInt8[Tensor, "t h w 3"]:
    """Decode every frame of a file, stack all pictures and select those of `indices`, as in the released code."""
    return torch.from_numpy(np.stack([to_rgb(frame) for frame in decode_on_one_thread(path)]))[list(indices)]


def decode_on_one_thread(path: Path) -> Iterator[VideoFrame]:
    """Every frame of a video file, from first to last."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_count, stream.thread_type = 1, "NONE"
        yield from container.decode(stream)


def to_rgb(frame: VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
    """The picture of a frame, 0 to 255."""
    # a pool of the scaler left behind would hang a forked worker
    return frame.reformat(format="rgb24", threads=1).to_ndarray()
