"""Lists as other programs write them: comments, quotes, byte order marks, foreign paths, ids, labels from 1."""

import logging
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.data.check.listing import read_listing
from timesformer.data.manifest.manifest import Manifest, Sample, load_manifest
from timesformer.data.manifest.model_classes import match_classes, read_manifest
from timesformer.data.manifest.rows import read_classes_file
from timesformer.data.manifest.save import save_class_names, save_manifest
from timesformer.errors import DataError
from videos import touch

NFC, NFD = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def rows(path: Path, text: str, **options) -> list[tuple[str, str]]:
    """Paths and classes of a list, which a check finds, too."""
    manifest = load_manifest(write(path, text), **options)
    listing = read_listing(path)
    assert [video.path for video in listing.videos] == [sample.path for sample in manifest.samples]
    assert [video.label for video in listing.videos] == [sample.label for sample in manifest.samples]
    return [(s.path.relative_to(path.parent).as_posix(), manifest.class_names[s.label]) for s in manifest.samples]


def refused(path: Path, text: str, message: str, **options) -> None:
    write(path, text)
    with pytest.raises(DataError, match=message):
        load_manifest(path, check_exists=False, **options)
    with pytest.raises(DataError, match=message):
        read_listing(path)


# --- lines and classes from '#' ---


@pytest.mark.parametrize("separator", [" ", ",", "\t", ";"])
def test_a_line_from_a_hash_is_a_video_where_there_is_one(separator, tmp_path):
    touch(tmp_path, "#1.mp4", "# 2.mp4", "a.mp4")
    text = "# my videos\n#1.mp4 0\n# 2.mp4 1\na.mp4 1".replace("mp4 ", f"mp4{separator}")
    assert rows(tmp_path / "list.txt", text) == [("#1.mp4", "0"), ("# 2.mp4", "1"), ("a.mp4", "1")]


def test_a_list_may_hold_nothing_but_videos_from_a_hash(tmp_path):
    touch(tmp_path, "#1.mp4", "#2.mp4")
    assert rows(tmp_path / "list.txt", "#1.mp4 0\n#2 1".replace("#2 ", "#2.mp4 ")) == [("#1.mp4", "0"), ("#2.mp4", "1")]


def test_an_id_or_a_folder_of_frames_from_a_hash_is_a_video(tmp_path):
    touch(tmp_path, "#x.mp4", "#y/00001.jpg", "z.mp4")
    assert rows(tmp_path / "list.txt", "#x 0\n#y 1\nz 1") == [("#x.mp4", "0"), ("#y", "1"), ("z.mp4", "1")]


def test_a_line_from_a_hash_whose_video_is_not_there_is_missing_and_not_left_out(tmp_path):
    touch(tmp_path, "a.mp4")
    write(tmp_path / "list.txt", "#gone.mp4 0\na.mp4 0")
    with pytest.raises(DataError, match=r"1 of 2 videos are missing: .*#gone.mp4"):
        load_manifest(tmp_path / "list.txt")
    assert [video.path.name for video in read_listing(tmp_path / "list.txt").videos] == ["#gone.mp4", "a.mp4"]


def test_a_video_that_is_commented_out_is_passed_over_and_named(tmp_path, caplog):
    touch(tmp_path, "a.mp4", "b.mp4")
    with caplog.at_level(logging.WARNING):
        assert rows(tmp_path / "list.txt", "#a.mp4 0\nb.mp4 0\n# a.mp4 0\n# end") == [("b.mp4", "0")]
    assert "list.txt: skipped 2 videos that a '#' makes comments (line 1, 3)" in caplog.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,label,fps\n#1.mp4,wave,25\na.mp4,wave,25", ["#1.mp4", "a.mp4"]),
        ("path,label,fps\n# a comment, with, commas\na.mp4,wave,25", ["a.mp4"]),
        ("path,label,fps\n#a.mp4,wave,25\na.mp4,wave,25", ["a.mp4"]),
        ("label,path,fps\n#selfie,1.mp4,25\nwave,a.mp4,25", ["1.mp4", "a.mp4"]),
        ("label,path,fps\n#wave,1.mp4,25\nwave,a.mp4,25", ["a.mp4"]),
        ("video_id,label,fps\n#1,wave,25\na,wave,25", ["#1.mp4", "a.mp4"]),
        ("video_id,label,fps\n#a,wave,25\n1,wave,25", ["1.mp4"]),
    ],
)
def test_rows_of_a_table_from_a_hash_are_told_from_comments(text, expected, tmp_path):
    touch(tmp_path, "#1.mp4", "1.mp4", "a.mp4")
    assert [path for path, _ in rows(tmp_path / "t.csv", text)] == expected


