import json
import unicodedata
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timesformer.data.check.listing import read_listing
from timesformer.data.manifest.manifest import (
    Manifest,
    Sample,
    holds_splits,
    load_manifest,
    load_split,
    split_manifest,
)
from timesformer.data.manifest.model_classes import read_manifest
from timesformer.data.manifest.save import save_manifest
from timesformer.errors import ConfigError, DataError
from videos import touch

SEPARATORS = [",", " ", "\t", ";"]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def load(path: Path, text: str, **options) -> Manifest:
    return load_manifest(write(path, text), **{"check_exists": False} | options)


def rows(manifest: Manifest, root: Path) -> list[tuple[str, str]]:
    return [(s.path.relative_to(root).as_posix(), manifest.class_names[s.label]) for s in manifest.samples]


# --- folders ---


def test_sorted_folder_names_are_the_classes(tmp_path):
    touch(tmp_path, "wave/b.mp4", "clap/x/y/c.AVI", "clap/a.webm", "clap/notes.txt", "wave/._b.mp4", ".cache/z.mp4")
    manifest = load_manifest(tmp_path)
    assert manifest.class_names == ("clap", "wave")
    assert rows(manifest, tmp_path) == [("clap/a.webm", "clap"), ("clap/x/y/c.AVI", "clap"), ("wave/b.mp4", "wave")]


def test_given_class_names_set_the_order_and_may_have_no_video(tmp_path):
    touch(tmp_path, "wave/b.mp4", "clap/a.mp4")
    manifest = load_manifest(tmp_path, class_names=["wave", "jump", "clap"])
    assert manifest.class_names == ("wave", "jump", "clap")
    assert [s.label for s in manifest.samples] == [2, 0]


