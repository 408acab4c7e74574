"""Open any video: a file, a folder of frames or a member of a tar file, all with one interface."""

import os
from collections.abc import Collection, Iterable
from typing import SupportsIndex

import numpy as np
from jaxtyping import UInt8

from timesformer.data.video.codecs import allowed_codecs
from timesformer.data.video.file_reader import VideoInfo, VideoReader
from timesformer.data.video.frame_array import FrameArrayReader
from timesformer.data.video.frame_folder import FrameFolderReader
from timesformer.data.video.segment import Segment, SegmentReader
from timesformer.errors import DecodeError
from timesformer.files import is_address

Reader = VideoReader | FrameFolderReader | FrameArrayReader | SegmentReader
"""Context manager with `info`, `times` and `read(indices)`."""


def open_reader(
    path: str | os.PathLike[str],
    *,
    segment: Segment | None = None,
    num_threads: int = 1,
    allow_codecs: Collection[str] = (),
) -> Reader:
    """The reader of a video, for a `with` statement; nothing is opened before it is entered.

    Args:
        path: A video file, a folder of numbered pictures (see `timesformer.data.video.frame_folder`), or a video in a
            tar file, as `shard-000000.tar/clip.mp4`.
        segment: The part of the video to read; None reads all of it.
        num_threads: Decoding threads for a file: see `VideoReader`. Pictures are decoded by one thread.
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`; no effect on pictures.

    Raises:
        DecodeError: The path is a URL.
        ConfigError: An argument is out of range, or a name in `allow_codecs` is unknown.
    """
    if is_address(path):
        raise DecodeError(f"{path} is an address, not a path: download it first, and name the file")
    if os.path.isdir(path):
        allowed_codecs(allow_codecs)
        reader = FrameFolderReader(path)
    else:
        reader = VideoReader(path, num_threads=num_threads, allow_codecs=allow_codecs)
    return reader if segment is None else SegmentReader(reader, segment, path=path)


def probe(path: str | os.PathLike[str], *, allow_codecs: Collection[str] = ()) -> VideoInfo:
    """Count the frames of a video and measure its rate: one pass over the file, one frame decoded.

    Args:
        path: As in `open_reader`. A folder of frames is assumed to have 30 frames a second.
        allow_codecs: As in `open_reader`.

    Raises:
        DecodeError: The file is missing or unreadable, has no video stream, or no frame can be decoded.
        CodecError: The codec is not allowed.
        ConfigError: A name in `allow_codecs` is unknown.
    """
    with open_reader(path, allow_codecs=allow_codecs) as reader:
        return reader.info


def read_frames(
    path: str | os.PathLike[str], indices: Iterable[SupportsIndex], *, allow_codecs: Collection[str] = ()
) -> UInt8[np.ndarray, "t h w 3"]:
    """Decode the given frames, in the given order.

    Args:
        path: As in `open_reader`.
        indices: Frame numbers counted from 0 in presentation order; repeats allowed. A number past the end gives the
            last frame, as in the released code. A frame that cannot be decoded gives the nearest earlier good one, or
            the first good one if there is none; in a folder of frames it is an error.
        allow_codecs: As in `open_reader`.

    Returns:
        Upright RGB frames, 0 to 255, of the size in `VideoInfo`. Transparency is dropped.

    Raises:
        DecodeError: The file is missing or unreadable, has no video stream, or no frame can be decoded.
        CodecError: The codec is not allowed.
        ConfigError: A name in `allow_codecs` is unknown.
        DataError: `indices` is empty, or one is negative or not a whole number.
    """
    with open_reader(path, allow_codecs=allow_codecs) as reader:
        return reader.read(indices)
