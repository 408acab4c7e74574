"""Segments in the aggregated events of BORIS: columns of several versions, subjects and what is refused."""

import logging
from pathlib import Path

import pytest

from timesformer.data.manifest.manifest import read_rows
from timesformer.data.video.segment import Segment
from timesformer.errors import DataError
from videos import touch

COLUMNS = (
    "Observation id", "Observation date", "Description", "Observation type", "Source", "Time offset (s)",
    "Coding duration", "Media duration (s)", "FPS (frame/s)", "Subject",
    "Observation duration by subject by observation",
    "Behavior", "Behavioral category", "Modifier #1", "Behavior type", "Start (s)", "Stop (s)", "Duration (s)",
    "Media file name", "Image index start", "Image index stop", "Image file path start", "Image file path stop",
    "Comment start", "Comment stop",
)  # fmt: skip
EVENT = {
    "Observation id": "day 1", "Observation type": "Media file", "Source": "player #1:a.mp4", "Time offset (s)": "0.0",
    "Subject": "No focal subject", "Behavior": "grooming", "Behavior type": "STATE", "Start (s)": "1.500",
    "Stop (s)": "2.250", "Media file name": "a.mp4", "Comment start": "first",
}  # fmt: skip


def write(path: Path, *events: dict[str, str], separator: str = ",", newline: str = "\n") -> Path:
    """Write aggregated events; each is `EVENT` with the given cells replaced."""
    rows = [COLUMNS, *([{**EVENT, **event}.get(column, "") for column in COLUMNS] for event in events)]
    lines = [separator.join(f'"{cell}"' if separator in cell else cell for cell in row) for row in rows]
    path.write_bytes("".join(line + newline for line in lines).encode())
    return path


def cells(**given: str) -> dict[str, str]:
    """Cells by short names."""
    names = {
        "start": "Start (s)",
        "stop": "Stop (s)",
        "behavior": "Behavior",
        "kind": "Behavior type",
        "subject": "Subject",
        "media": "Media file name",
        "source": "Source",
        "offset": "Time offset (s)",
    }
    return {names[name]: cell for name, cell in given.items()}


@pytest.mark.parametrize(("name", "separator"), [("e.csv", ","), ("e.tsv", "\t"), ("e.csv", ";")])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_state_events_are_segments(name, separator, newline, tmp_path):
    second = cells(behavior="rearing, high", start="2.25", stop="7")
    path = write(tmp_path / name, {}, second, separator=separator, newline=newline)
    rows, names = read_rows(path)
    assert names is None
    assert [(row.path, row.label, row.segment, row.group, row.where) for row in rows] == [
        (tmp_path / "a.mp4", "grooming", Segment(1.5, 2.25), "", "line 2"),
        (tmp_path / "a.mp4", "rearing, high", Segment(2.25, 7), "", "line 3"),
    ]


def test_exports_of_older_versions_are_read(tmp_path):
    touch(tmp_path, "videos/6008.mp4")
    text = (
        "Observation id,Observation date,Media file,Total length,FPS,Subject,Behavior,Modifiers,Behavior type,"
        "Start (s),Stop (s),Duration (s),Comment start,Comment stop\n"
        "x,2021,T:/Coding Project/6008.mp4,1381.010,29.97,No focal subject,holding,,STATE,689.000,989.023,300.023,,\n"
    )
    (tmp_path / "old.csv").write_text(text)
    (row,), _ = read_rows(tmp_path / "old.csv")
    assert (row.path, row.segment) == (tmp_path / "videos/6008.mp4", (689.0, 989.023))


def test_decimal_commas_of_a_file_with_semicolons_are_read(tmp_path):
    path = write(tmp_path / "e.csv", cells(start="1,5", stop="2,25"), separator=";")
    assert read_rows(path)[0][0].segment == (1.5, 2.25)
    path.write_text("\ufeffsep=;\n" + path.read_text())
    assert [(row.segment, row.where) for row in read_rows(path)[0]] == [((1.5, 2.25), "line 3")]


