"""Predictions that Label Studio imports."""

from typing import Any

from timesformer.timelines.formats.json_text import to_json
from timesformer.timelines.timeline import LabeledSegment, Source, Timeline

CONTROL, OBJECT = "timelineLabels", "video"
"""Names of the tags `TimelineLabels` and `Video` in the labeling config."""
VARIABLE_NOTE = (
    "The frame rate of this video varies: frames are those of the times in seconds at the mean rate `fps`, "
    "as Label Studio counts them, and not the frames of the file."
)


def to_label_studio(timeline: Timeline) -> str:
    """One task with one prediction, for a labeling config with `TimelineLabels`.

    Ranges are in frames from 1, both ends included, at the constant rate `data.fps`. If the rate of the video varies,
    they are computed from the times, since Label Studio knows frames only as time by rate; `data.note` says so.

    Source: https://labelstud.io/guide/predictions and https://labelstud.io/tags/timelinelabels
    """
    source, segments = timeline.source, timeline.segments
    note = {"note": VARIABLE_NOTE} if source.is_variable else {}
    prediction = {
        "model_version": f"timesformer {timeline.model['sha256'][:12]}",
        "score": sum(segment.score for segment in segments) / max(len(segments), 1),
        "result": [_region(segment, source, number=i) for i, segment in enumerate(segments, 1)],
    }
    task = {"data": {"video": source.path, "fps": source.fps, **note}, "predictions": [prediction]}
    return to_json([task])


def _region(segment: LabeledSegment, source: Source, *, number: int) -> dict[str, Any]:
    first, end = segment.start_frame, segment.end_frame
    if source.is_variable:
        first = round(segment.start * source.fps)
        end = max(round(segment.end * source.fps), first + 1)
    return {
        "id": f"segment-{number}",
        "type": "timelinelabels",
        "from_name": CONTROL,
        "to_name": OBJECT,
        "value": {"ranges": [{"start": first + 1, "end": end}], "timelinelabels": [segment.label]},
        "score": segment.score,
    }
