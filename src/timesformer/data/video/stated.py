"""What the header of a video file states, read before any frame is asked for."""

import os
from collections.abc import Collection
from typing import NamedTuple

from timesformer.data.video.container import open_video
from timesformer.data.video.header import read_header


class StatedSize(NamedTuple):
    """Size and length of a video according to its header, which may be wrong."""

    width: int
    """Pixels; 0 if not stated."""
    height: int
    num_frames: int
    """Number of frames, computed from duration and rate if the header has none; at least 1."""
    duration_s: float
    """Duration in seconds, computed from the number of frames if the header has none; 0 if it has neither."""


def read_stated_size(path: str | os.PathLike[str], *, allow_codecs: Collection[str] = ()) -> StatedSize:
    """Open a file and read its header.

    Args:
        path: The file.
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`.

    Raises:
        DecodeError: The file cannot be opened as a video.
        CodecError: The codec is not allowed.
        ConfigError: A name in `allow_codecs` is unknown.
    """
    container, stream = open_video(path, num_threads=1, allow_codecs=allow_codecs)
    with container:
        header = read_header(container, stream)
        duration_s = header.end_s or header.num_frames / float(header.rate)
        return StatedSize(stream.width, stream.height, header.num_expected, duration_s)