def test_folders_named_by_numbers_are_names(tmp_path):
    touch(tmp_path, "10/a.mp4", "2/b.mp4")
    assert rows(load_manifest(tmp_path), tmp_path) == [("10/a.mp4", "10"), ("2/b.mp4", "2")]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ["train/a/x.mp4", "Val/a/y.mp4"],
            r"contains splits, not classes \(Val, train\): name one of them, such as .*train",
        ),
        (["train/a/x.mp4", "test/a/y.mp4"], r"contains splits, not classes \(test, train\)"),
        (["a.mp4"], "contains no folders: allowed are one folder per class"),
        (["a/x.mp4", "b/x.png"], r"no video in 1 of 2 class folders \(b\); a video ends with one of .avi .mkv"),
    ],
)
def test_folder_without_class_folders_is_refused(files, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load_manifest(touch(tmp_path, *files))


def test_folder_of_an_unknown_class_is_refused(tmp_path):
    touch(tmp_path, "wavee/a.mp4")
    with pytest.raises(DataError, match=r"wavee: unknown class 'wavee', did you mean 'wave'\?"):
        load_manifest(tmp_path, class_names=["wave", "clap"])


def test_class_called_train_is_a_class(tmp_path):
    touch(tmp_path, "train/a.mp4", "tram/b.mp4")
    assert load_manifest(tmp_path).class_names == ("train", "tram")


# --- lists ---


@pytest.mark.parametrize("separator", [*SEPARATORS, ", ", "   ", " ; ", "\t\t"])
def test_any_separator_is_recognized(separator, tmp_path):
    text = f"videos/a.mp4{separator}0\nb.MKV{separator}1\n"
    assert rows(load(tmp_path / "list.txt", text), tmp_path) == [("videos/a.mp4", "0"), ("b.MKV", "1")]


@pytest.mark.parametrize("separator", SEPARATORS)
def test_path_may_hold_any_separator_unquoted(separator, tmp_path):
    text = f"my, first; video 1.mp4{separator}0\nsecond.mp4 part 2.avi{separator}1\n"
    expected = [("my, first; video 1.mp4", "0"), ("second.mp4 part 2.avi", "1")]
    assert rows(load(tmp_path / "list.csv", text), tmp_path) == expected


@pytest.mark.parametrize("separator", SEPARATORS)
def test_quotes_are_taken_off(separator, tmp_path):
    text = f'"a ""b"".mp4"{separator}"riding, a bike"\nc.mp4{separator}"jump"\n'
    expected = [('a "b".mp4', "riding, a bike"), ("c.mp4", "jump")]
    assert rows(load(tmp_path / "list.csv", text), tmp_path) == expected


def test_label_may_be_a_name_of_several_words(tmp_path):
    manifest = load(tmp_path / "list.txt", "a.mp4 riding a bike\nb.mp4 abseiling\n")
    assert rows(manifest, tmp_path) == [("a.mp4", "riding a bike"), ("b.mp4", "abseiling")]
    assert manifest.class_names == ("abseiling", "riding a bike")


def test_one_line_is_read_so_that_the_label_is_a_number(tmp_path):
    assert rows(load(tmp_path / "list.txt", "a.mp4,b.mp4 0"), tmp_path) == [("a.mp4,b.mp4", "0")]


def test_comments_blank_lines_byte_order_mark_and_windows_line_ends_are_tolerated(tmp_path):
    text = "\ufeff# my videos\r\n\r\na.mp4 0  \r\n   # more\r\nb.mp4 1"
    assert rows(load(tmp_path / "list.txt", text), tmp_path) == [("a.mp4", "0"), ("b.mp4", "1")]


def test_classes_file_beside_the_list_names_the_classes(tmp_path):
    write(tmp_path / "classes.txt", "\ufeff# order of the model\r\nwave\r\n\r\nclap hands\r\njump\r\n")
    manifest = load(tmp_path / "list.txt", "a.mp4 1\nb.mp4 0\n")
    assert manifest.class_names == ("wave", "clap hands", "jump")
    assert rows(manifest, tmp_path) == [("a.mp4", "clap hands"), ("b.mp4", "wave")]
    named = load(tmp_path / "named.txt", "a.mp4 clap hands\nb.mp4 wave\n")
    assert named == manifest


def test_given_class_names_go_before_the_classes_file(tmp_path):
    write(tmp_path / "classes.txt", "wave\nclap\n")
    assert load(tmp_path / "a.txt", "a.mp4 0", class_names=["x", "y"]).class_names == ("x", "y")


def test_absolute_paths_stay(tmp_path):
    manifest = load(tmp_path / "list.txt", "/data/a.mp4 0\n")
    assert manifest.samples == (Sample(Path("/data/a.mp4"), 0),)


def test_video_named_twice_with_one_label_is_kept_twice(tmp_path):
    assert len(load(tmp_path / "list.txt", "a.mp4 0\na.mp4 0\n").samples) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no video"),
        ("# nothing\n\n", "lists no video"),
        ("a.mp4 0\nb.mp4\n", r"line 2: 'b.mp4' is not the path of a video and a label"),
        ("a.mp4,0\n\nb.mp4 1\nc.mp4,1", r"line 3: 'b.mp4 1' is not the path"),
        ("a.jpg 0\n", r"line 1: 'a.jpg 0' is not .*; a path ends with one of .3g2"),
        ('"a.mp4,0\n"b.mp4" 1', "line 2: '\"b.mp4\" 1' is not the path"),
        ("a.mp4 0\nb.mp4 -1\n", "line 2: label -1 is negative, labels count from 0"),
        (
            "a.mp4 0\nb.mp4 3\n",
            r"labels go up to 3, but 1 is never used: name all classes, one per line, in .*classes.txt",
        ),
        ("a.mp4 0\nb.mp4 999999999999\n", "labels go up to 999999999999, but 1 is never used"),
        ("a.mp4 0\nb.mp4 1\na.mp4 1\n", "line 3: .*a.mp4 has label '1' here and '0' in line 1"),
    ],
)
def test_list_that_contradicts_itself_is_refused(text, message, tmp_path):
    with pytest.raises(DataError, match=rf"list.txt.*{message}"):
        load(tmp_path / "list.txt", text)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("2", "line 1: label 2 is out of range, allowed are 0 to 1"),
        ("clapp", r"line 1: unknown class 'clapp', did you mean 'clap'\?"),
        ("zzz", r"line 1: unknown class 'zzz', the 2 classes start with \['wave', 'clap'\]"),
    ],
)
def test_label_outside_the_class_names_is_refused(label, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load(tmp_path / "list.txt", f"a.mp4 {label}", class_names=["wave", "clap"])


def test_number_that_is_also_the_name_of_another_class_is_refused(tmp_path):
    with pytest.raises(DataError, match="line 1: label 2 is an index, but also the name of class 1: rename"):
        load(tmp_path / "list.txt", "a.mp4 2", class_names=["10", "2", "3"])


@pytest.mark.parametrize("names", [["wave", "wave"], ["wave", ""]])
def test_class_names_must_differ_and_not_be_empty(names, tmp_path):
    with pytest.raises(DataError, match="class names must not be empty or occur twice"):
        load(tmp_path / "list.txt", "a.mp4 0", class_names=names)


def test_label_without_a_name_is_refused():
    with pytest.raises(DataError, match=r"a.mp4: label 2 is out of range, allowed are 0 to 1"):
        Manifest(samples=(Sample(Path("a.mp4"), 2),), class_names=("x", "y"))


def test_missing_videos_are_counted_and_the_first_named(tmp_path):
    touch(tmp_path, "a.mp4")
    text = "".join(f"{name}.mp4 0\n" for name in "abcdef")
    with pytest.raises(DataError, match=r"5 of 6 videos are missing: .*b.mp4, .*c.mp4, .*d.mp4, \.\.\.$"):
        load(tmp_path / "list.txt", text, check_exists=True)
    assert len(load(tmp_path / "list.txt", text, check_exists=False).samples) == 6


def test_source_that_is_not_there_or_of_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.csv does not exist"):
        load_manifest(tmp_path / "nowhere.csv")
    with pytest.raises(
        DataError, match=r"unknown extension '.xlsx', allowed are .txt .csv .tsv .lst .json .eaf or a folder"
    ):
        load_manifest(write(tmp_path / "list.xlsx", "a.mp4 0"))


def test_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(DataError, match=r"list.csv is not UTF-8 text"):
        load_manifest(tmp_path / "list.csv")


# --- tables ---


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("header", ["path,label", "Video,Class", '"file_name","label_name"'])
def test_header_of_two_columns_is_passed_over(header, separator, tmp_path):
    text = header.replace(",", separator) + f"\nmy video.mp4{separator}0\nb.mp4{separator}1\n"
    assert rows(load(tmp_path / "t.csv", text), tmp_path) == [("my video.mp4", "0"), ("b.mp4", "1")]


def test_columns_are_found_by_name_in_any_order(tmp_path):
    text = 'label,height,path\n"cut, slice",240,"a, b.mp4"\n# comment\nwave,120,c.mp4\n'
    assert rows(load(tmp_path / "t.csv", text), tmp_path) == [("a, b.mp4", "cut, slice"), ("c.mp4", "wave")]


def test_column_of_names_goes_before_a_column_of_numbers(tmp_path):
    manifest = load(tmp_path / "t.csv", "path,label,class_name\na.mp4,1,wave\nb.mp4,0,jump\n")
    assert rows(manifest, tmp_path) == [("a.mp4", "wave"), ("b.mp4", "jump")]


def test_table_of_ids_without_seconds_finds_videos_by_id(tmp_path):
    touch(tmp_path, "wave/a-1.mkv")
    manifest = load(tmp_path / "t.csv", "video_id,label\na-1,wave\n", check_exists=True)
    assert rows(manifest, tmp_path) == [("wave/a-1.mkv", "wave")]


def test_kinetics_table_finds_videos_by_id_and_seconds(tmp_path):
    touch(tmp_path, "videos/abc_000003_000013.mp4", "videos/play cards/d-e.webm", "ghi.mkv")
    text = (
        "label,youtube_id,time_start,time_end,split\n"
        '"play cards",abc,3,13,train\nplay cards,d-e,0,10,train\nwave,ghi,7,17,train\nwave,jkl,1,11,train\n'
    )
    manifest = load(tmp_path / "train.csv", text)
    assert rows(manifest, tmp_path) == [
        ("videos/abc_000003_000013.mp4", "play cards"),
        ("videos/play cards/d-e.webm", "play cards"),
        ("ghi.mkv", "wave"),
        ("videos/jkl_000001_000011.mp4", "wave"),
    ]
    with pytest.raises(DataError, match=r"1 of 4 videos are missing: .*jkl_000001_000011.mp4$"):
        load_manifest(tmp_path / "train.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label,fps\na.mp4,wave\n", "line 2: 2 fields, but the header has 3: 'a.mp4,wave'"),
        ("path,label,fps\n,wave,3\n", "line 2: the column 'path' is empty"),
        ("path,label,fps\na.mp4,,3\n", "line 2: the column 'label' is empty"),
        ("path,label,fps\n\na.png,wave,3\n", "line 3: 'a.png' does not end with one of .3g2"),
        ("path,label,fps\n", "lists no video"),
        ("path,label\n", "lists no video"),
        ("path,label,split\na.mp4,x,train\nb.mp4,x,test\n", r"mixes splits \(test, train\) in its column 'split'"),
        (
            "path,target\na.mp4,0\n",
            "line 1: 'path,target' is not the path of a video and a label.* a header has one of",
        ),
    ],
)
def test_broken_table_is_refused(text, message, tmp_path):
    with pytest.raises(DataError, match=rf"t.csv.*{message}"):
        load(tmp_path / "t.csv", text)


