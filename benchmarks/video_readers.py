"""Functions that read frames of a video file: ours, and those of other libraries. Each decodes on one thread."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from timesformer.bench.candidates import build_candidates
from timesformer.bench.whole_video import decode_on_one_thread, read_whole_video, to_rgb
from timesformer.data.video.reader import read_frames

Read = Callable[[Path, Sequence[int]], UInt8[Tensor, "t h w 3"]]
"""Opens the file, reads the frames of these indices, and closes it."""

OURS = "timesformer"


def readers(only: Sequence[str] = ()) -> tuple[dict[str, Read], dict[str, str]]:
    """The readers that can run here, ours first, and the reason for each that cannot.

    Args:
        only: Readers to compare with; all of them by default.

    Raises:
        ConfigError: There is no reader of a name.
    """
    # an installed library may fail to load: FFmpeg is missing, or it was built for another torch
    return build_candidates(_BUILDERS, only, unavailable=(ImportError, OSError, RuntimeError))


def _ours(path: Path, indices: Sequence[int]) -> UInt8[Tensor, "t h w 3"]:
    return torch.from_numpy(read_frames(path, indices))


def _whole_decode(path: Path, indices: Sequence[int]) -> UInt8[Tensor, "t h w 3"]:
    """Decode every frame, but convert only those of `indices` to pictures."""
    wanted = set(indices)
    pictures = {index: to_rgb(frame) for index, frame in enumerate(decode_on_one_thread(path)) if index in wanted}
    return torch.from_numpy(np.stack([pictures[index] for index in indices]))


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
        "whole video": lambda: read_whole_video,
        "whole decode": lambda: _whole_decode,
        "torchcodec": _torchcodec,
        "decord": _decord,
    }
)
"""A builder for each reader, which imports its library."""
