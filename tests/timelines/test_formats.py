"""Each format is read back by somebody else's reader: times exact to the millisecond, labels to the character."""

import csv
import html
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import av
import jsonschema
import pympi
import pysubs2
import pytest
import webvtt

from made_timelines import LABELS, make_timeline
from timesformer.errors import ConfigError, DataError
from timesformer.timelines.formats import FORMATS
from timesformer.timelines.formats.write import check_formats, write
from timesformer.timelines.timeline import Gap, Timeline

TEXTS = [name for name in FORMATS if name != "mp4"]

Row = tuple[int, int, str]
"""Start and end in milliseconds, and the label."""


@pytest.fixture
def exclusive() -> Timeline:
    """One segment per label, two of them end to end."""
    starts = (0.0, 2.04, 7.52, 9.0, 12.0)
    ends = (2.04, 5.0, 8.999, 10.0004, 20.0)
    return make_timeline(list(zip(LABELS, starts, ends, strict=True)))


@pytest.fixture
def overlapping() -> Timeline:
    """Two classes at once, and one class twice."""
    first, second = LABELS[1:3]
    return make_timeline([(first, 1.0, 4.0), (second, 2.5, 6.0), (first, 5.0, 7.25)], mode="overlapping")


@pytest.fixture
def empty() -> Timeline:
    """A video in which nothing was found."""
    return make_timeline([])


def rows_of(timeline: Timeline) -> list[Row]:
    return [(round(item.start * 1000), round(item.end * 1000), item.label) for item in timeline.segments]


def written(timeline: Timeline, folder: Path, *, to: str) -> Path:
    path = folder / f"a b{FORMATS[to]}"
    write(timeline, path, to=to)
    return path


def read_webvtt(path: Path) -> list[Row]:
    """As webvtt-py reads it; entities are left to its user."""
    cues = webvtt.read(str(path), strict=True)
    return [(in_ms(cue.start_time), in_ms(cue.end_time), html.unescape(cue.raw_text)) for cue in cues]


def in_ms(time: webvtt.models.Timestamp) -> int:
    return ((time.hours * 60 + time.minutes) * 60 + time.seconds) * 1000 + time.milliseconds


def read_pysubs2(path: Path) -> list[Row]:
    """As pysubs2 reads WebVTT and SubRip; tags are kept, since it takes `<go>` for one."""
    subtitles = pysubs2.load(str(path), format_=path.suffix[1:], keep_html_tags=True)
    unescape = html.unescape if path.suffix == ".vtt" else str
    return [(event.start, event.end, unescape(event.text)) for event in subtitles]


def read_ffmpeg(path: Path) -> list[tuple[int, int]]:
    """Times as FFmpeg reads SubRip."""
    with av.open(str(path)) as file:
        return [(packet.pts, packet.pts + packet.duration) for packet in file.demux() if packet.size]


def read_elan(path: Path, *, tiers: str = "segments") -> dict[str, list[Any]]:
    """Annotations of each tier of a type, as pympi reads them."""
    eaf = pympi.Elan.Eaf(str(path))
    names = eaf.get_tier_ids_for_linguistic_type(tiers)
    return {name: sorted(eaf.get_annotation_data_for_tier(name)) for name in names}


def read_activitynet(path: Path, *, classes: tuple[str, ...]) -> dict[str, list[tuple[str, float, float, float]]]:
    """Detections, checked and read as the reference evaluator of ActivityNet does.

    Written from its rules, as its package is not published: the three fields are required, `results` maps a video's id
    to a list, each label must be a known class, the two ends and the score are numbers, and a segment has a length.
    Source: activitynet/ActivityNet, Evaluation/eval_detection.py.
    """
    data = json.loads(path.read_text("utf-8"))
    assert set(data) >= {"results", "version", "external_data"}
    numbers = {name: index for index, name in enumerate(classes)}
    detections = {}
    for video, results in data["results"].items():
        detections[video] = []
        for result in results:
            assert numbers[result["label"]] >= 0
            start, end = map(float, result["segment"])
            assert 0 <= start < end
            assert 0 <= float(result["score"]) <= 1
            detections[video].append((result["label"], start, end, result["score"]))
    return detections