# --- Something-Something ---

CLIPS = [
    {"id": "7", "label": "holding a pen", "template": "Holding [something]", "placeholders": ["a pen"]},
    {"id": 12, "label": "pushing a cup off a table", "template": "Pushing [something] off [something]"},
]
LABELS = {"Pushing something off something": "1", "Holding something": "0", "Tearing something": "2"}


@pytest.mark.parametrize("labels_file", ["labels.json", "something-something-v2-labels.json"])
@pytest.mark.parametrize("videos", ["videos", "20bn-something-something-v2", "."])
def test_something_something_is_read_with_its_labels(labels_file, videos, tmp_path):
    touch(tmp_path, f"{videos}/7.webm", f"{videos}/12.mp4")
    write(tmp_path / labels_file, json.dumps(LABELS))
    manifest = load(tmp_path / "train.json", json.dumps(CLIPS), check_exists=True)
    assert manifest.class_names == ("Holding something", "Pushing something off something", "Tearing something")
    assert manifest.samples == (Sample(tmp_path / videos / "7.webm", 0), Sample(tmp_path / videos / "12.mp4", 1))


def test_clips_without_a_labels_file_name_their_classes(tmp_path):
    manifest = load(tmp_path / "clips.json", json.dumps([{"id": "a", "label": "wave"}, {"id": "b", "label": "clap"}]))
    assert rows(manifest, tmp_path) == [("videos/a.webm", "wave"), ("videos/b.webm", "clap")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ('{"id": 1}', "is not a list of clips"),
        ("[]", "lists no video"),
        ('[{"id": 1, "label": "x"}, 3]', "clip 2: has neither 'id' nor 'vid_name', got 3"),
        ('[{"id": "77"}]', r"clip 1 \(id 77\): has neither 'template' nor 'label'"),
    ],
)
def test_broken_clips_are_refused(text, message, tmp_path):
    with pytest.raises(DataError, match=rf"clips.json.*{message}"):
        load(tmp_path / "clips.json", text)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["wave"], "is not a map of class names to numbers"),
        ({"wave": "first"}, "is not a map of class names to numbers"),
        ({"wave": "0", "clap": "2"}, "the numbers of 2 classes must be 0 to 1, each once"),
    ],
)
def test_broken_label_map_is_refused(labels, message, tmp_path):
    write(tmp_path / "labels.json", json.dumps(labels))
    with pytest.raises(DataError, match=rf"labels.json.*{message}"):
        load(tmp_path / "clips.json", json.dumps(CLIPS))


