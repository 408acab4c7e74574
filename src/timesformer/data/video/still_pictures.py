"""Detection of still pictures, many of which FFmpeg opens as videos of one frame."""

import io
from fractions import Fraction

import av
from av.video.stream import VideoStream

PICTURE_FORMATS = frozenset({"ico", *(name for name in av.formats_available if name.endswith("_pipe"))})
"""FFmpeg's formats that contain only still pictures."""

_JPEG, _SEVERAL_JPEGS = b"\xff\xd8", b"MPF\0"


def picture_kind(head: bytes) -> str:
    """FFmpeg's name of a picture format, such as `png`; empty if the file is not a picture.

    Args:
        head: The first 64 kB of the file.
    """
    if head.startswith(_JPEG) and _SEVERAL_JPEGS in head:  # several views or exposures of one moment
        return "jpeg"
    options = {"format_whitelist": ",".join(PICTURE_FORMATS), "codec_whitelist": "none"}
    try:
        with av.open(io.BytesIO(head), "r", container_options=options) as container:
            return container.format.name.removesuffix("_pipe")
    except av.FFmpegError:
        return ""


def is_animated_webp(head: bytes) -> bool:
    """True for a WebP with several frames, by the first bytes of the file."""
    return head.startswith(b"RIFF") and head[8:16] == b"WEBPVP8X" and len(head) > 20 and bool(head[20] & 2)


def is_picture_item(stream: VideoStream) -> bool:
    """True for a picture of an AVIF or HEIF file; its video tracks, by contrast, have a time base."""
    return stream.frames == 1 and stream.duration is None and stream.time_base == Fraction(1)