LABEL_STUDIO = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["data", "predictions"],
        "properties": {
            "data": {"type": "object", "required": ["video"], "properties": {"video": {"type": "string"}}},
            "predictions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["result"],
                    "properties": {
                        "model_version": {"type": "string"},
                        "score": {"type": "number", "minimum": 0, "maximum": 1},
                        "result": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["id", "type", "from_name", "to_name", "value"],
                                "properties": {
                                    "id": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
                                    "type": {"const": "timelinelabels"},
                                    "from_name": {"type": "string"},
                                    "to_name": {"type": "string"},
                                    "score": {"type": "number", "minimum": 0, "maximum": 1},
                                    "value": {
                                        "type": "object",
                                        "required": ["ranges", "timelinelabels"],
                                        "additionalProperties": False,
                                        "properties": {
                                            "ranges": {
                                                "type": "array",
                                                "minItems": 1,
                                                "maxItems": 1,
                                                "items": {
                                                    "type": "object",
                                                    "required": ["start", "end"],
                                                    "additionalProperties": False,
                                                    "properties": {
                                                        "start": {"type": "integer", "minimum": 1},
                                                        "end": {"type": "integer", "minimum": 1},
                                                    },
                                                },
                                            },
                                            "timelinelabels": {
                                                "type": "array",
                                                "minItems": 1,
                                                "items": {"type": "string"},
                                            },
                                        },
                                    },
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
"""The documented fields: one range per region, in whole frames from 1.

Source: https://labelstud.io/guide/predictions (tasks, predictions, regions), https://labelstud.io/tags/timelinelabels
(`value`), and the example predictions in HumanSignal/label-studio-ml-backend, examples/yolo (frames from 1).
"""


def read_label_studio(path: Path) -> dict[str, Any]:
    """The only task, after the schema."""
    tasks = json.loads(path.read_text("utf-8"))
    jsonschema.validate(tasks, LABEL_STUDIO)
    (task,) = tasks
    return task


def test_webvtt_is_read_by_webvtt_py_and_pysubs2(exclusive: Timeline, tmp_path: Path):
    path = written(exclusive, tmp_path, to="vtt")
    assert read_webvtt(path) == read_pysubs2(path) == rows_of(exclusive)


def test_overlapping_segments_are_overlapping_cues_in_webvtt(overlapping: Timeline, tmp_path: Path):
    path = written(overlapping, tmp_path, to="vtt")
    assert read_webvtt(path) == read_pysubs2(path) == rows_of(overlapping)


def test_subrip_is_read_by_pysubs2_and_ffmpeg(exclusive: Timeline, tmp_path: Path):
    path = written(exclusive, tmp_path, to="srt")
    assert read_pysubs2(path) == rows_of(exclusive)
    assert read_ffmpeg(path) == [row[:2] for row in rows_of(exclusive)]


def test_overlapping_segments_share_cues_in_subrip(overlapping: Timeline, tmp_path: Path):
    first, second = LABELS[1:3]
    assert read_pysubs2(written(overlapping, tmp_path, to="srt")) == [
        (1000, 2500, first),
        (2500, 4000, rf"{first}\N{second}"),
        (4000, 5000, second),
        (5000, 6000, rf"{second}\N{first}"),
        (6000, 7250, first),
    ]


def test_hours_from_100_on_have_three_digits(tmp_path: Path):
    hour = 3600
    timeline = make_timeline([("clap", 99 * hour + 1.5, 100 * hour + 2.25)], duration=101 * hour)
    assert read_ffmpeg(written(timeline, tmp_path, to="srt")) == [(99 * hour * 1000 + 1500, 100 * hour * 1000 + 2250)]
    assert read_webvtt(written(timeline, tmp_path, to="vtt")) == rows_of(timeline)


@pytest.mark.parametrize(("to", "read"), [("vtt", read_webvtt), ("vtt", read_pysubs2), ("srt", read_pysubs2)])
def test_a_segment_below_a_millisecond_lasts_one(to: str, read: Any, tmp_path: Path):
    timeline = make_timeline([("clap", 1.0, 1.0001), ("-dash", 1.0001, 2.0)])
    assert read(written(timeline, tmp_path, to=to)) == [(1000, 1001, "clap"), (1001, 2000, "-dash")]


def test_elan_has_one_tier_if_nothing_overlaps(exclusive: Timeline, tmp_path: Path):
    path = written(exclusive, tmp_path, to="eaf")
    assert read_elan(path) == {"timesformer": rows_of(exclusive)}
    assert read_elan(path, tiers="scores") == {
        "timesformer (score)": [(start, end, "0.7500", label) for start, end, label in rows_of(exclusive)]
    }


def test_elan_has_one_tier_per_class_in_overlapping_mode(overlapping: Timeline, tmp_path: Path):
    first, second = LABELS[1:3]
    assert read_elan(written(overlapping, tmp_path, to="eaf")) == {
        first: [(1000, 4000, first), (5000, 7250, first)],
        second: [(2500, 6000, second)],
    }


def test_elan_names_tiers_of_scores_apart_from_classes(tmp_path: Path):
    classes = ("clap", "clap (score)")
    timeline = make_timeline([(classes[0], 0, 1), (classes[1], 0, 1)], mode="overlapping", classes=classes)
    path = written(timeline, tmp_path, to="eaf")
    assert list(read_elan(path)) == list(classes)
    assert list(read_elan(path, tiers="scores")) == ["clap (score)*", "clap (score) (score)"]


def test_elan_names_the_video_absolutely_and_relatively(tmp_path: Path):
    video = tmp_path / "videos" / "a%b é.mov"
    video.parent.mkdir()
    video.touch()
    (tmp_path / "out").mkdir()
    (media,) = pympi.Elan.Eaf(
        str(written(make_timeline([], path=str(video)), tmp_path / "out", to="eaf"))
    ).get_linked_files()
    assert media == {
        "MEDIA_URL": f"file://{tmp_path.as_posix()}/videos/a%25b%20%C3%A9.mov",
        "RELATIVE_MEDIA_URL": "./../videos/a%25b%20%C3%A9.mov",
        "MIME_TYPE": "video/quicktime",
    }


def test_elan_files_say_when_they_were_written_and_their_times_ascend(overlapping: Timeline, tmp_path: Path):
    path = written(overlapping, tmp_path, to="eaf")
    eaf = pympi.Elan.Eaf(str(path))
    assert datetime.fromisoformat(eaf.adocument["DATE"]).tzinfo is not None
    assert (eaf.adocument["FORMAT"], eaf.adocument["VERSION"]) == ("3.0", "3.0")
    times = [int(time) for time in re.findall(r'TIME_VALUE="(\d+)"', path.read_text("utf-8"))]
    assert times == sorted(times)


def test_elan_refuses_control_characters(tmp_path: Path):
    timeline = make_timeline([("bell\a", 0, 1)], classes=["bell\a"])
    with pytest.raises(DataError, match=r"class 'bell\\x07' cannot be written to an ELAN file: it has a control char"):
        written(timeline, tmp_path, to="eaf")
    assert list(tmp_path.iterdir()) == []


def test_activitynet_results_pass_the_checks_of_its_evaluator(overlapping: Timeline, tmp_path: Path):
    found = read_activitynet(written(overlapping, tmp_path, to="activitynet"), classes=overlapping.classes)
    assert found == {"a b": [(item.label, item.start, item.end, item.score) for item in overlapping.segments]}


def test_label_studio_counts_frames_from_1_and_includes_the_last(exclusive: Timeline, tmp_path: Path):
    task = read_label_studio(written(exclusive, tmp_path, to="labelstudio"))
    assert task["data"] == {"video": "videos/a b.mp4", "fps": 25.0}
    (prediction,) = task["predictions"]
    assert prediction["model_version"] == "timesformer cdcdcdcdcdcd"
    assert prediction["score"] == 0.75
    values = [region["value"] for region in prediction["result"]]
    assert [value["timelinelabels"] for value in values] == [[label] for label in LABELS]
    ranges = [value["ranges"][0] for value in values]
    assert [(item["start"] - 1, item["end"]) for item in ranges] == [
        (item.start_frame, item.end_frame) for item in exclusive.segments
    ]


def test_label_studio_gets_frames_by_time_if_the_rate_varies(tmp_path: Path):
    timeline = make_timeline([("clap", 1.0, 3.0), ("-dash", 3.0, 3.001)], is_variable=True)
    task = read_label_studio(written(timeline, tmp_path, to="labelstudio"))
    assert task["data"]["note"].startswith("The frame rate of this video varies")
    ranges = [region["value"]["ranges"][0] for region in task["predictions"][0]["result"]]
    assert ranges == [{"start": 26, "end": 75}, {"start": 76, "end": 76}]


def test_csv_keeps_every_digit(tmp_path: Path):
    timeline = make_timeline([('say "hi", & <go>', 0.1 + 0.2, 10 / 3)])
    path = written(timeline, tmp_path, to="csv")
    (row,) = csv.DictReader(path.read_text("utf-8").splitlines())
    assert list(row) == ["path", "label", "start", "end", "score", "peak"]
    assert (row["path"], row["label"]) == ("videos/a b.mp4", 'say "hi", & <go>')
    assert (float(row["start"]), float(row["end"])) == (0.1 + 0.2, 10 / 3)
    assert (row["score"], row["peak"]) == ("0.75", "0.875")


def test_csv_names_the_video_from_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    video = tmp_path / "videos" / "clip.mp4"
    video.parent.mkdir()
    video.touch()
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(video.parent)
    timeline = make_timeline([("clap", 0, 1)], path="clip.mp4")
    above, beside = (written(timeline, folder, to="csv").read_text() for folder in (tmp_path, tmp_path / "out"))
    assert above.splitlines()[1].startswith('"videos/clip.mp4",')
    assert beside.splitlines()[1].startswith(f'"{video.as_posix()}",')


def test_json_has_everything(tmp_path: Path):
    timeline = make_timeline([("clap", 0, 1.5)], gaps=[Gap(start=3, end=4.5, reason="stream cut")])
    data = json.loads(written(timeline, tmp_path, to="json").read_text("utf-8"))
    assert data == json.loads(json.dumps(timeline.to_dict()))
    assert data["format"] == "timesformer.timeline/1"
    assert data["gaps"] == [{"start": 3, "end": 4.5, "reason": "stream cut"}]


def test_a_path_that_is_not_utf8_is_kept_in_json(tmp_path: Path):
    timeline = make_timeline([("clap", 0, 1)], path="caf\udce9.mp4")
    assert json.loads(written(timeline, tmp_path, to="json").read_text("utf-8"))["source"]["path"] == "caf\udce9.mp4"


def test_an_empty_timeline_is_a_valid_file_of_every_format(empty: Timeline, tmp_path: Path):
    paths = {to: written(empty, tmp_path, to=to) for to in TEXTS}
    assert read_webvtt(paths["vtt"]) == read_pysubs2(paths["vtt"]) == read_pysubs2(paths["srt"]) == []
    assert read_elan(paths["eaf"]) == {"timesformer": []}
    assert read_activitynet(paths["activitynet"], classes=empty.classes) == {"a b": []}
    assert read_label_studio(paths["labelstudio"])["predictions"][0]["result"] == []
    assert paths["csv"].read_text() == "path,label,start,end,score,peak\n"
    assert json.loads(paths["json"].read_text())["segments"] == []


def test_gaps_are_empty_time_in_formats_that_have_none(tmp_path: Path):
    segments = [("clap", 0.0, 3.0), ("clap", 4.5, 6.0)]
    gaps = [Gap(start=3, end=4.5, reason="stream cut")]
    with_gap, without = make_timeline(segments, gaps=gaps), make_timeline(segments)
    (tmp_path / "without").mkdir()
    for to in ("csv", "vtt", "srt", "activitynet", "labelstudio"):
        assert (
            written(with_gap, tmp_path, to=to).read_text() == written(without, tmp_path / "without", to=to).read_text()
        )


def test_a_file_is_replaced_only_on_request(exclusive: Timeline, tmp_path: Path):
    path = written(exclusive, tmp_path, to="vtt")
    with pytest.raises(ConfigError, match=r"a b.vtt: already exists; pass overwrite=True"):
        write(exclusive, path, to="srt")
    write(exclusive, path, to="srt", overwrite=True)
    assert path.read_text("utf-8").startswith("1\n")


def test_an_unknown_format_is_refused(exclusive: Timeline, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"to='webvtt' is not one of json, csv, vtt, .*, mp4; did you mean 'vtt'\?"):
        write(exclusive, tmp_path / "a.vtt", to="webvtt")


def test_formats_are_refused_before_the_work():
    check_formats(FORMATS, classes=LABELS, has_video=True)
    with pytest.raises(ConfigError, match=r"to='mp4' needs the video: pass video=\.\.\., or leave mp4 out for a"):
        check_formats(["json", "mp4"], classes=LABELS, has_video=False)
    with pytest.raises(DataError, match=r"class 'a\\x00' cannot be written to an ELAN file"):
        check_formats(["json", "eaf"], classes=["b", "a\0"], has_video=True)


def test_the_video_is_never_replaced(exclusive: Timeline, tmp_path: Path):
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"video")
    with pytest.raises(ConfigError, match=r"clip.mp4: is an input"):
        write(exclusive, video, to="json", video=video, overwrite=True)
    assert video.read_bytes() == b"video"
