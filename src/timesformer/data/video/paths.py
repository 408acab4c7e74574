"""What the path of a video looks like: a file of a known extension, or a folder of numbered pictures, its frames."""

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
"""File name extensions, in small letters, by which a video is known."""

_BEST_KNOWN = (".avi", ".mkv", ".mov", ".mp4", ".mpg", ".webm", ".wmv")
SUFFIXES_IN_SHORT = f"{' '.join(_BEST_KNOWN)} and {len(VIDEO_SUFFIXES) - len(_BEST_KNOWN)} others"
"""The best known extensions of a video and the number of the others, for messages."""

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png")
"""File name extensions, in small letters, by which a frame in a folder is known."""

# optical flow, which mmaction2's extraction keeps in the same folder, is no frame
_FRAME = re.compile(r"(?!\.|flow_[xy]_)(.*?)([0-9]+)(\.jpg|\.jpeg|\.png)", re.IGNORECASE)


def is_video(path: Path) -> bool:
    """Whether a file name ends as a video's does."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_visible_video(path: Path) -> bool:
    """Whether a file found in a folder is a video; other systems leave hidden files such as `._a.mp4` beside them."""
    return is_video(path) and not path.name.startswith(".")


def parse_frame(name: str) -> tuple[str, int] | None:
    """The kind of a frame's file, such as `img_*.jpg`, and its number; None where the name is no frame's."""
    match = _FRAME.fullmatch(name)
    return (f"{match[1]}*{match[3]}", int(match[2])) if match else None


def holds_frames(folder: Path) -> bool:
    """Whether a path is a folder with at least one frame in it."""
    try:
        with os.scandir(folder) as entries:
            return any(parse_frame(entry.name) for entry in entries)
    except (OSError, ValueError):
        return False


def list_frames(folder: Path) -> list[Path]:
    """The frames of a folder in the order of their numbers.

    Raises:
        DecodeError: There are none, they are of several kinds, a number is missing, or one is there twice.
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
            raise DecodeError(f"{folder}: frame {first} is there twice: {name} and {next_name}")
        if second - first > usual:
            raise DecodeError(f"{folder}: frame {first + usual} is missing: {name} is followed by {next_name}")
        if second - first < usual:
            raise DecodeError(f"{folder}: {name} is followed by {next_name}, but other numbers rise by {usual}")
