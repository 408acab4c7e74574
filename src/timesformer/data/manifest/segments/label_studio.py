"""Segments in exports of Label Studio: JSON and JSON_MIN of projects with timeline labels.

| region | value | unit |
|---|---|---|
| `timelinelabels` | `{"ranges": [{"start": 1, "end": 9}], "timelinelabels": ["a"]}` | frames from 1 to 9 |
| `labels` | `{"start": 0.5, "end": 2.4, "labels": ["a"]}` | seconds |

Label Studio counts frames at the `framerate` of its `Video` tag, 24 unless the project states another. If a task's data
has `fps`, which the tag can refer to as `$fps`, frames become seconds at that rate; otherwise frame k is the k-th frame
of the file, whose times are read.

Source: labelstud.io/tags/timelinelabels, labelstud.io/tags/video and HumanSignal/label-studio#3315, #7759.
"""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import parse_qs

import numpy as np
from jaxtyping import Float64

from timesformer.data.manifest.rows import AnnotationRow
from timesformer.data.manifest.segments.json_values import is_time, short
from timesformer.data.manifest.segments.media import find_media
from timesformer.data.manifest.video_finder import VideoFinder
from timesformer.data.video.paths import is_video
from timesformer.data.video.reader import open_reader
from timesformer.data.video.segment import Segment
from timesformer.errors import DataError, DecodeError

logger = logging.getLogger(__name__)

_ANNOTATIONS = ("annotations", "completions")
_VIDEO_KEYS = ("video", "video_url", "url", "file", "path")
_RATE_KEYS = ("fps", "framerate", "frame_rate", "frameRate")
_KINDS = ("timelinelabels", "labels")
_UPLOADED = re.compile(r"(.*/)?[0-9a-f]{8}-([^/]+)")
"""Path of an upload, whose name gets a prefix."""
_RATE_NOTE = (
    "%s: frames are counted at the rate of each file; %d videos have another rate than %g, Label Studio's default: if "
    "the framerate of its Video tag was not that of the file, add 'fps' to the data of the tasks"
)
_DEFAULT_FPS = 24.0
"""Rate of the `Video` tag in frames a second, if the project states none."""


@dataclass(frozen=True, slots=True)
class _Task:
    where: str
    data: Mapping[str, Any]
    annotations: Sequence[Sequence[Mapping[str, Any]]]
    """Regions of each annotator."""
    num_cancelled: int = 0


@dataclass(frozen=True, slots=True)
class _Region:
    label: str
    start: float
    end: float
    is_frames: bool


@dataclass(slots=True)
class _Clock:
    """Times of the frames of videos; each video is opened once."""

    times: dict[Path, Float64[np.ndarray, " n"]] = field(default_factory=dict)
    num_unlike: int = 0
    """Videos whose rate is not Label Studio's default."""

    def of(self, video: Path, *, where: str) -> Float64[np.ndarray, " n"]:
        """Time of each frame, and the end of the last, in seconds from the first frame."""
        if video not in self.times:
            try:
                with open_reader(video) as reader:
                    rate, times = reader.info.fps, reader.times
            except DecodeError as error:
                raise DataError(
                    f"{where}: frames have no times, since the video cannot be read: {error}; or add 'fps' to the "
                    "data of the task"
                ) from error
            self.num_unlike += abs(rate - _DEFAULT_FPS) > 0.01 * _DEFAULT_FPS
            self.times[video] = np.append(times, times[-1] + 1 / rate)
        return self.times[video]


def is_label_studio(content: object) -> TypeGuard[list[dict[str, Any]]]:
    """Whether the content of a JSON file is an export: a list of tasks."""
    if not isinstance(content, list) or not content or not all(isinstance(task, dict) for task in content):
        return False
    return _is_full(content[0]) or "annotation_id" in content[0]