# --- splits ---


def test_split_is_found_as_a_folder(tmp_path):
    touch(tmp_path, "train/clap/a.mp4", "train/wave/b.mp4", "Validation/wave/c.mp4")
    train = load_split(tmp_path, "train")
    val = load_split(tmp_path, "val", class_names=train.class_names)
    assert rows(train, tmp_path) == [("train/clap/a.mp4", "clap"), ("train/wave/b.mp4", "wave")]
    assert val == Manifest((Sample(tmp_path / "Validation/wave/c.mp4", 1),), ("clap", "wave"))


@pytest.mark.parametrize(
    "name", ["val.csv", "valid.txt", "something-something-v2-validation.json", "kinetics400_val.csv"]
)
def test_split_is_found_as_a_file(name, tmp_path):
    is_json = name.endswith(".json")
    write(tmp_path / name, json.dumps([{"id": "a", "label": "x"}]) if is_json else "videos/a.webm x")
    assert rows(load_split(tmp_path, "val", check_exists=False), tmp_path) == [("videos/a.webm", "x")]


def test_absent_split_is_none(tmp_path):
    touch(tmp_path, "wave/a.mp4", "pre-train/b.mp4", "untrain.csv")
    assert load_split(tmp_path, "train") is None
    assert load_split(tmp_path / "untrain.csv", "train") is None


