"""Segments in JSON of ActivityNet, THUMOS14 and the like.

| form | content |
|---|---|
| annotation | `{"database": {id: {"subset", "duration", "annotations": [{"label", "segment": [start, end]}]}}}` |
| results | `{"results": {id: [{"label", "score", "segment": [start, end]}]}}`; scores are ignored |

Times are seconds. Source: the evaluation code of the ActivityNet challenge, github.com/activitynet/ActivityNet.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard

from timesformer.data.manifest.listed_paths import refuse_non_local
from timesformer.data.manifest.rows import AnnotationRow, read_json
from timesformer.data.manifest.segments.json_values import is_time, short
from timesformer.data.manifest.splits import parse_split
from timesformer.data.manifest.video_finder import VideoFinder
from timesformer.data.video.segment import Segment
from timesformer.errors import DataError, did_you_mean

logger = logging.getLogger(__name__)


def is_activitynet(content: object) -> TypeGuard[Mapping[str, Any]]:
    """Whether the content of a JSON file has one of the two forms."""
    return isinstance(content, dict) and any(isinstance(content.get(key), dict) for key in ("database", "results"))


def find_subsets(source: Path) -> dict[str, Path]:
    """Subsets of an ActivityNet file by split, such as `activity_net.json/training` for `train`; none for other paths.

    A split with several subsets is left out.
    """
    named = [(of.split, name) for name in _annotated_subsets(source) if (of := parse_split(name))]
    counts = Counter(split for split, _ in named)
    return {split: source / name for split, name in named if counts[split] == 1}


def read_activitynet(path: Path, content: Mapping[str, Any], *, subset: str = "") -> list[AnnotationRow]:
    """Read segments of one subset; a video without any is left out, and counted in the log.

    Videos are searched by id, with or without `v_` in front, in `videos`, in `frames`, next to the file and in folders
    named after the first label.

    Args:
        path: The file, for messages.
        content: Its content.
        subset: Name of the subset, in any case; may be empty if only one has segments.

    Raises:
        DataError: The content has another form, or several subsets and none is named; the message names the video.
    """
    if "database" not in content:
        videos = {str(key): {"annotations": value} for key, value in content["results"].items()}
    else:
        videos = content["database"]
        for name, video in videos.items():
            if not isinstance(video, dict):
                raise DataError(f"{path}, video {name}: {video!r} is not an object with 'annotations'")
    chosen = _choose(path, videos, subset=subset)
    finder = VideoFinder(path.parent, suffix=".mp4")
    rows, num_empty = [], 0
    for name, video in videos.items():
        if chosen is not None and _subset(video) != chosen:
            continue
        own = _read_video(name, video.get("annotations") or [], path=path, finder=finder)
        num_empty += not own
        rows += own
    if num_empty:
        logger.warning("%s: left out %d videos without segments", path, num_empty)
    return rows


def _annotated_subsets(source: Path) -> Counter[str]:
    """Number of videos with segments in each subset; empty if the path is not an ActivityNet file."""
    with suppress(DataError, OSError):
        if source.suffix.lower() == ".json" and source.is_file() and _may_be_object(source):
            content = read_json(source)
            if is_activitynet(content):
                return _count_subsets(content.get("database", {}))
    return Counter()


def _may_be_object(source: Path) -> bool:
    """Whether a JSON file may hold an object, so that large lists need not be read."""
    with source.open("rb") as file:
        return file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")


def _count_subsets(videos: Mapping[str, Any]) -> Counter[str]:
    return Counter(_subset(video) for video in videos.values() if isinstance(video, dict) and video.get("annotations"))


def _subset(video: Mapping[str, Any]) -> str:
    return str(video.get("subset", ""))


def _choose(path: Path, videos: Mapping[str, Any], *, subset: str) -> str | None:
    """The subset to read; None for all videos, which are then of one subset."""
    subsets = _count_subsets(videos)
    if subset:
        match = next((name for name in subsets if name.lower() == subset.lower()), None)
        if match is None:
            names = ", ".join(filter(None, subsets)) or "none"
            hint = did_you_mean(subset, subsets)
            raise DataError(f"{path} has no subset {subset!r} with segments; its subsets are: {names}{hint}")
        return match
    if len(subsets) > 1:
        counts = ", ".join(f"{name or 'none'}: {count}" for name, count in subsets.items())
        example = next(filter(None, subsets))
        raise DataError(f"{path} has several subsets ({counts} videos): name one of them, such as {path / example}")
    return None


def _read_video(name: str, annotations: object, *, path: Path, finder: VideoFinder) -> list[AnnotationRow]:
    where = f"video {name}"
    refuse_non_local(name, where=f"{path}, {where}")
    if not isinstance(annotations, list):
        raise DataError(f"{path}, {where}: its annotations are not a list, but {short(annotations)}")
    parsed = [
        (f"{where}, segment {number}", *_read_annotation(annotation, where=f"{path}, {where}, segment {number}"))
        for number, annotation in enumerate(annotations, start=1)
    ]
    stems = list(dict.fromkeys((name, f"v_{name}", name.removeprefix("v_"))))
    video = finder.find(stems, label=parsed[0][1]) if parsed else finder.root
    return [AnnotationRow(path=video, label=label, where=spot, segment=segment) for spot, label, segment in parsed]


def _read_annotation(annotation: object, *, where: str) -> tuple[str, Segment]:
    if not isinstance(annotation, dict) or not {"label", "segment"} <= annotation.keys():
        raise DataError(f"{where}: has no 'label' and 'segment', got {short(annotation)}")
    label, times = annotation["label"], annotation["segment"]
    if not isinstance(label, str | int) or isinstance(label, bool) or label == "":
        raise DataError(f"{where}: {short(label)} is not a label; a segment has one label, a text or a whole number")
    if not isinstance(times, list) or len(times) != 2 or not all(map(is_time, times)):
        raise DataError(f"{where}: {short(times)} is not a segment such as [1.5, 8.0], in seconds")
    return str(label), Segment(*map(float, times))
