"""Detection results as evaluators of ActivityNet read them."""

from pathlib import PurePath

from timesformer.timelines.formats.json_text import to_json
from timesformer.timelines.timeline import Timeline


def to_activitynet(timeline: Timeline) -> str:
    """Results of one video; its id is the file's name without the extension. Segments are in seconds.

    Source: detection results of the ActivityNet challenge, http://activity-net.org/challenges/2020/tasks/anet_localization.html
    """
    detections = [
        {"label": segment.label, "score": segment.score, "segment": [segment.start, segment.end]}
        for segment in timeline.segments
    ]
    results = {PurePath(timeline.source.path).stem: detections}
    return to_json({"version": "VERSION 1.3", "results": results, "external_data": {}})
