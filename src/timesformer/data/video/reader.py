"""The one way to open a video: a file, a folder of frames, or a member of a tar file, all with one interface."""

import os
from collections.abc import Collection, Iterable
from typing import SupportsIndex

import numpy as np
from jaxtyping import UInt8

from timesformer.data.video.codecs import allowed_codecs
from timesformer.data.video.file_reader import VideoInfo, VideoReader
from timesformer.data.video.frame_array import FrameArrayReader
from timesformer.data.video.frame_folder import FrameFolderReader
from timesformer.errors import DecodeError
from timesformer.files import is_address

Reader = VideoReader | FrameFolderReader | FrameArrayReader
"""Opens where a `with` statement enters, and then gives `info` and `read(indices)`."""


def open_reader(
    path: str | os.PathLike[str], *, num_threads: int = 1, allow_codecs: Collection[str] = ()
) -> VideoReader | FrameFolderReader:
    """The reader of a video, to be entered with `with`; nothing is opened before.

    Args:
        path: A video file, a folder of numbered pictures (see `timesformer.data.video.frame_folder`), or a video in a
            tar file, as `shard-000000.tar/clip.mp4`.
        num_threads: Threads that decode a file: see `VideoReader`. Pictures are decoded by one.
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`; pictures have none.

    Raises:
        DecodeError: The path is an address of the web.
        ConfigError: An argument is out of range, or a name in `allow_codecs` is unknown.
    """
    if is_address(path):
        raise DecodeError(f"{path} is an address, not a path: download it first, and name the file")
    if os.path.isdir(path):
        allowed_codecs(allow_codecs)
        return FrameFolderReader(path)
    return VideoReader(path, num_threads=num_threads, allow_codecs=allow_codecs)


def probe(path: str | os.PathLike[str], *, allow_codecs: Collection[str] = ()) -> VideoInfo:
    """Count the frames of a video and measure its rate: read the file once, decode one frame.

    Args:
        path: As in `open_reader`. A folder of frames has no rate; it is taken for one of 30 frames a second.
        allow_codecs: As in `open_reader`.

    Raises:
        DecodeError: The file is missing or unreadable, holds no video stream, or no frame of it can be decoded.
        CodecError: Its codec is not among those that may be decoded.
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
            last frame, as in the released code. A frame of a file that cannot be decoded gives the nearest earlier good
            one, or the first good one where there is none; one of a folder is an error.
        allow_codecs: As in `open_reader`.

    Returns:
        Upright RGB frames, 0 to 255, in the size of `VideoInfo`. Transparency is dropped.

    Raises:
        DecodeError: The file is missing or unreadable, holds no video stream, or no frame of it can be decoded.
        CodecError: Its codec is not among those that may be decoded.
        ConfigError: A name in `allow_codecs` is unknown.
        DataError: `indices` is empty, or holds something that is not a whole number from 0.
    """
    with open_reader(path, allow_codecs=allow_codecs) as reader:
        return reader.read(indices)
