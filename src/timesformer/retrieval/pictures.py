"""Small pictures of the videos of an index, for pages: JPEG as data URLs."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from timesformer.data.video.reader import open_reader
from timesformer.data.video.segment import Segment
from timesformer.errors import DataError, DecodeError
from timesformer.html import data_url, encode
from timesformer.inference.read_ahead import read_ahead
from timesformer.jobs.folder import JobFolder, read_job
from timesformer.processes import num_cores

_QUALITY = 78
OnProgress = Callable[[int, int], None]


class Clip(NamedTuple):
    """A video or a segment of one."""

    path: str
    start: float | None
    end: float | None


class PictureOptions(NamedTuple):
    """How pictures are made."""

    height: int = 72
    """In pixels."""
    num_frames: int = 1
    """Frames side by side, evenly spaced; one is from the middle."""
    folder: Path | None = None
    """Folder of relative paths that do not exist from here, such as the working folder of a job."""
    allow_codecs: Collection[str] = ()
    """Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`."""


def pictures(
    clips: Sequence[Clip],
    options: PictureOptions,
    *,
    on_progress: OnProgress = lambda done, total: None,
) -> Iterator[str | None]:
    """The data URL of each clip's picture, in order; None for a video that is not there or cannot be decoded.

    Args:
        clips: The clips.
        options: How pictures are made.
        on_progress: Called with the pictures done and in total.
    """
    threads = num_cores()
    read = partial(_picture, options=options)
    found = read_ahead(read, clips, num_threads=threads, num_ahead=2 * threads)
    for done, picture in enumerate(found, start=1):
        on_progress(done, len(clips))
        yield picture


def working_folder(index: str | Path) -> Path | None:
    """The folder from which relative paths of the job of an index start; None if the index does not say."""
    try:
        stored = read_job(JobFolder(Path(index)))
    except DataError:
        return None
    folder = (stored or {}).get("working_folder")
    return Path(folder) if isinstance(folder, str) and folder else None


def located(path: str, folder: Path | None) -> Path:
    """A path of an index, from `folder` if it does not exist from here."""
    if folder is not None and not os.path.isabs(path) and not os.path.exists(path):
        return folder / path
    return Path(path)


def _picture(clip: Clip, *, options: PictureOptions) -> str | None:
    if not clip.path:
        return None
    segment = None if clip.start is None or clip.end is None else Segment(clip.start, clip.end)
    try:
        path = located(clip.path, options.folder)
        with open_reader(path, segment=segment, allow_codecs=options.allow_codecs) as reader:
            frames = reader.read(_spaced(reader.info.num_frames, options.num_frames))
    except (DecodeError, DataError):  # also a segment that lies outside of what is now in the file
        return None
    small = [_resized(frame, options.height) for frame in frames]
    return data_url(encode(np.concatenate(small, axis=1), kind="jpeg", quality=_QUALITY), "jpeg")


def _spaced(num_frames: int, count: int) -> list[int]:
    """Frames in the middles of `count` equal parts."""
    return [int((part + 0.5) * num_frames / count) for part in range(count)]


def _resized(frame: UInt8[np.ndarray, "h w 3"], height: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    width = max(1, min(4 * height, round(frame.shape[1] * height / frame.shape[0])))
    small = Image.fromarray(np.ascontiguousarray(frame)).resize((width, height), Image.Resampling.BOX)
    return np.asarray(small)