def test_split_of_two_sources_is_refused(tmp_path):
    touch(tmp_path, "val/wave/a.mp4", "validation.csv")
    with pytest.raises(DataError, match=r"several sources for 'val': val, validation.csv: name one"):
        load_split(tmp_path, "val")


def test_unknown_split_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="split='test' is not one of 'train', 'val'"):
        load_split(tmp_path, "test")


@given(
    labels=st.lists(st.integers(0, 4), max_size=30),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_split_holds_out_a_fraction_of_every_class_with_two_videos(labels, fraction, seed):
    samples = tuple(Sample(Path(f"{k}.mp4"), label) for k, label in enumerate(labels))
    manifest = Manifest(samples, ("a", "b", "c", "d", "e"))
    sizes = Counter(sample.label for sample in manifest.samples)
    if max(sizes.values(), default=0) < 2:
        with pytest.raises(DataError, match="no class has two videos"):
            split_manifest(manifest, fraction=fraction, seed=seed)
        return
    train, val = split_manifest(manifest, fraction=fraction, seed=seed)
    assert (train, val) == split_manifest(manifest, fraction=fraction, seed=seed)
    order = {sample: k for k, sample in enumerate(manifest.samples)}
    for part in (train, val):
        assert part.class_names == manifest.class_names
        assert list(part.samples) == sorted(part.samples, key=order.__getitem__)
    assert sorted([*train.samples, *val.samples], key=order.__getitem__) == list(manifest.samples)
    held = Counter(sample.label for sample in val.samples)
    for label, size in sizes.items():
        assert held[label] == (0 if size == 1 else min(max(round(size * fraction), 1), size - 1))


def test_another_seed_holds_out_other_videos():
    manifest = Manifest(tuple(Sample(Path(f"{k}.mp4"), 0) for k in range(30)), ("x",))
    held = {split_manifest(manifest, fraction=0.3, seed=seed)[1].samples for seed in range(5)}
    assert len(held) == 5


def test_entries_of_one_video_stay_together():
    manifest = Manifest(tuple(Sample(Path(f"{k % 4}.mp4"), 0) for k in range(12)), ("x",))
    train, val = split_manifest(manifest, fraction=0.5, seed=0)
    assert {s.path for s in train.samples}.isdisjoint({s.path for s in val.samples})
    assert (len(train.samples), len(val.samples)) == (6, 6)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, float("nan")])
def test_fraction_that_leaves_nothing_is_refused(fraction):
    manifest = Manifest((Sample(Path("a.mp4"), 0), Sample(Path("b.mp4"), 0)), ("x",))
    with pytest.raises(ConfigError, match=rf"fraction={fraction} must lie between 0 and 1"):
        split_manifest(manifest, fraction=fraction, seed=0)


# --- groups ---


def test_groups_of_a_table_are_read(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "all.csv").write_text('path,label,group\na.mp4,x,anna\nb.mp4,y,\nc.mp4,x,"ben, at home"\n')
    manifest = load_manifest(tmp_path / "all.csv")
    assert [sample.group for sample in manifest.samples] == ["anna", "", "ben, at home"]
    assert manifest.groups == ("anna", "ben, at home")


def test_empty_cells_at_either_end_of_a_line_with_tabs_are_cells(tmp_path):
    (tmp_path / "all.tsv").write_text("path\tlabel\tgroup\r\na.mp4\tx\tanna\r\nb.mp4\ty\t\r\n", newline="")
    manifest = load_manifest(tmp_path / "all.tsv", check_exists=False)
    assert [sample.group for sample in manifest.samples] == ["anna", ""]
    (tmp_path / "all.tsv").write_text("group\tpath\tlabel\n\ta.mp4\tx\nben\tb.mp4\ty\n")
    manifest = load_manifest(tmp_path / "all.tsv", check_exists=False)
    assert [sample.group for sample in manifest.samples] == ["", "ben"]


def test_a_group_with_an_accent_is_one_in_both_forms_of_unicode(tmp_path):
    (tmp_path / "all.csv").write_text("path,label,group\na.mp4,x,Ren\u00e9\nb.mp4,y,Rene\u0301\n", encoding="utf-8")
    assert load_manifest(tmp_path / "all.csv", check_exists=False).groups == ("Ren\u00e9",)


