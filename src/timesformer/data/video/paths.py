"""Paths of videos: files with a known extension, and folders of numbered frames."""

import os
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

from timesformer.errors import DecodeError

VIDEO_SUFFIXES = (
    ".3g2",
    ".3gp",
    ".amv",
    ".asf",
    ".avc",
    ".avi",
    ".dav",
    ".dif",
    ".divx",
    ".dv",
    ".dvr-ms",
    ".evo",
    ".f4v",
    ".flv",
    ".gif",
    ".gxf",
    ".h261",
    ".h263",
    ".h264",
    ".h265",
    ".hevc",
    ".insv",
    ".ismv",
    ".ivf",
    ".m1v",
    ".m2p",
    ".m2t",
    ".m2ts",
    ".m2v",
    ".m4s",
    ".m4v",
    ".mj2",
    ".mjpeg",
    ".mjpg",
    ".mk3d",
    ".mkv",
    ".mov",
    ".mp2v",
    ".mp4",
    ".mp4v",
    ".mpe",
    ".mpeg",
    ".mpeg4",
    ".mpg",
    ".mpg4",
    ".mpv",
    ".mts",
    ".mxf",
    ".nut",
    ".obu",
    ".ogg",
    ".ogm",
    ".ogv",
    ".qt",
    ".rm",
    ".rmvb",
    ".swf",
    ".trp",
    ".ts",
    ".vc1",
    ".vob",
    ".webm",
    ".wmv",
    ".wtv",
    ".xvid",
    ".y4m",
)
"""File name extensions of videos, in lower case."""

_BEST_KNOWN = (".avi", ".mkv", ".mov", ".mp4", ".mpg", ".webm", ".wmv")
SUFFIXES_IN_SHORT = f"{' '.join(_BEST_KNOWN)} and {len(VIDEO_SUFFIXES) - len(_BEST_KNOWN)} others"
"""The best-known extensions and the number of others, for messages."""

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
"""File name extensions of frames in a folder, in lower case."""

# mmaction2's extraction writes optical flow into the same folder
_FRAME = re.compile(r"(?!\.|flow_[xy]_)(.*?)([0-9]+)(\.jpg|\.jpeg|\.png)", re.IGNORECASE)


def is_video(path: Path) -> bool:
    """True if a file has the extension of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_visible_video(path: Path) -> bool:
    """True for a video that is not a hidden file, such as the `._a.mp4` that macOS leaves next to `a.mp4`."""
    return is_video(path) and not path.name.startswith(".")


def parse_frame(name: str) -> tuple[str, int] | None:
    """File name pattern of a frame, such as `img_*.jpg`, and its number; None if the name is not that of a frame."""
    match = _FRAME.fullmatch(name)
    return (f"{match[1]}*{match[3]}", int(match[2])) if match else None


def holds_frames(folder: Path) -> bool:
    """True for a folder with at least one frame."""
    try:
        with os.scandir(folder) as entries:
            return any(parse_frame(entry.name) for entry in entries)
    except (OSError, ValueError):
        return False


def list_frames(folder: Path) -> list[Path]:
    """The frames of a folder, sorted by number.

    Raises:
        DecodeError: There are no frames or frames of several kinds, or a number is missing or occurs twice.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise DecodeError(f"{folder}: {error.strerror}") from error
    parsed = [(*frame, name) for name in names if (frame := parse_frame(name)) is not None]
    if not parsed:
        raise DecodeError(f"{folder}: a folder, not a video file, without frames such as 00001.jpg or img_00001.png")
    kinds = sorted({kind for kind, _, _ in parsed})
    if len(kinds) > 1:
        raise DecodeError(f"{folder}: frames of several kinds: {', '.join(kinds)}")
    numbered = sorted((number, name) for _, number, name in parsed)
    _check_steps(numbered, folder)
    return [folder / name for _, name in numbered]


def _check_steps(numbered: list[tuple[int, str]], folder: Path) -> None:
    pairs = list(pairwise(numbered))
    steps = Counter(second - first for (first, _), (second, _) in pairs)
    usual = max(steps, key=lambda step: (steps[step], -step), default=1)
    for (first, name), (second, next_name) in pairs:
        if first == second:
            raise DecodeError(f"{folder}: frame {first} exists twice: {name} and {next_name}")
        if second - first > usual:
            raise DecodeError(f"{folder}: frame {first + usual} is missing: {name} is followed by {next_name}")
        if second - first < usual:
            raise DecodeError(f"{folder}: {name} is followed by {next_name}, but the other numbers increase by {usual}")
