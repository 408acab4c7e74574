"""Subtitles: WebVTT and SubRip."""

import html
from collections.abc import Sequence
from itertools import pairwise

from timesformer.timelines.formats.milliseconds import to_milliseconds
from timesformer.timelines.timeline import LabeledSegment


def to_vtt(segments: Sequence[LabeledSegment]) -> str:
    """WebVTT with one cue per segment; cues overlap if segments do.

    Source: https://www.w3.org/TR/webvtt1/
    """
    blocks = ["WEBVTT\n"]
    for start, end, segment in to_milliseconds(segments):
        times = f"{_timestamp(start, point='.')} --> {_timestamp(end, point='.')}"
        blocks.append(f"{times}\n{html.escape(segment.label, quote=False)}\n")
    return "\n".join(blocks)


def to_srt(segments: Sequence[LabeledSegment]) -> str:
    """SubRip, whose cues never overlap: a cue has one line for each segment that covers it.

    Labels are not escaped, since SubRip has no escapes.
    """
    cues = sorted(to_milliseconds(segments), key=lambda cue: cue.start)
    edges = sorted({edge for cue in cues for edge in (cue.start, cue.end)})
    blocks: list[str] = []
    shown, next_cue = [], 0
    for start, end in pairwise(edges):
        shown = [cue for cue in shown if cue.end > start]
        while next_cue < len(cues) and cues[next_cue].start == start:
            shown.append(cues[next_cue])
            next_cue += 1
        if shown:
            times = f"{_timestamp(start, point=',')} --> {_timestamp(end, point=',')}"
            lines = (str(len(blocks) + 1), times, *(cue.segment.label for cue in shown))
            blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _timestamp(milliseconds: int, *, point: str) -> str:
    """Hours, minutes, seconds and milliseconds; hours have two digits, or more from 100 on."""
    seconds, thousandths = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{thousandths:03}"
