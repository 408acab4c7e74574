"""Videos as annotation tools name them: by a path that often holds on the annotator's machine only."""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

from timesformer.data.manifest.video_finder import VideoFinder
from timesformer.data.video.file_stat import video_exists
from timesformer.data.video.paths import is_video
from timesformer.files import is_address

_FOREIGN = re.compile(r"[a-z][a-z0-9+.-]*://|[a-z]:[\\/]|\\\\", re.IGNORECASE)
"""Start of an address, or of a path on Windows."""


def find_media(given: Sequence[str], *, finder: VideoFinder) -> Path:
    """The first of the given paths that exists, or else a video of the same file name.

    Paths may be relative to the annotation file, `file:` addresses or percent-encoded. A path of another machine, such
    as `C:/videos/a.mp4`, counts by its file name, which is searched next to the annotation file and in `videos`. If
    nothing is found, the path returned is where the video is missing.

    Args:
        given: The paths, in the order of preference; at least one.
        finder: Finds videos from the folder of the annotation file.
    """
    texts = [form for text in map(_without_scheme, given) for form in dict.fromkeys((text, unquote(text)))]
    for text in texts:
        if video_exists(finder.root / text):
            return finder.root / text
    for name in map(_file_name, texts):
        found = finder.search([Path(name).stem if is_video(Path(name)) else name])
        if found is not None:
            return found
    is_elsewhere = Path(texts[0]).is_absolute() or is_address(texts[0]) or _FOREIGN.match(texts[0])
    return finder.root / (_file_name(texts[0]) if is_elsewhere else texts[0])


def _without_scheme(text: str) -> str:
    """A `file:` address as a path; any other text unchanged."""
    if not text.lower().startswith("file:"):
        return text
    path = text[len("file:") :]
    path = path[2:] if path.startswith("//") else path
    return path[1:] if re.match("/[a-z]:", path, re.IGNORECASE) else path  # file:///C:/videos/a.mp4


def _file_name(text: str) -> str:
    return text.partition("?")[0].replace("\\", "/").rstrip("/").rpartition("/")[2]