def read_label_studio(path: Path, tasks: Sequence[Mapping[str, Any]]) -> list[AnnotationRow]:
    """Read the regions with timeline labels as segments.

    Predictions are not read. Cancelled annotations, tasks without a region, and regions of other kinds are left out,
    and counted in the log. Videos are searched by their path, then by their file name, with and without the prefix that
    an upload gets.

    Args:
        path: The file, for messages.
        tasks: Its content.

    Raises:
        DataError: A task names no video, annotators disagree, a region has several labels or no times, or a frame is
            not in the video; the message names the task.
    """
    finder, clock = VideoFinder(path.parent, suffix=".mp4"), _Clock()
    rows: list[AnnotationRow] = []
    num_empty, others = 0, Counter[str]()
    is_full = any(map(_is_full, tasks))
    grouped = [_full_task(task, path) for task in tasks] if is_full else _minimal_tasks(tasks)
    for task in grouped:
        regions, other = _regions(task, path)
        others += other
        num_empty += not regions
        rows += _rows(task, regions, path=path, finder=finder, clock=clock)
    _report(path, num_cancelled=sum(task.num_cancelled for task in grouped), num_empty=num_empty, others=others)
    if clock.num_unlike:
        logger.warning(_RATE_NOTE, path, clock.num_unlike, _DEFAULT_FPS)
    return rows


def _report(path: Path, *, num_cancelled: int, num_empty: int, others: Counter[str]) -> None:
    kinds = ", ".join(f"{kind}: {count}" for kind, count in sorted(others.items()))
    left_out = [
        f"{num_cancelled} cancelled annotations" if num_cancelled else "",
        f"{num_empty} tasks without timeline labels" if num_empty else "",
        f"regions of other kinds ({kinds})" if kinds else "",
    ]
    if any(left_out):
        logger.warning("%s: left out %s", path, ", ".join(filter(None, left_out)))


def _is_full(task: Mapping[str, Any]) -> bool:
    return "data" in task and any(key in task for key in _ANNOTATIONS)


def _full_task(task: Mapping[str, Any], path: Path) -> _Task:
    where = f"task {task.get('id', '?')}"
    given = next((task[key] for key in _ANNOTATIONS if key in task), [])
    data = task.get("data")
    if not isinstance(data, dict) or not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise DataError(f"{path}, {where}: its data or annotations are of another form: {short(task)}")
    kept = [one for one in given if not one.get("was_cancelled")]
    regions = [one.get("result") or [] for one in kept]
    if not all(isinstance(own, list) and all(isinstance(region, dict) for region in own) for own in regions):
        raise DataError(f"{path}, {where}: the result of an annotation is not a list of regions")
    return _Task(where, data, regions, num_cancelled=len(given) - len(kept))


def _minimal_tasks(items: Sequence[Mapping[str, Any]]) -> list[_Task]:
    """Tasks of JSON_MIN, which has one item for each annotator of a task, and regions under the name of their tag."""
    by_task: dict[str, list[Mapping[str, Any]]] = {}
    for item in items:
        by_task.setdefault(str(item.get("id", "?")), []).append(item)
    return [
        _Task(f"task {name}", own[0], [list(_minimal_regions(item)) for item in own]) for name, own in by_task.items()
    ]