def test_a_list_without_the_column_has_no_groups(tmp_path):
    (tmp_path / "all.csv").write_text("path,label\na.mp4,x\n")
    assert load_manifest(tmp_path / "all.csv", check_exists=False).groups == ()


def test_a_video_in_two_groups_is_refused_with_both_lines(tmp_path):
    (tmp_path / "all.csv").write_text("path,label,group\na.mp4,x,anna\nb.mp4,y,ben\na.mp4,x,ben\n")
    with pytest.raises(DataError, match=r"all.csv, line 4: .*a.mp4 has group 'ben' here and 'anna' in line 2"):
        load_manifest(tmp_path / "all.csv", check_exists=False)


@pytest.mark.parametrize("groups", [("anna", ""), ("", "anna")])
def test_a_video_that_is_listed_twice_needs_its_group_once(groups, tmp_path):
    (tmp_path / "all.csv").write_text("path,label,group\n" + "".join(f"a.mp4,x,{group}\n" for group in groups))
    manifest = load_manifest(tmp_path / "all.csv", check_exists=False)
    assert [sample.group for sample in manifest.samples] == ["anna", "anna"]


# --- writing ---

PIECES = st.text(
    st.sampled_from(" ,;\t\"'#/.-_0aé漢\u00a0") | st.characters(categories=["L", "N", "P", "S"]), max_size=12
)


GROUPS = st.just("") | PIECES.map(lambda text: unicodedata.normalize("NFC", text).strip())


