"""Still pictures among video files: FFmpeg opens many of them as videos of one frame, which they are not."""

import io
from fractions import Fraction

import av
from av.video.stream import VideoStream

PICTURE_FORMATS = frozenset({"ico", *(name for name in av.formats_available if name.endswith("_pipe"))})
"""FFmpeg's formats that hold still pictures and nothing else."""

_JPEG, _SEVERAL_JPEGS = b"\xff\xd8", b"MPF\0"


def picture_kind(head: bytes) -> str:
    """FFmpeg's name of the kind of picture that a file is, such as `png`; empty where it is none.

    Args:
        head: The first bytes of the file, 64 kB or all.
    """
    if head.startswith(_JPEG) and _SEVERAL_JPEGS in head:  # views, or brightnesses, of one moment
        return "jpeg"
    options = {"format_whitelist": ",".join(PICTURE_FORMATS), "codec_whitelist": "none"}
    try:
        with av.open(io.BytesIO(head), "r", container_options=options) as container:
            return container.format.name.removesuffix("_pipe")
    except av.FFmpegError:
        return ""


def is_animated_webp(head: bytes) -> bool:
    """Whether a file is a WebP with several frames, by its first bytes."""
    return head.startswith(b"RIFF") and head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & 2)


def is_picture_item(stream: VideoStream) -> bool:
    """Whether a stream is a picture of an AVIF or HEIF file, and not one of its tracks: those have a clock."""
    return stream.frames == 1 and stream.duration is None and stream.time_base == Fraction(1)
