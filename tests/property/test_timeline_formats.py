"""Any segments and labels survive the formats of timelines."""

import html
import tempfile
from itertools import pairwise
from pathlib import Path

import pympi
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from made_timelines import make_timeline
from timesformer.timelines.formats.write import write

label_text = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="\ufffe\uffff"), min_size=1
)
labels = label_text.map(str.strip).filter(bool)


@st.composite
def labeled_times(draw: st.DrawFn) -> tuple[list[str], list[tuple[str, float, float]]]:
    """Classes with any names, and segments from end to end or apart, each at least 2 ms long."""
    classes = draw(st.lists(labels, min_size=1, max_size=3, unique=True))
    steps = draw(st.lists(st.tuples(st.floats(0, 50), st.floats(0.002, 50), st.sampled_from(classes)), max_size=6))
    segments, time = [], 0.0
    for pause, length, label in steps:
        start = time + pause
        time = start + length
        segments.append((label, start, time))
    return classes, segments


def in_ms(time: webvtt.models.Timestamp) -> int:
    return ((time.hours * 60 + time.minutes) * 60 + time.seconds) * 1000 + time.milliseconds


@given(labeled_times())
def test_times_are_off_by_half_a_millisecond_at_most_and_labels_are_exact(
    drawn: tuple[list[str], list[tuple[str, float, float]]],
):
    classes, segments = drawn
    timeline = make_timeline(segments, classes=classes, duration=1000.0)
    with tempfile.TemporaryDirectory() as folder:
        vtt, eaf = Path(folder) / "a.vtt", Path(folder) / "a.eaf"
        write(timeline, vtt, to="vtt")
        write(timeline, eaf, to="eaf")
        cues = [
            (in_ms(cue.start_time), in_ms(cue.end_time), html.unescape(cue.raw_text))
            for cue in webvtt.read(str(vtt), strict=True)
        ]
        annotations = sorted(pympi.Elan.Eaf(str(eaf)).get_annotation_data_for_tier("timesformer"))
    assert [label for *_, label in cues] == [segment.label for segment in timeline.segments]
    assert annotations == cues
    for (start, end, _), segment in zip(cues, timeline.segments, strict=True):
        assert start < end
        assert abs(start - segment.start * 1000) <= 0.5 + 1e-6
        assert abs(end - segment.end * 1000) <= 0.5 + 1e-6
    assert all(before[1] <= after[0] for before, after in pairwise(cues))