def _minimal_regions(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    values = [value for given in item.values() if isinstance(given, list) for value in given if isinstance(value, dict)]
    return [{"type": kind, "value": value} for value in values for kind in _KINDS if kind in value]


def _regions(task: _Task, path: Path) -> tuple[list[_Region], Counter[str]]:
    """Regions with timeline labels, which all annotators agree on, and the number of others by kind."""
    where = f"{path}, {task.where}"
    others = Counter(str(region.get("type")) for own in task.annotations for region in own if not _is_timeline(region))
    parsed = [
        [one for region in own if _is_timeline(region) for one in _parse(region, where=where)]
        for own in task.annotations
    ]
    distinct = {tuple(sorted((r.start, r.end, r.label) for r in own)) for own in parsed}
    if len(distinct) > 1:
        raise DataError(
            f"{where}: its {len(parsed)} annotations differ: keep one of them in Label Studio, and export again"
        )
    return (parsed[0] if parsed else []), others


def _is_timeline(region: Mapping[str, Any]) -> bool:
    value = region.get("value")
    times = {"timelinelabels": "ranges", "labels": "start"}.get(str(region.get("type")))
    return isinstance(value, dict) and times in value


def _parse(region: Mapping[str, Any], *, where: str) -> list[_Region]:
    kind, value = region["type"], region["value"]
    labels = value.get(kind)
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
        raise DataError(f"{where}: a region has the labels {short(labels)}; a segment has one")
    is_frames = "ranges" in value
    ranges = value["ranges"] if is_frames else [value]
    if not isinstance(ranges, list) or not all(isinstance(one, dict) for one in ranges):
        raise DataError(f"{where}: {short(ranges)} is not a list of ranges such as {{'start': 1, 'end': 60}}")
    regions = []
    for one in ranges:
        times = one.get("start"), one.get("end")
        if not all(map(is_time, times)) or (is_frames and any(time != int(time) for time in times)):
            unit = "frame numbers" if is_frames else "seconds"
            raise DataError(f"{where}: a region from {short(times[0])} to {short(times[1])}: allowed are {unit}")
        regions.append(_Region(labels[0], *times, is_frames))
    return regions


def _rows(
    task: _Task, regions: Sequence[_Region], *, path: Path, finder: VideoFinder, clock: _Clock
) -> list[AnnotationRow]:
    if not regions:
        return []
    where = f"{path}, {task.where}"
    video = find_media(_video_paths(task.data, where=where), finder=finder)
    rate = _rate(task.data, where=where)
    rows = []
    for number, region in enumerate(regions, start=1):
        spot = f"{task.where}, region {number}"
        segment = _segment(region, video=video, rate=rate, clock=clock, where=f"{path}, {spot}")
        rows.append(AnnotationRow(path=video, label=region.label, where=spot, segment=segment))
    return rows


def _segment(region: _Region, *, video: Path, rate: float | None, clock: _Clock, where: str) -> Segment:
    if not region.is_frames:
        return Segment(float(region.start), float(region.end))
    first, last = int(region.start) - 1, int(region.end)
    if rate is not None:
        return Segment(first / rate, last / rate)
    times = clock.of(video, where=where)
    if not (0 <= first < len(times) > last >= 0):
        raise DataError(
            f"{where}: frames {first + 1} to {last}, but {video} has frames 1 to {len(times) - 1}: if the framerate of "
            "the Video tag differs from that of the file, add it to the data of the tasks as 'fps'"
        )
    return Segment(float(times[first]), float(times[last]))


def _rate(data: Mapping[str, Any], *, where: str) -> float | None:
    given = next((data[key] for key in _RATE_KEYS if data.get(key) not in (None, "")), None)
    if given is None:
        return None
    try:
        rate = float(given)
    except (TypeError, ValueError, OverflowError):
        rate = 0.0
    if not 0 < rate < 1e6:
        raise DataError(f"{where}: {short(given)} is not a rate in frames a second")
    return rate


def _video_paths(data: Mapping[str, Any], *, where: str) -> list[str]:
    """Possible paths of the video of a task."""
    texts = {key: value for key, value in data.items() if isinstance(value, str) and value}
    key = next((key for key in _VIDEO_KEYS if key in texts), None)
    others = [value for value in texts.values() if is_video(Path(value.partition("?")[0]))]
    if key is None and len(others) != 1:
        raise DataError(f"{where}: names {'no video' if not others else 'several videos'} in its data: {short(data)}")
    text = texts[key] if key is not None else others[0]
    address, _, query = text.partition("?")
    local = parse_qs(query).get("d", [])  # /data/local-files/?d=folder/clip.mp4
    whole = local[0] if local else address.rpartition("/")[2] if "://" in text else text
    uploaded = _UPLOADED.fullmatch(whole)
    return [whole] if uploaded is None else [whole, (uploaded[1] or "") + uploaded[2]]
