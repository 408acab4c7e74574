"""Segments in ELAN files, which pympi-ling writes: tiers, media and what is refused."""

import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pympi.Elan import Eaf

from timesformer.data.check.listing import read_listing
from timesformer.data.manifest.inputs import list_files
from timesformer.data.manifest.manifest import read_rows, source_exists
from timesformer.errors import DataError
from videos import touch

Annotations = list[tuple[int, int, str]]


def write(path: Path, *, media: str | None = "a.mp4", **tiers: Annotations) -> Path:
    """Write an ELAN file with annotations in ms on tiers."""
    eaf = Eaf()
    eaf.remove_tier("default")
    if media is not None:
        eaf.add_linked_file(f"file:///elsewhere/{media}", relpath=f"./{media}", mimetype="video/mp4")
    for tier, annotations in tiers.items():
        eaf.add_tier(tier)
        for start, end, value in annotations:
            eaf.add_annotation(tier, start, end, value)
    eaf.to_file(str(path))
    return path


def found(source: Path) -> list[tuple[str, str, Any]]:
    return [(row.path.name, row.label, row.segment) for row in read_rows(source)[0]]


WAVES: Annotations = [(100, 2000, "wave"), (2000, 2501, "clap")]


def test_annotations_of_the_only_tier_are_segments_in_seconds(tmp_path):
    touch(tmp_path, "a.mp4")
    path = write(tmp_path / "session.eaf", actions=WAVES, notes=[])
    rows, names = read_rows(path)
    assert names is None
    assert found(path) == [("a.mp4", "wave", (0.1, 2.0)), ("a.mp4", "clap", (2.0, 2.501))]
    assert [row.where for row in rows] == ["annotation a2 of tier 'actions'", "annotation a3 of tier 'actions'"]


@given(st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, 10**6)), min_size=1, max_size=5, unique=True))
def test_milliseconds_survive_a_file(tmp_path_factory, spans):
    path = tmp_path_factory.mktemp("elan") / "a.eaf"
    starts = [sum(gap + length for gap, length in spans[:index]) + gap for index, (gap, _) in enumerate(spans)]
    annotations = [(start, start + length, "wave") for start, (_, length) in zip(starts, spans, strict=True)]
    rows, _ = read_rows(write(path, actions=annotations))
    assert [row.segment for row in rows] == [(start / 1000, end / 1000) for start, end, _ in annotations]


def test_several_tiers_are_refused_until_one_is_named(tmp_path):
    path = write(tmp_path / "s.eaf", hands=WAVES, speech=[(0, 500, "hello")])
    message = r"s.eaf has several tiers with annotations \(hands: 2, speech: 1\): name one of them, such as .*/hands$"
    with pytest.raises(DataError, match=message):
        read_rows(path)
    assert [label for _, label, _ in found(path / "speech")] == ["hello"]
    assert source_exists(path / "speech")
    message = r"s.eaf/hand does not exist, and .*s.eaf has no tier 'hand' with annotations; its tiers are: hands: 2, "
    with pytest.raises(DataError, match=message + r"speech: 1; did you mean 'hands'"):
        read_rows(path / "hand")


def test_a_folder_of_files_is_one_source(tmp_path, caplog):
    touch(tmp_path, "videos/a.mp4", "videos/b.mp4")
    write(tmp_path / "1.eaf", media="a.mp4", hands=WAVES)
    write(tmp_path / "2.eaf", media="b.mp4", hands=[(0, 10, "wave")], speech=[(0, 500, "hello")])
    with pytest.raises(DataError, match=r"has several tiers with annotations \(hands: 3, speech: 1\): name one"):
        read_rows(tmp_path)
    assert found(tmp_path / "hands") == [
        ("a.mp4", "wave", (0.1, 2.0)),
        ("a.mp4", "clap", (2.0, 2.501)),
        ("b.mp4", "wave", (0.0, 0.01)),
    ]
    assert [row.where.partition(",")[0] for row in read_rows(tmp_path / "hands")[0]] == ["1.eaf", "1.eaf", "2.eaf"]
    with caplog.at_level(logging.WARNING):
        assert found(tmp_path / "speech") == [("b.mp4", "hello", (0.0, 0.5))]
    assert caplog.messages == [f"{tmp_path / '1.eaf'}: no annotation in the tier 'speech'"]
    assert set(list_files(tmp_path / "hands")) >= {tmp_path / "1.eaf", tmp_path / "2.eaf"}


