"""Segments in tables: which columns hold them, how times are written, and which files are already cut."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.data.manifest.manifest import read_rows
from timesformer.data.manifest.segments.times import parse_seconds
from timesformer.data.video.segment import Segment
from timesformer.errors import DataError
from videos import touch


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def segments(path: Path, text: str) -> list[tuple[float, float] | None]:
    return [row.segment for row in read_rows(write(path, text))[0]]


# --- times ---


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12.5", 12.5),
        ("12", 12.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("1e-3", 0.001),
        ("-2", -2.0),
        ("01:02.5", 62.5),
        ("1:02", 62.0),
        ("90:00", 5400.0),
        ("1:00:02.125", 3602.125),
        ("00:00:02,125", 2.125),
        ("0:00.1", 0.1),
    ],
)
def test_times_are_seconds_or_a_clock(text, seconds):
    assert parse_seconds(text, where="here") == seconds


@pytest.mark.parametrize(
    "text",
    ["", "abc", "nan", "inf", "1:75", "1:60:00", "1:2:3:4", "0:0:12:15", "12.5s", "1.2.3", "5 6", "0x10", "1_0"],
)
def test_other_texts_are_not_times(text):
    with pytest.raises(DataError, match=r"^here: .* is not a time: allowed are seconds such as 12.5, MM:SS and HH"):
        parse_seconds(text, where="here")


def test_a_decimal_comma_is_read_only_where_it_is_one():
    assert parse_seconds("12,5", where="here", has_decimal_comma=True) == 12.5
    with pytest.raises(DataError, match=r"^here: '12,5' is not a time: write a decimal point$"):
        parse_seconds("12,5", where="here")


@given(st.integers(0, 10**9))
def test_milliseconds_survive_every_way_of_writing_them(ms):
    seconds, rest = divmod(ms, 1000)
    minutes, hours = seconds // 60, seconds // 3600
    texts = [
        f"{seconds}.{rest:03d}",
        f"{minutes}:{seconds % 60:02d}.{rest:03d}",
        f"{hours}:{minutes % 60:02d}:{seconds % 60:02d},{rest:03d}",
        repr(ms / 1000),
    ]
    assert [parse_seconds(text, where="here") for text in texts] == [ms / 1000] * 4


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_seconds_survive_a_table(tmp_path_factory, start, length):
    path = tmp_path_factory.mktemp("tables") / "list.csv"
    end = start + length + 1e-3
    text = f"path,label,start,end\na.mp4,wave,{start!r},{end!r}\n"
    assert segments(path, text) == [(start, end)]


# --- columns ---


@pytest.mark.parametrize(
    "columns",
    [
        "start,end",
        "Start,End",
        "start_time,end_time",
        "startTime,endTime",
        "starttime,endtime",
        "start time,end time",
        "t_start,t_end",
        "time_start,time_end",
        "begin,end",
        "begin,stop",
        "start,stop",
        "onset,offset",
        "onset_s,offset_s",
        "from,to",
        "start_s,end_s",
        "start_sec,end_sec",
        "start_seconds,end_seconds",
        "start_time_s,end_time_s",
        "Start (s),Stop (s)",
        "segment_start,segment_end",
        "clip-start,clip-end",
    ],
)
def test_columns_in_seconds(columns, tmp_path):
    text = f"path,label,{columns}\na.mp4,wave,,\na.mp4,clap,1.5,0:08\n"
    assert segments(tmp_path / "list.csv", text) == [None, (1.5, 8.0)]


@pytest.mark.parametrize(
    "columns", ["start_ms,end_ms", "startMs,endMs", "start_time_ms,end_time_ms", "begin ms,end ms"]
)
def test_columns_in_milliseconds(columns, tmp_path):
    text = f"path,label,{columns}\na.mp4,wave,1234,5001\n"
    assert segments(tmp_path / "list.csv", text) == [(1.234, 5.001)]


def test_seconds_are_read_if_the_same_range_is_in_frames_too(tmp_path):
    text = "path,label,start_frame,end_frame,start,end\na.mp4,wave,30,60,1,2\n"
    assert segments(tmp_path / "list.csv", text) == [(1.0, 2.0)]


@pytest.mark.parametrize("cells", [",", "0,", "0,-1", "-1,-1", "0.0,-1.0"])
def test_a_row_without_an_end_is_the_whole_video(cells, tmp_path):
    assert segments(tmp_path / "list.csv", f"path,label,start,end\na.mp4,wave,{cells}\n") == [None]


@pytest.mark.parametrize("separator", [",", ";", "\t", " "])
def test_separators_line_ends_and_byte_order_marks(separator, tmp_path):
    lines = ["path,label,start,end,group", "a.mp4,wave,0.5,1.5,anna", "b.mp4,clap,2,3,ben"]
    text = "\ufeff" + "".join(line.replace(",", separator) + "\r\n" for line in lines)
    path = tmp_path / "list.csv"
    path.write_bytes(text.encode())
    rows, names = read_rows(path)
    assert names is None
    assert [(row.path.name, row.label, row.segment, row.group, row.where) for row in rows] == [
        ("a.mp4", "wave", Segment(0.5, 1.5), "anna", "line 2"),
        ("b.mp4", "clap", Segment(2, 3), "ben", "line 3"),
    ]


def test_decimal_commas_of_a_file_with_semicolons_are_read(tmp_path):
    assert segments(tmp_path / "list.csv", "path;label;start;end\na.mp4;wave;0,5;1,25\n") == [(0.5, 1.25)]


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("3,3", "a segment from 3 to 3 s: it must end after it starts"),
        ("0,0", "a segment from 0 to 0 s: it must end after it starts"),
        ("5,3", "a segment from 5 to 3 s: it must end after it starts"),
        ("-2,3", "a segment from -2 to 3 s: times are seconds from the start, 0 or more"),
        ("1e999,3", "times are seconds from the start"),
    ],
)
def test_impossible_segments_are_refused_or_left_to_a_check(cells, message, tmp_path):
    path = write(tmp_path / "list.csv", f"path,label,start,end\na.mp4,wave,1,2\na.mp4,wave,{cells}\na.mp4,wave,9,1\n")
    with pytest.raises(DataError, match=rf"list.csv, line 3: .*{message}"):
        read_rows(path)
    assert [row.where for row in read_rows(path, checks_segments=False)[0]] == ["line 2", "line 3", "line 4"]


def test_a_start_that_occurs_twice_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"list.csv: the header has the column 'start' twice: rename or remove one"):
        segments(tmp_path / "list.csv", "path,label,start,end,start\na.mp4,wave,1,2,3\n")


# --- files that are cut ---


def test_a_file_named_after_its_range_is_read_whole(tmp_path):
    text = "path,label,time_start,time_end\nx_000003_000013.mp4,wave,3,13\nx_3-13.mp4,wave,3.0,13.0\nx.mp4,wave,3,13"
    assert segments(tmp_path / "list.csv", text) == [None, None, (3.0, 13.0)]
    text = "path,label,start_frame,end_frame\nx_30_60.mp4,wave,30,60\n"
    assert segments(tmp_path / "list.csv", text) == [None]


def test_a_file_whose_name_is_one_of_its_ranges_by_chance_is_not_cut(tmp_path):
    text = "path,label,start,end\ns5_0_2.mp4,clap,2.5,4\ns5_0_2.mp4,wave,0.0,2.0\n"
    assert segments(tmp_path / "list.csv", text) == [(2.5, 4.0), (0.0, 2.0)]


def test_kinetics_prefers_the_cut_file_and_else_reads_the_segment_of_the_whole_one(tmp_path):
    touch(tmp_path, "videos/a.mp4", "a_000003_000013.mp4", "b.mkv", "wave/c.mp4")
    text = (
        "label,youtube_id,time_start,time_end,split\n"
        "wave,a,3,13,train\nwave,b,7,17,train\nclap,b,20,30,train\nwave,c,1.5,2.5,train\nwave,d,1,11,train\n"
    )
    rows, _ = read_rows(write(tmp_path / "train.csv", text))
    assert [(row.path.relative_to(tmp_path).as_posix(), row.segment) for row in rows] == [
        ("a_000003_000013.mp4", None),
        ("b.mkv", (7, 17)),
        ("b.mkv", (20, 30)),
        ("wave/c.mp4", (1.5, 2.5)),
        ("videos/d_000001_000011.mp4", None),
    ]


def test_clips_of_a_json_may_have_a_start_and_an_end(tmp_path):
    clips = [{"id": "a", "label": "wave", "start": 1.5, "end": 4}, {"id": "b", "label": "clap", "start": None}]
    (tmp_path / "clips.json").write_text(json.dumps(clips))
    assert [row.segment for row in read_rows(tmp_path / "clips.json")[0]] == [(1.5, 4.0), None]