def test_a_label_from_a_hash_is_a_class(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    write(tmp_path / "classes.txt", "# all classes\nwave\n#selfie\n")
    assert rows(tmp_path / "list.txt", "a.mp4 #selfie\nb.mp4 wave") == [("a.mp4", "#selfie"), ("b.mp4", "wave")]


def test_a_class_that_is_commented_out_is_left_out(tmp_path):
    touch(tmp_path, "a.mp4")
    write(tmp_path / "classes.txt", "#wave\nclap\nwave\n")
    assert rows(tmp_path / "list.txt", "a.mp4 wave") == [("a.mp4", "wave")]
    assert load_manifest(tmp_path / "list.txt").class_names == ("clap", "wave")


def test_a_line_that_can_be_a_class_or_a_comment_is_refused(tmp_path):
    write(tmp_path / "classes.txt", "#selfie\nwave\n")
    refused(
        tmp_path / "list.txt", "a.mp4 1", r"classes.txt, line 1: '#selfie' is the name of a class or a comment: put"
    )


@given(
    names=st.lists(st.text(st.sampled_from('#" aé,01'), min_size=1, max_size=4), min_size=1, max_size=5, unique=True)
)
def test_names_of_classes_read_back_as_they_were_written(names, tmp_path_factory):
    names = [name for name in names if name == name.strip() and name not in ("0", "1")] or ["#"]
    path = tmp_path_factory.mktemp("names") / "classes.txt"
    save_class_names(names, path)
    assert read_classes_file(path) == tuple(names)
    assert read_classes_file(path, used=["0", "1"]) == tuple(names)
    save_class_names(names, path)


def test_videos_and_classes_from_a_hash_are_written_and_read_back(tmp_path):
    manifest = Manifest((Sample(tmp_path / "#1.mp4", 0), Sample(tmp_path / "# 2.mp4", 1)), ("#1 fan", '"quoted"'))
    for separator in (",", " ", "\t", ";"):
        save_manifest(manifest, tmp_path / "list.csv", separator=separator)
        assert load_manifest(tmp_path / "list.csv", check_exists=False) == manifest


@pytest.mark.parametrize(
    "text", ["0 wave\n1 clap", "1,clap\n0,wave", "0: wave\n1: clap", "wave,0\nclap,1", "0\twave\n1\tclap"]
)
def test_numbers_in_the_file_of_the_classes_give_their_order(text, tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    write(tmp_path / "classes.txt", text)
    assert rows(tmp_path / "list.txt", "a.mp4 0\nb.mp4 1") == [("a.mp4", "wave"), ("b.mp4", "clap")]
    assert rows(tmp_path / "named.txt", "a.mp4 clap\nb.mp4 wave") == [("a.mp4", "clap"), ("b.mp4", "wave")]


def test_classes_that_are_numbered_from_1_are_refused(tmp_path):
    write(tmp_path / "classes.txt", "1 wave\n2 clap\n")
    refused(tmp_path / "list.txt", "a.mp4 0\nb.mp4 1", "classes.txt: numbers the classes from 1 to 2, but labels count")


def test_numbers_that_belong_to_the_names_of_classes_stay(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    write(tmp_path / "classes.txt", "1 person\n2 people\n")
    assert rows(tmp_path / "list.txt", "a.mp4 1 person\nb.mp4 2 people") == [
        ("a.mp4", "1 person"),
        ("b.mp4", "2 people"),
    ]
    write(tmp_path / "classes.txt", '"1 person"\n"2 people"\n')
    assert rows(tmp_path / "list.txt", "a.mp4 0\nb.mp4 1") == [("a.mp4", "1 person"), ("b.mp4", "2 people")]
    write(tmp_path / "classes.txt", "100 m\n200 m\n")
    assert rows(tmp_path / "list.txt", "a.mp4 0\nb.mp4 1") == [("a.mp4", "100 m"), ("b.mp4", "200 m")]


# --- accents ---


def test_labels_that_differ_only_in_the_form_of_their_accents_are_one_class(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    assert rows(tmp_path / "list.txt", f"a.mp4 {NFC}\nb.mp4 {NFD}") == [("a.mp4", NFC), ("b.mp4", NFC)]


def test_class_folders_that_differ_only_in_the_form_of_their_accents_are_one_class(tmp_path):
    touch(tmp_path, f"{NFC}/a.mp4", f"{NFD}/b.mp4", "wave/c.mp4")
    manifest = load_manifest(tmp_path)
    assert manifest.class_names == (NFC, "wave")
    assert sorted(sample.label for sample in manifest.samples) == [0, 0, 1]
    listing = read_listing(tmp_path)
    assert listing.class_names == manifest.class_names
    assert [video.path for video in listing.videos] == [sample.path for sample in manifest.samples]


@pytest.mark.parametrize(("listed", "stored"), [(NFC, NFD), (NFD, NFC)])
def test_classes_paths_and_labels_match_in_any_form(listed, stored, tmp_path):
    touch(tmp_path, f"{stored}/a.mp4")
    write(tmp_path / "classes.txt", f"wave\n{stored}\n")
    (path,) = load_manifest(write(tmp_path / "list.txt", f"{listed}/a.mp4 {listed}")).samples
    assert path == Sample(tmp_path / stored / "a.mp4", 1)
    table = load_manifest(write(tmp_path / "table.csv", f"video_id,label\na,{listed}\n"))
    assert table.samples == (path,)


@pytest.mark.parametrize(("label", "given"), [(NFC, NFD), (NFD, NFC)])
def test_labels_of_a_model_match_in_any_form(label, given, tmp_path):
    touch(tmp_path, f"{given}/a.mp4")
    manifest = read_manifest(tmp_path, labels=("wave", label))
    matched = match_classes(manifest, labels=("wave", label), num_classes=2)
    assert matched.class_names == ("wave", label)
    assert [sample.label for sample in matched.samples] == [1]


def test_names_that_print_alike_are_refused_as_given_twice_with_their_code_points():
    with pytest.raises(DataError, match=r"occur twice, got 'Caf\\xe9', 'Cafe\\u0301'"):
        Manifest((), (NFC, NFD))


def test_an_unknown_class_that_prints_like_a_known_one_is_told_apart(tmp_path):
    manifest = Manifest((Sample(tmp_path / "a.mp4", 0),), ("w\u0430ve",))
    with pytest.raises(DataError, match=r"classes: 'w\\u0430ve'; did you mean 'wave'\?"):
        match_classes(manifest, labels=("wave", "clap"), num_classes=2)
    refused_label = "unknown class 'O', did you mean '0'"
    write(tmp_path / "classes.txt", "0\nwave\nclap\n")
    with pytest.raises(DataError, match=refused_label):
        load_manifest(write(tmp_path / "list.txt", "a.mp4 O\nb.mp4 wave"))


def test_a_class_beside_the_list_that_no_video_shows_need_not_be_known(tmp_path):
    manifest = Manifest((Sample(tmp_path / "a.mp4", 1),), ("swim", "run"))
    assert match_classes(manifest, labels=("run",), num_classes=1).samples[0].label == 0


# --- paths of other systems ---


def test_backslashes_are_taken_for_slashes(tmp_path):
    touch(tmp_path, "class/a.mp4", "class/deep/b.mp4")
    text = "class\\a.mp4 0\nclass\\deep/b.mp4 1"
    assert rows(tmp_path / "list.txt", text) == [("class/a.mp4", "0"), ("class/deep/b.mp4", "1")]
    assert rows(tmp_path / "table.csv", "label,path,x\nwave,class\\a.mp4,1") == [("class/a.mp4", "wave")]


@pytest.mark.parametrize("video", [r"C:\videos\a.mp4", "C:/videos/a.mp4", r"\\server\videos\a.mp4", r"d:\a b.mp4"])
def test_a_path_on_a_windows_machine_is_refused(video, tmp_path):
    message = "is a path on a Windows machine: write the path on this machine"
    refused(tmp_path / "list.txt", f"a.mp4 0\n{video} 0", f"list.txt, line 2: .*{message}")
    refused(tmp_path / "table.csv", f'path,label,x\n"{video}",wave,1', f"table.csv, line 2: .*{message}")


@pytest.mark.parametrize(
    "video",
    [
        "https://example.org/a.mp4",
        "https://www.youtube.com/watch?v=-3B32lodo2M",
        "www.youtube.com/watch?v=x",
        "youtu.be/x",
        "s3://bucket/a.mp4",
        "file:///data/a.mp4",
        "https://example.org/a.mp4?token=1",
    ],
)
def test_a_url_is_refused_in_one_line(video, tmp_path):
    message = "is a URL: download the video first, and list the file"
    refused(tmp_path / "list.txt", f"{video} 0", f"list.txt, line 1: .*{message}")
    refused(tmp_path / "named.txt", f"{video} wave", f"named.txt, line 1: .*{message}")
    refused(tmp_path / "table.csv", f"path,label,x\n{video},wave,1", f"table.csv, line 2: .*{message}")
    refused(tmp_path / "ids.csv", f"video_id,label,x\n{video},wave,1", f"ids.csv, line 2: .*{message}")
    refused(tmp_path / "clips.json", f'[{{"id": "{video}", "label": "wave"}}]', f"clip 1 .*{message}")


# --- ids without extension ---


@pytest.mark.parametrize("place", ["", "videos/", "videos/wave/", "wave/"])
@pytest.mark.parametrize("name", ["-3B32lodo2M", "a.b", "_x", "12", "x_000003_000013"])
def test_an_id_without_extension_finds_its_video(name, place, tmp_path):
    touch(tmp_path, f"{place}{name}.mkv", f"{place}-other.webm")
    expected = [(f"{place}{name}.mkv", "wave"), (f"{place}-other.webm", "wave")]
    assert rows(tmp_path / "list.txt", f"{name} wave\n-other wave") == expected
    assert rows(tmp_path / "table.csv", f"path,label,x\n{name},wave,1\n-other,wave,1") == expected


def test_ids_may_have_numbers_of_frames_and_folders_before_them(tmp_path):
    touch(tmp_path, "part1/-x.mp4", "part2/y.mp4")
    text = "part1/-x 16 0\npart2/y 20 1"
    assert rows(tmp_path / "list.txt", text, check_exists=False) == [("part1/-x.mp4", "0"), ("part2/y.mp4", "1")]


def test_ids_of_which_a_few_are_not_there_are_missing(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    write(tmp_path / "list.txt", "a wave\nb clap\ngone clap")
    with pytest.raises(DataError, match=r"1 of 3 videos are missing: .*gone$"):
        load_manifest(tmp_path / "list.txt")
    assert [video.path.name for video in read_listing(tmp_path / "list.txt").videos] == ["a.mp4", "b.mp4", "gone"]


# --- labels ---


def test_labels_that_count_from_1_are_refused_with_advice(tmp_path):
    write(tmp_path / "list.txt", "a.mp4 1\nb.mp4 2\nc.mp4 3")
    with pytest.raises(DataError, match="labels must count from 0, these count from 1 to 3: subtract 1 from each, or"):
        load_manifest(tmp_path / "list.txt", check_exists=False)
    assert read_listing(tmp_path / "list.txt").class_names == ("0", "1", "2", "3")


@pytest.mark.parametrize("labels", ["1 3 2", "1 3 3", "1.0 2.0 3.0"])
def test_labels_from_1_are_refused_where_the_classes_have_names(labels, tmp_path):
    write(tmp_path / "classes.txt", "wave\nclap\njump\n")
    text = "\n".join(f"{place}.mp4 {label}" for place, label in enumerate(labels.split()))
    message = (
        r"label 3(.0)? is out of range, allowed are 0 to 2; these count from 1 to 3, labels must count from 0: subtract"
    )
    with pytest.raises(DataError, match=message):
        load_manifest(write(tmp_path / "list.txt", text), check_exists=False)
    problems = [video.problem for video in read_listing(tmp_path / "list.txt").videos if video.problem]
    assert problems and all("these count from 1 to 3" in problem for problem in problems)


def test_decimals_of_zero_are_indices(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    text = "a.mp4 1.0\nb.mp4 0.0\nc.mp4 [1]"
    assert rows(tmp_path / "list.txt", text) == [("a.mp4", "1"), ("b.mp4", "0"), ("c.mp4", "1")]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["0", "0.5", "1"], "line 2: label 0.5 is not a whole number, unlike the others"),
        (["0", "nan", "1"], "line 2: label 'nan' is not a number, unlike the others"),
        (["0", "wave", "1"], "line 2: label 'wave' is not a number, unlike the others"),
    ],
)
def test_one_label_that_is_no_number_among_numbers_is_refused(labels, message, tmp_path):
    text = "\n".join(f"{place}.mp4 {label}" for place, label in enumerate(labels))
    with pytest.raises(DataError, match=f"list.txt, {message}"):
        load_manifest(write(tmp_path / "list.txt", text), check_exists=False)
    assert [video.problem for video in read_listing(tmp_path / "list.txt").videos] == ["", message, ""]


# --- what editors and spreadsheets leave ---


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffa.mp4,0\n\ufeffb.mp4,1\ufeff",
        "a.mp4,0,,\r\nb.mp4,1,,\r\n",
        "a.mp4,0\rb.mp4,1\r",
        "sep=,\na.mp4,0\nb.mp4,1",
        '"a.mp4,0"\n"b.mp4,1"',
        "'a.mp4','0'\n'b.mp4','1'",
        '"a.mp4" "0"\nb.mp4 1',
        "a.mp4 0 # the first\nb.mp4 1 # the second",
        "a.mp4,0\n" + "\n" * 5000 + "b.mp4,1" + "\n" * 5000,
        "path,label,,\na.mp4,0,,\nb.mp4,1,,",
        "path,label,fps,\na.mp4,0,25,\nb.mp4,1,25",
        "a.mp4 0;\nb.mp4 1;",
    ],
)
def test_trailing_separators_and_quotes_of_other_programs_are_removed(text, tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    assert rows(tmp_path / "list.csv", text) == [("a.mp4", "0"), ("b.mp4", "1")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_list_in_utf_16_is_refused_with_advice(encoding, tmp_path):
    (tmp_path / "list.csv").write_bytes("a.mp4,0\nb.mp4,1\n".encode(encoding))
    with pytest.raises(DataError, match=r"list.csv is not UTF-8 text but UTF-16, such as Excel's .*: save it as UTF-8"):
        load_manifest(tmp_path / "list.csv")


def test_a_list_with_nul_bytes_is_refused(tmp_path):
    refused(tmp_path / "list.csv", "a.mp4,0\x00\nb.mp4,1\n", "list.csv is not UTF-8 text: it contains NUL bytes")


def test_a_list_in_another_code_page_is_refused_with_advice(tmp_path):
    (tmp_path / "list.csv").write_bytes("café.mp4,0\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"list.csv is not UTF-8 text: .*; save it as UTF-8"):
        load_manifest(tmp_path / "list.csv")


def test_a_label_of_only_separators_is_refused(tmp_path):
    refused(tmp_path / "list.csv", "a.mp4,0\nb.mp4,,,", "line 2: 'b.mp4' has no label")
