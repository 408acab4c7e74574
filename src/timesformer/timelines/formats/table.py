"""Segments as a table with a header."""

import csv
import io
import os
from pathlib import Path

from timesformer.data.video.tar_member import is_there
from timesformer.timelines.timeline import Timeline

COLUMNS = ("path", "label", "start", "end", "score", "peak")


def to_csv(timeline: Timeline, *, folder: Path) -> str:
    """One row a segment, as `load_manifest` reads training segments: `path,label,start,end`, then `score,peak`.

    Times are in seconds, to the last digit, so that the same frames lie in the segment. The path is relative to the
    table if the video is below its folder, otherwise absolute; the address of a stream stays as it is.

    Args:
        folder: Folder of the table.
    """
    text = io.StringIO()
    text.write(f"{','.join(COLUMNS)}\n")
    rows = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    path = _listed(timeline.source.path, folder)
    for segment in timeline.segments:
        rows.writerow((path, segment.label, segment.start, segment.end, segment.score, segment.peak))
    return text.getvalue()


def _listed(path: str, folder: Path) -> str:
    if not is_there(path):
        return path
    video, folder = Path(os.path.abspath(path)), Path(os.path.abspath(folder))
    return (video.relative_to(folder) if video.is_relative_to(folder) else video).as_posix()
