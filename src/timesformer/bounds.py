"""Upper bounds of what is read from a file, so that a small or damaged file cannot take all memory or time.

They lie far above what honest files hold. Two of them a user may raise, by an environment variable that all processes
of a run inherit.
"""

import io
import os
import stat
from pathlib import Path

from timesformer.errors import ConfigError, TimeSformerError

MAX_PIXELS = 2**26
"""Pixels of a frame or picture, twice those of an 8K frame; `TIMESFORMER_MAX_PIXELS` replaces it. Of pictures, Pillow
refuses those of more than 178,956,970 pixels in any case."""
MAX_FRAMES = 2**22
"""Frames of a video whose frames are indexed, 38 hours at 30 frames a second; `TIMESFORMER_MAX_FRAMES` replaces it."""
MAX_TAR_MEMBERS = 2**22
"""Members of a tar file."""
MAX_LIST_BYTES = 2**30
"""Bytes of a list or an annotation file, some ten million lines."""
MAX_CONFIG_BYTES = 2**26
"""Bytes of a config, of class names, of other JSON about a model, and of a timeline."""
MAX_EXPANSION = 64
"""Bytes of a compressed archive when unpacked, as a multiple of its size; of numbers, it packs less than a tenth."""
MIN_EXPANDED_BYTES = 2**26
"""Bytes that an archive may have when unpacked, whatever its size."""

TOO_LITTLE_MEMORY = "its frames need more memory than there is"
"""Message about a file that is within the bounds and too large for this machine, or for the limits of a process."""


def max_pixels() -> int:
    """`MAX_PIXELS`, or what the user set.

    Raises:
        ConfigError: The variable is not a positive whole number.
    """
    return _raised("TIMESFORMER_MAX_PIXELS", MAX_PIXELS)


def max_frames() -> int:
    """`MAX_FRAMES`, or what the user set.

    Raises:
        ConfigError: The variable is not a positive whole number.
    """
    return _raised("TIMESFORMER_MAX_FRAMES", MAX_FRAMES)


def too_many_pixels(width: int, height: int) -> str:
    """What is wrong with a picture of some size; empty if it may be read."""
    most = max_pixels()
    if width * height <= most:
        return ""
    return f"frames of {width}x{height} have more than {most} pixels; if you trust it, set TIMESFORMER_MAX_PIXELS"


def too_many_frames(count: int) -> str:
    """What is wrong with a number of frames; empty if they may be read."""
    most = max_frames()
    return "" if count <= most else f"more than {most} frames; if you trust it, set TIMESFORMER_MAX_FRAMES"


def read_bounded(path: str | os.PathLike[str], *, most: int, error: type[TimeSformerError]) -> bytes:
    """The content of a file or pipe.

    Args:
        path: The file.
        most: Largest number of bytes.
        error: Class of the error of a larger file.

    Raises:
        OSError: The file cannot be read.
        TimeSformerError: Of the given class: the file is larger, or is a device, which has no end.
    """
    with Path(path).open("rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            raise error(f"{path}: a device, not a file")
        content = b"" if status.st_size > most else file.read(most + 1)
    if max(status.st_size, len(content)) > most:
        raise error(f"{path}: more than the {most} bytes that are read of such a file")
    return content


def read_bounded_text(
    path: str | os.PathLike[str], *, most: int, error: type[TimeSformerError], encoding: str = "utf-8-sig"
) -> str:
    """The content of a text file, as `Path.read_text` gives it: see `read_bounded`.

    Raises:
        OSError, TimeSformerError: As `read_bounded`.
        UnicodeDecodeError: The file has another encoding.
    """
    content = read_bounded(path, most=most, error=error)
    return io.TextIOWrapper(io.BytesIO(content), encoding=encoding).read()


def check_expansion(path: str | os.PathLike[str], expanded: int, *, error: type[TimeSformerError]) -> None:
    """Refuse an archive that unpacks to far more than it holds.

    Args:
        path: The archive.
        expanded: Its bytes when unpacked.
        error: Class of the error.

    Raises:
        TimeSformerError: Of the given class: it does.
    """
    size = Path(path).stat().st_size
    if expanded > max(MAX_EXPANSION * size, MIN_EXPANDED_BYTES):
        raise error(f"{path}: {size} bytes that unpack to {expanded}, more than {MAX_EXPANSION} times as many")


def _raised(name: str, usual: int) -> int:
    text = os.environ.get(name)
    if text is None:
        return usual
    if not (text.isascii() and text.isdecimal() and int(text[:20]) > 0):
        raise ConfigError(f"{name}={text} must be a positive whole number; {usual} is used if it is not set")
    return int(text[:20])