def test_point_events_are_left_out_and_counted(tmp_path, caplog):
    path = write(tmp_path / "e.csv", {}, cells(kind="POINT", stop="1.5"), cells(kind="POINT", stop="NA"))
    with caplog.at_level(logging.WARNING):
        assert len(read_rows(path)[0]) == 1
    assert caplog.messages == [f"{path}: left out 2 point events, which have no duration"]
    with pytest.raises(DataError, match=r"e.csv has 1 point events and no state events: a segment needs a start"):
        read_rows(write(tmp_path / "e.csv", cells(kind="POINT")))


def test_subjects_are_groups_if_each_video_shows_one(tmp_path, caplog):
    rows, _ = read_rows(write(tmp_path / "e.csv", cells(subject="anna"), cells(subject="ben", media="b.mp4")))
    assert [row.group for row in rows] == ["anna", "ben"]
    with caplog.at_level(logging.WARNING):
        rows, _ = read_rows(write(tmp_path / "e.csv", cells(subject="anna"), cells(subject="ben")))
    assert [row.group for row in rows] == ["", ""]
    assert caplog.messages == [f"{tmp_path / 'e.csv'}: subjects are not used as groups, since some videos show several"]


def test_a_comment_may_hold_quotes_and_line_breaks(tmp_path):
    path = write(tmp_path / "e.csv", {}, cells(start="3", stop="4"))
    path.write_text(path.read_text().replace("first", '"two\nlines, ""quoted"""', 1))
    assert [(row.segment, row.where) for row in read_rows(path)[0]] == [((1.5, 2.25), "line 3"), ((3, 4), "line 4")]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (cells(stop="NA"), r"'grooming' has no 'stop \(s\)': code both in BORIS"),
        (cells(start=""), r"'grooming' has no 'start \(s\)'"),
        (cells(start="x"), r"column 'start \(s\)': 'x' is not a time"),
        (cells(start="1,5"), r"column 'start \(s\)': '1,5' is not a time: write a decimal point"),
        (cells(kind="WAVE"), "behavior type 'WAVE' is neither STATE nor POINT"),
        (cells(offset="12.5"), r"the observation has a time offset \(12.5 s\): set it to 0 in BORIS, export again"),
        (cells(source="player #1:a.mp4;b.mp4|player #2:c.mp4"), "the observation plays 2 files one after another"),
        (cells(media="NA"), r"the observation has no video \(Media file\)"),
        (cells(start="5", stop="2"), "a segment from 5 to 2 s: it must end after it starts"),
        (cells(behavior=""), "the class '' is not one line of text"),
    ],
)
def test_bad_events_are_refused_with_their_line(event, message, tmp_path):
    with pytest.raises(DataError, match=rf"e.csv, line 3.*{message}"):
        read_rows(write(tmp_path / "e.csv", {}, event))


def test_a_row_of_another_length_is_refused(tmp_path):
    path = write(tmp_path / "e.csv", {})
    path.write_text(path.read_text() + "a,b\n")
    with pytest.raises(DataError, match=r"e.csv, line 3: 2 fields, but the header has 25"):
        read_rows(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Observation id\tday 1\n\nMedia file(s)\n", "without 'behavior', 'behavior type', 'start"),
        ("Observation id,Behavior,Time,Status\nday 1,grooming,3,START\n", "without 'behavior type', 'start"),
        (
            "Observation id,Behavior,Behavior type,Start (s),Stop (s)\nday 1,grooming,STATE,1,2\n",
            "without 'media file name'",
        ),
    ],
)
def test_other_exports_are_refused_with_the_one_to_choose(text, message, tmp_path):
    (tmp_path / "e.csv").write_text(text)
    hint = "choose Observations > Export aggregated events, as CSV or TSV"
    with pytest.raises(DataError, match=rf"e.csv is an export of BORIS {message}.*{hint}"):
        read_rows(tmp_path / "e.csv")


def test_a_table_with_a_column_of_behaviors_is_not_an_export(tmp_path):
    (tmp_path / "t.csv").write_text("path,label,behavior\na.mp4,wave,x\n")
    assert [row.label for row in read_rows(tmp_path / "t.csv")[0]] == ["wave"]