def test_a_check_lists_a_folder_of_files(tmp_path):
    touch(tmp_path, "a.mp4")
    write(tmp_path / "1.eaf", actions=WAVES)
    (tmp_path / "classes.txt").write_text("wave\nclap\n")
    listing = read_listing(tmp_path)
    assert listing.class_names == ("wave", "clap")
    assert [(video.path.name, video.label) for video in listing.videos] == [("a.mp4", 0), ("a.mp4", 1)]


# --- media ---


@pytest.mark.parametrize(
    ("media", "file"),
    [
        ("a.mp4", "a.mp4"),
        ("a.mp4", "videos/a.mp4"),
        ("clips/a b.mp4", "clips/a b.mp4"),
        ("clips/a%20b.mp4", "clips/a b.mp4"),
        ("../../a.mp4", "videos/a.mkv"),
        (None, "session.avi"),
    ],
)
def test_the_video_is_found_at_its_path_or_by_its_name(media, file, tmp_path):
    touch(tmp_path, file)
    rows, _ = read_rows(write(tmp_path / "session.eaf", media=media, actions=WAVES))
    assert rows[0].path == tmp_path / file


@pytest.mark.parametrize("url", ["file:///C:/recordings/a.mp4", "file:///elsewhere/a.mp4", "C:\\recordings\\a.mp4"])
def test_a_path_of_another_machine_counts_by_its_file_name(url, tmp_path):
    eaf = Eaf()
    eaf.add_linked_file(url, mimetype="video/mp4")
    eaf.add_annotation("default", 0, 10, "wave")
    eaf.to_file(str(tmp_path / "s.eaf"))
    assert read_rows(tmp_path / "s.eaf")[0][0].path == tmp_path / "a.mp4"
    touch(tmp_path, "videos/a.mp4")
    assert read_rows(tmp_path / "s.eaf")[0][0].path == tmp_path / "videos/a.mp4"


def test_sound_is_passed_over_and_the_offset_of_the_video_is_added(tmp_path):
    eaf = Eaf()
    eaf.add_linked_file("file:///x/a.wav", relpath="./a.wav", mimetype="audio/x-wav")
    eaf.add_linked_file("file:///x/b.mp4", relpath="./b.mp4", mimetype="video/mp4", time_origin=1500)
    eaf.add_annotation("default", 250, 1000, "wave")
    eaf.to_file(str(tmp_path / "s.eaf"))
    assert found(tmp_path / "s.eaf") == [("b.mp4", "wave", (1.75, 2.5))]


# --- what is refused ---

DOCUMENT = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="{units}"/><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="{start}"/>
<TIME_SLOT TIME_SLOT_ID="t2"/></TIME_ORDER><TIER TIER_ID="x"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1"
TIME_SLOT_REF1="t1" TIME_SLOT_REF2="t2"><ANNOTATION_VALUE>wave</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER></ANNOTATION_DOCUMENT>"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "s.eaf is not an ELAN file: no element found"),
        ("wave", "s.eaf is not an ELAN file: syntax error: line 1, column 0"),
        ("<a/>", "s.eaf is not an ELAN file: its root is 'a', not 'ANNOTATION_DOCUMENT'"),
        ('<?xml version="1.0" encoding="none"?><a/>', "s.eaf is not an ELAN file: "),
        (
            '<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><ANNOTATION_DOCUMENT>&d;</ANNOTATION_DOCUMENT>',
            r"s.eaf is not an ELAN file: has a document type \(a\), which ELAN does not write",
        ),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><ANNOTATION_DOCUMENT/>', "has a document type"),
        (
            DOCUMENT.format(units="milliseconds", start="5"),
            "s.eaf, annotation a1 of tier 'x': has no start or no end: align it to the video in ELAN",
        ),
        (DOCUMENT.format(units="PAL-frames", start="5"), "s.eaf: its times are in PAL-frames, not in milliseconds"),
        ("<ANNOTATION_DOCUMENT/>", "s.eaf lists no video"),
    ],
)
def test_other_files_are_refused(text, message, tmp_path):
    path = tmp_path / "s.eaf"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_rows(path)


def test_times_that_are_not_numbers_are_refused(tmp_path):
    path = tmp_path / "s.eaf"
    text = DOCUMENT.format(units="milliseconds", start="5").replace('ID="t2"', 'ID="t2" TIME_VALUE="1.5"')
    path.write_text(text)
    with pytest.raises(DataError, match=r"annotation a1 of tier 'x': '1.5' is not a whole number of milliseconds"):
        read_rows(path)


def test_an_empty_annotation_is_refused(tmp_path):
    path = write(tmp_path / "s.eaf", actions=[(0, 10, "wave"), (20, 30, "")])
    with pytest.raises(DataError, match=r"s.eaf, annotation a\d of tier 'actions': has no label: write one in ELAN"):
        read_rows(path)
