"""Ways to read some frames of a video file: ours, and what a user would otherwise take. Each decodes on one thread."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

import av
import numpy as np
import torch
from av.video.frame import VideoFrame
from jaxtyping import UInt8
from torch import Tensor

from timesformer.bench.candidates import build_ways
from timesformer.data.video.reader import read_frames

Read = Callable[[Path, Sequence[int]], UInt8[Tensor, "t h w 3"]]
"""Opens the file, reads the frames of these numbers, and closes it."""

OURS = "timesformer"


def readers(only: Sequence[str] = ()) -> tuple[dict[str, Read], dict[str, str]]:
    """All that can run here, ours first, and for each that cannot the reason.

    Args:
        only: Names of readers beside ours; all of them by default.

    Raises:
        ConfigError: There is no reader of a name.
    """
    # a library may be there and not load: without FFmpeg's own, or beside another torch
    return build_ways(_BUILDERS, only, unavailable=(ImportError, OSError, RuntimeError))


def _ours(path: Path, indices: Sequence[int]) -> UInt8[Tensor, "t h w 3"]:
    return torch.from_numpy(read_frames(path, indices))


def _whole_video(path: Path, indices: Sequence[int]) -> UInt8[Tensor, "t h w 3"]:
    """Decode every frame, make a picture of each, stack them all, and then choose: the way of the released code."""
    return torch.from_numpy(np.stack([_to_rgb(frame) for frame in _decode(path)]))[list(indices)]


def _whole_decode(path: Path, indices: Sequence[int]) -> UInt8[Tensor, "t h w 3"]:
    """Decode every frame, but make pictures only of those that are asked for."""
    asked = set(indices)
    pictures = {number: _to_rgb(frame) for number, frame in enumerate(_decode(path)) if number in asked}
    return torch.from_numpy(np.stack([pictures[index] for index in indices]))


def _decode(path: Path) -> Iterator[VideoFrame]:
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_count, stream.thread_type = 1, "NONE"
        yield from container.decode(stream)


def _to_rgb(frame: VideoFrame) -> UInt8[np.ndarray, "h w 3"]:
    # a pool of the scaler left behind would hang a forked worker
    return frame.reformat(format="rgb24", threads=1).to_ndarray()


def _torchcodec() -> Read:
    decoders = import_module("torchcodec.decoders")

    def read(path: Path, indices: Sequence[int]) -> UInt8[Tensor, "t h w 3"]:
        decoder = decoders.VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
        return decoder.get_frames_at(list(indices)).data

    return read


def _decord() -> Read:
    decord = import_module("decord")

    def read(path: Path, indices: Sequence[int]) -> UInt8[Tensor, "t h w 3"]:
        return torch.from_numpy(decord.VideoReader(str(path), num_threads=1).get_batch(list(indices)).asnumpy())

    return read


_BUILDERS: Mapping[str, Callable[[], Read]] = MappingProxyType(
    {
        OURS: lambda: _ours,
        "whole video": lambda: _whole_video,
        "whole decode": lambda: _whole_decode,
        "torchcodec": _torchcodec,
        "decord": _decord,
    }
)
"""Each reader, made where its library is there."""