@given(
    pieces=st.lists(PIECES, min_size=1, max_size=6, unique=True),
    separator=st.sampled_from(SEPARATORS),
    suffix=st.sampled_from([".mp4", ".WebM", ".mp4 .avi", ".ts"]),
    data=st.data(),
)
@settings(max_examples=120, deadline=None)
def test_written_list_reads_back_as_the_same_manifest(pieces, separator, suffix, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    # resolved names differ, so that no two samples name one file
    paths = sorted({Path(f"{folder}/x{piece}y{suffix}".replace("..", "")) for piece in pieces})
    names = data.draw(st.lists(st.from_regex(r"[^\s](.*[^\s])?", fullmatch=True), min_size=1, max_size=4, unique=True))
    names = [name for name in names if name.isprintable() and not name.isdecimal()] or ["#only"]
    labels = [data.draw(st.integers(0, len(names) - 1)) for _ in paths]
    groups = [data.draw(GROUPS) for _ in paths]
    manifest = Manifest(tuple(map(Sample, paths, labels, groups)), tuple(names))
    save_manifest(manifest, folder / "list.csv", separator=separator)
    assert load_manifest(folder / "list.csv", check_exists=False) == manifest


def test_plain_list_is_written_plainly(tmp_path):
    samples = (Sample(tmp_path / "videos/a-1.mp4", 1), Sample(tmp_path / "b c.mp4", 0), Sample(Path("/else/d.mp4"), 1))
    save_manifest(Manifest(samples, ("wave", "clap hands")), tmp_path / "train.csv", separator=" ")
    assert (tmp_path / "train.csv").read_text() == 'videos/a-1.mp4 1\n"b c.mp4" 0\n/else/d.mp4 1\n'
    assert (tmp_path / "classes.txt").read_text() == "wave\nclap hands\n"


def test_groups_are_written_as_a_table_with_a_header(tmp_path):
    samples = (
        Sample(tmp_path / "a.mp4", 1, "anna"),
        Sample(tmp_path / "b.mp4", 0),
        Sample(tmp_path / "c.mp4", 1, "b c"),
    )
    save_manifest(Manifest(samples, ("x", "y")), tmp_path / "all.tsv", separator="\t")
    assert (tmp_path / "all.tsv").read_text() == ('path\tlabel\tgroup\na.mp4\t1\tanna\nb.mp4\t0\t""\nc.mp4\t1\t"b c"\n')


@pytest.mark.parametrize("group", [" anna", "a\nb", "a\udcffb"])
def test_a_group_that_a_line_cannot_hold_is_refused(group, tmp_path):
    with pytest.raises(DataError, match="cannot be written in a line"):
        save_manifest(Manifest((Sample(tmp_path / "a.mp4", 0, group),), ("x",)), tmp_path / "list.csv")
    assert list(tmp_path.iterdir()) == []


def test_both_splits_share_the_class_names(tmp_path):
    manifest = Manifest(tuple(Sample(tmp_path / f"{k}.mp4", k % 2) for k in range(8)), ("x", "y"))
    for name, part in zip(("train", "val"), split_manifest(manifest, fraction=0.25, seed=1), strict=True):
        save_manifest(part, tmp_path / f"{name}.csv")
        assert load_split(tmp_path, name, check_exists=False) == part


def test_class_names_of_another_set_are_not_replaced(tmp_path):
    save_manifest(Manifest((Sample(tmp_path / "a.mp4", 0),), ("x", "y")), tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"classes.txt has other classes than the manifest"):
        save_manifest(Manifest((Sample(tmp_path / "a.mp4", 0),), ("x", "z")), tmp_path / "b.csv")
    assert not (tmp_path / "b.csv").exists()


@pytest.mark.parametrize(
    ("sample", "name", "message"),
    [
        ("a.png", "x", "a.png' does not end with one of"),
        ("a\nb.mp4", "x", "cannot be written in a line"),
        ("a\udcff.mp4", "x", "cannot be written in a line"),
        ("a.mp4", " x", "' x' cannot be written in a line"),
    ],
)
def test_text_that_a_line_cannot_hold_is_refused(sample, name, message, tmp_path):
    with pytest.raises(DataError, match=message):
        save_manifest(Manifest((Sample(tmp_path / sample, 0),), (name,)), tmp_path / "list.csv")
    assert list(tmp_path.iterdir()) == []


def test_class_named_by_the_number_of_another_is_not_written(tmp_path):
    manifest = Manifest((Sample(tmp_path / "a.mp4", 0),), ("1", "0"))
    with pytest.raises(DataError, match=r"class '1' cannot be written to .*: its number is 0, and '1' is another"):
        save_manifest(manifest, tmp_path / "list.csv")


def test_classes_named_by_their_own_numbers_read_back(tmp_path):
    manifest = Manifest((Sample(tmp_path / "a.mp4", 2),), ("0", "1", "2"))
    save_manifest(manifest, tmp_path / "list.csv")
    assert load_manifest(tmp_path / "list.csv", check_exists=False) == manifest


@pytest.mark.parametrize(
    ("name", "separator", "message"),
    [
        ("list.csv", "|", r"separator='\|' is not one of"),
        ("list.json", ",", "a list must end with .csv, .txt, .tsv or .lst"),
        ("classes.txt", ",", "must not be classes.txt"),
    ],
)
def test_list_of_another_form_is_not_written(name, separator, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        save_manifest(Manifest((Sample(tmp_path / "a.mp4", 0),), ("x",)), tmp_path / name, separator=separator)


def test_only_folders_and_lists_are_splits(tmp_path):
    touch(tmp_path, "clap/a.mp4", "wave/b.mp4", "loss_train.png", "loss_val.png", "train.csv")
    touch(tmp_path, "train_loss.csv", "val_loss.csv", "metrics_val.json")
    assert not holds_splits(tmp_path)
    assert load_manifest(tmp_path).class_names == ("clap", "wave")
    (tmp_path / "my-validation.txt").touch()
    assert holds_splits(tmp_path)


@pytest.mark.parametrize("read", [load_manifest, read_listing, partial(read_manifest, labels=())])
def test_an_empty_name_is_not_the_working_folder(read, tmp_path, monkeypatch):
    monkeypatch.chdir(touch(tmp_path, "clap/a.mp4", "wave/b.mp4"))
    with pytest.raises(DataError, match="the path of the data is empty: name a folder or an annotation file"):
        read("")
    with pytest.raises(DataError, match=r"https://x.org/d is an address, not a path: download it first"):
        read("https://x.org/d")


def test_a_class_whose_name_no_file_can_hold_is_refused(tmp_path):
    touch(tmp_path, "wave/a.mp4")
    write(tmp_path / "labels.json", '{"wave": 0, "caf\\udce9": 1}')
    with pytest.raises(DataError, match=r"its class names: the class 'caf\\xe9' is not UTF-8: rename it"):
        load(tmp_path / "clips.json", '[{"id": "a", "label": "wave"}]')
