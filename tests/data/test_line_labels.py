"""Text after the path of a video in a list: labels, numbers of frames, ranges and several labels."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.data.check.listing import read_listing
from timesformer.data.manifest.manifest import load_manifest
from timesformer.errors import DataError
from videos import write_frames, write_video

NUM_FRAMES = {"a": 10, "b": 12, "c": 15}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    for name, num_frames in NUM_FRAMES.items():
        write_video(folder / f"{name}.mp4", num_frames=num_frames)
    return folder


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def classes(path: Path, text: str, **options) -> list[str]:
    manifest = load_manifest(write(path, text), check_exists=False, **options)
    return [manifest.class_names[sample.label] for sample in manifest.samples]


def refused(path: Path, text: str, message: str, **options) -> None:
    """The list is refused, and a check refuses it in the same words."""
    write(path, text)
    with pytest.raises(DataError, match=message) as by_train:
        load_manifest(path, check_exists=False, **options)
    with pytest.raises(DataError) as by_check:
        read_listing(path)
    assert str(by_check.value) == str(by_train.value)


# --- numbers of frames ---


@pytest.mark.parametrize("separator", [" ", ",", "\t", ";", ", "])
def test_a_number_of_frames_before_a_number_is_dropped(separator, tmp_path):
    lines = [f"{name}.mp4 16 {label}" for name, label in (("a", 1), ("b", 0))]
    assert classes(tmp_path / "list.txt", "\n".join(lines).replace(" ", separator)) == ["1", "0"]


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_a_column_of_numbers_before_names_is_dropped(separator, tmp_path):
    text = "a.mp4 16 wave\nb.mp4 31 push the door".replace(".mp4 ", f".mp4{separator}")
    text = text.replace("16 ", f"16{separator}").replace("31 ", f"31{separator}")
    assert classes(tmp_path / "list.txt", text) == ["wave", "push the door"]


def test_quotes_around_every_field_change_nothing(tmp_path):
    assert classes(tmp_path / "list.csv", '"a.mp4","16","0"\n"b.mp4","20","1"') == ["0", "1"]
    assert classes(tmp_path / "list.csv", '"a.mp4","16","wave"\n"b.mp4","20","push, left"') == ["wave", "push, left"]
    refused(tmp_path / "list.csv", '"a.mp4","0","8","1"', r"line 1: '0,8,1' after 'a.mp4' is a range \(0 to 8\)")


def test_an_index_before_a_name_is_dropped(tmp_path):
    assert classes(tmp_path / "list.csv", "a.mp4,0,wave\nb.mp4,1,clap\nc.mp4,0,wave") == ["wave", "clap", "wave"]


def test_two_numbers_that_can_both_be_labels_are_compared_with_the_frames(folder):
    names = [f"class {number}" for number in range(20)]
    text = "a.mp4 10 3\nb.mp4 12 0\nc.mp4 15 19"
    assert classes(folder / "list.txt", text, class_names=names) == ["class 3", "class 0", "class 19"]
    text = "a.mp4 10 3\nb.mp4 4 0\nc.mp4 5 19"
    with pytest.raises(DataError, match=r"line 1: '10 3' after .* is two labels, or a number of frames"):
        classes(folder / "list.txt", text, class_names=names)


def test_two_numbers_that_can_both_be_labels_are_refused_without_the_files(tmp_path):
    refused(
        tmp_path / "list.txt", "a.mp4 1 0\nb.mp4 1 1", "leave out the numbers of frames, or write a header: path,num"
    )


def test_a_number_before_a_name_is_dropped_where_it_is_the_number_of_frames(folder):
    assert classes(folder / "list.txt", "a.mp4 10 wave\nb.mp4 12 clap hands\nc.mp4 15 wave") == [
        "wave",
        "clap hands",
        "wave",
    ]


def test_a_number_before_a_name_is_refused_where_it_is_not_the_number_of_frames(folder):
    message = (
        "line 1: '100 m' is the name of a class, or a number of frames and the name 'm': .* put the name in quotes"
    )
    refused(folder / "list.txt", "a.mp4 100 m\nb.mp4 200 m", message)


def test_a_number_of_frames_behind_the_label_is_refused(folder, tmp_path):
    refused(folder / "list.txt", "a.mp4 wave 10\nb.mp4 wave 12", "'wave 10' after 'a.mp4' is 2 fields, as in all lines")
    refused(tmp_path / "list.csv", "a.mp4,wave,10\nb.mp4,wave,12", "'wave,10' after 'a.mp4' is 2 fields")
    assert classes(tmp_path / "list.txt", "a.mp4 take 1\nb.mp4 take 2") == ["take 1", "take 2"]


def test_folders_and_files_of_one_list_are_decided_apart(tmp_path):
    for name in ("x", "y.avi"):
        write_frames(tmp_path / name, num_frames=2)
    assert classes(tmp_path / "list.txt", "x 29 1\ny.avi 7 0\na.mp4 0") == ["1", "0", "0"]


def test_two_labels_of_a_folder_are_not_taken_for_a_number_of_frames(tmp_path):
    write_frames(tmp_path / "x", num_frames=3)
    refused(tmp_path / "list.txt", "x 0 1", "'0 1' after 'x' is several labels, since 0 is not a number of frames")


# --- ranges and several labels ---


@pytest.mark.parametrize("separator", [" ", ",", "\t", ";"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b.mp4 0 8 0", r"is a range \(0 to 8\) and a label, or several labels"),
        ("b.mp4 0.0 8.5 2", r"is a range \(0.0 to 8.5\)"),
        ("b.mp4 0 8 wave", r"is a range \(0 to 8\)"),
        ("b.mp4 00:01 00:08 wave", r"is a range \(00:01 to 00:08\)"),
        ("b.mp4 1 0 0 1", r"is a range \(1 to 0\) and a label, or several labels"),
        ("b.mp4 0 1", "is several labels"),
        ("b.mp4 0|1", r"'0\|1' is several labels; a video has one"),
        ("b.mp4 wave|clap", r"'wave\|clap' is several labels"),
    ],
)
def test_ranges_and_several_labels_are_refused_with_their_line(line, message, separator, tmp_path):
    text = f"a.mp4 0\n\n{line}".replace(" ", separator)
    refused(tmp_path / "list.txt", text, rf"list.txt, line 3.*{message}")


@pytest.mark.parametrize(
    "label", ["0,1", "0;1", "0/1", "0+1", "0-1", "[0, 1]", "(0 1)", "{0,1}", '"0,1"', "['wave', 'clap']"]
)
def test_several_labels_in_one_field_are_refused(label, tmp_path):
    refused(tmp_path / "list.txt", f"a.mp4 0\nb.mp4 {label}", "list.txt, line 2.* is several labels")
    text = f"path\tlabel\tfps\na.mp4\t0\t25\nb.mp4\t{label}\t25"
    refused(tmp_path / "list.tsv", text, "list.tsv, line 3.* is several labels")


def test_a_name_made_of_other_classes_is_several_labels(tmp_path):
    text = "a.mp4 wave\nb.mp4 clap\nc.mp4 clap,wave"
    refused(tmp_path / "list.txt", text, r"line 3: 'clap,wave' is several labels \(clap, wave are classes, too\)")


def test_columns_without_a_header_are_refused(tmp_path):
    text = "a.mp4,wave,anna\nb.mp4,clap,ben"
    refused(tmp_path / "list.csv", text, "'wave,anna' after 'a.mp4' is 2 fields, as in all lines; .* path,label,group")


def test_more_fields_than_a_header_of_two_columns_are_refused(tmp_path):
    refused(tmp_path / "list.csv", "path,label\na.mp4,16,0", "line 2: '16,0' has two fields, but the header has one")


@pytest.mark.parametrize(
    "names",
    [
        ["run 10 m", "wave"],
        ["push, left", "push, right"],
        ["push,left", "wave"],
        ["100 m", "jump"],
        ["3 point shot", "dunk", "24/7"],
        ["5-10", "10-20"],
        ["take 2", "take 1"],
    ],
)
@pytest.mark.parametrize("separator", [" ", ",", "\t", ";"])
def test_names_may_hold_numbers_and_separators(names, separator, tmp_path):
    text = "\n".join(f"{place}.mp4{separator}{name}" for place, name in enumerate(names))
    assert classes(tmp_path / "list.txt", text) == names
    quoted = "\n".join(f'{place}.mp4{separator}"{name}"' for place, name in enumerate(names))
    assert classes(tmp_path / "list.txt", quoted) == names


def test_a_label_in_the_file_of_the_classes_is_that_class_whatever_it_holds(tmp_path):
    names = ["0 1", "100 m", "a|b", "0 8 0", "200 m"]
    write(tmp_path / "classes.txt", "\n".join(names))
    text = "\n".join(f"{place}.mp4 {name}" for place, name in enumerate(names))
    assert classes(tmp_path / "list.txt", text) == names
    assert [video.label for video in read_listing(tmp_path / "list.txt").videos] == [0, 1, 2, 3, 4]


@given(
    counts=st.lists(st.integers(1, 400), min_size=1, max_size=9),
    labels=st.lists(st.integers(0, 3), min_size=9, max_size=9),
    separator=st.sampled_from([" ", ",", "\t", ";"]),
)
def test_a_line_of_two_numbers_is_never_a_name(counts, labels, separator, tmp_path_factory):
    path = tmp_path_factory.mktemp("lists") / "list.txt"
    lines = [f"{place}.mp4 {count} {labels[place]}" for place, count in enumerate(counts)]
    try:
        found = classes(path, "\n".join(lines).replace(" ", separator))
    except DataError:
        return
    assert found == [str(label) for label in labels[: len(counts)]]


# --- tables ---


@pytest.mark.parametrize(
    ("columns", "cells", "message"),
    [
        (
            "start_frame,end_frame",
            "4,12",
            r"range of frames \(start_frame=4, end_frame=12\): segments are in seconds",
        ),
        ("start", "3", r"a range of the video \(start=3\) without both its start and its end: name the columns"),
        ("start,end_s2", "3,8", r"\(start=3, end_s2=8\) without both"),
        ("start,end", "3,", r"a range of the video with one end \(start=3, end=\): write both"),
        ("start,end", "3,-1", "a segment from 3 to -1 s: it must end after it starts"),
        ("start,end", "abc,8", "column 'start': 'abc' is not a time: allowed are seconds such as 12.5"),
        ("start,end", '3,"8,5"', "column 'end': '8,5' is not a time: write a decimal point"),
        (
            "start,end,t_start,t_end",
            "1,2,1,3",
            "several ranges of the video, in the columns start,end and t_start",
        ),
    ],
)
def test_columns_of_a_range_that_is_not_in_seconds_are_refused(columns, cells, message, tmp_path):
    empty = "," * columns.count(",")
    for video in ("path", "video_id"):
        text = f"{video},label,{columns}\na.mp4,wave,{empty}\nb.mp4,wave,{cells}"
        write(tmp_path / "list.csv", text)
        with pytest.raises(DataError, match=rf"list.csv, line 3.*{message}"):
            load_manifest(tmp_path / "list.csv", check_exists=False)


@pytest.mark.parametrize("column", ["label2", "label_2", "labels", "class_1", "tags"])
def test_a_second_column_of_labels_is_refused(column, tmp_path):
    text = f"path,label,{column}\na.mp4,wave,\nb.mp4,wave,clap"
    refused(tmp_path / "list.csv", text, rf"line 3: the columns 'label' and '{column}' are several labels \('wave'")


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    refused(tmp_path / "list.csv", "path,label,label\na.mp4,wave,clap", "the column 'label' twice: rename or remove")


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        ({"id": "a", "label": [0, 1]}, r"clip 1 \(id a\): \[0, 1\] is not a label; a video has one"),
        ({"id": "a", "label": None}, "None is not a label"),
        ({"id": "a", "label": True}, "True is not a label"),
        ({"id": "a", "label": "0,1"}, "'0,1' is several labels"),
        ({"id": "a", "label": "wave", "start": 3}, r"a range of the video \(start=3\) without both"),
        ({"id": "a", "label": "wave", "start_frame": 3, "end_frame": 13}, "a range of frames"),
    ],
)
def test_ranges_and_several_labels_of_clips_are_refused(clip, message, tmp_path):
    refused(tmp_path / "clips.json", json.dumps([clip]), message)
