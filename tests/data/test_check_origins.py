"""Groups (persons, recordings) in both splits, and videos in two groups, are findings of a check."""

import json
import shutil

import pytest

from planted_faults import clip
from timesformer.cli.main import main
from timesformer.data.check.clean import clean, save_clean
from timesformer.data.check.data_check import check_dataset
from timesformer.data.check.report import write_check_page
from timesformer.data.manifest.manifest import load_manifest, load_split
from timesformer.data.synthetic.dataset import write_clip
from timesformer.errors import DataError

TRAIN = ["0.mp4,wave,anna", "1.mp4,clap,anna", "2.mp4,wave,ben", "3.mp4,clap,ben", "4.mp4,wave,", "5.mp4,clap,"]
VAL = ["6.mp4,wave,cleo", "7.mp4,clap,ben", "8.mp4,wave,", "9.mp4,wave,ben"]


@pytest.fixture
def clips(tmp_path):
    for number in range(10):
        write_clip(tmp_path / f"{number}.mp4", clip("move_left", "train", number)[:, ::2, ::2])
    return tmp_path


def write_lists(folder, *, train=TRAIN, val=VAL):
    for name, lines in (("train", train), ("val", val)):
        (folder / f"{name}.csv").write_text("\n".join(["path,label,group", *lines, ""]))
    return folder


def found(check):
    return [(f.kind, [file.name for file in f.files], f.reason) for f in check.findings]


def test_a_group_in_both_splits_is_an_error_with_its_name_and_counts(clips):
    check = check_dataset(write_lists(clips))
    files = ["2.mp4", "3.mp4", "7.mp4", "9.mp4"]
    assert found(check) == [("group_leak", files, "group ben: 2 videos in train and 2 in val")]
    assert check.num_errors == 1
    assert check.to_dict()["num_groups"] == {"train": 2, "val": 2}


def test_groups_in_one_split_each_are_not_a_finding(clips):
    assert check_dataset(write_lists(clips, val=["6.mp4,wave,cleo", "8.mp4,clap,"])).findings == ()


def test_one_list_has_no_leak_of_groups(clips):
    check = check_dataset(write_lists(clips) / "train.csv")
    assert check.findings == ()
    assert check.num_groups("train") == 2


def test_a_video_in_two_groups_is_an_error_by_path_and_by_bytes(clips):
    shutil.copy(clips / "0.mp4", clips / "copy.mp4")
    lines = [*TRAIN, "1.mp4,clap,dora", "copy.mp4,wave,emil", "gone.mp4,wave,anna", "gone.mp4,wave,ben"]
    check = check_dataset(write_lists(clips, train=lines) / "train.csv")
    conflicts = [(files, reason) for kind, files, reason in found(check) if kind == "conflicting_group"]
    assert conflicts == [
        (["0.mp4", "copy.mp4"], "the same bytes in groups anna, emil"),
        (["1.mp4"], "one video in groups anna, dora"),
        (["gone.mp4"], "one video in groups anna, ben"),
    ]
    with pytest.raises(DataError, match=r"1\.mp4 has group 'dora' here and 'anna' in line 3"):
        load_manifest(clips / "train.csv", check_exists=False)


def test_a_video_that_has_its_group_in_one_of_two_lines_is_no_conflict_and_keeps_it(clips):
    check = check_dataset(write_lists(clips, train=["0.mp4,wave,", *TRAIN]) / "train.csv")
    assert [kind for kind, _, _ in found(check)] == ["duplicate"]
    assert [sample.group for sample in clean(check).train.samples] == ["anna", "anna", "ben", "ben", "", ""]


def test_a_clean_list_keeps_the_groups_and_training_loses_those_of_validation(clips):
    cleaned = clean(check_dataset(write_lists(clips)))
    assert {(v.path.name, v.split, v.reason) for v in cleaned.left_out} == {
        ("2.mp4", "train", "group_leak"),
        ("3.mp4", "train", "group_leak"),
    }
    save_clean(cleaned, clips / "clean")
    train, val = load_split(clips / "clean", "train"), load_split(clips / "clean", "val")
    assert train is not None and val is not None
    assert [(sample.path.name, sample.group) for sample in train.samples] == [
        ("0.mp4", "anna"), ("1.mp4", "anna"), ("4.mp4", ""), ("5.mp4", "")
    ]  # fmt: skip
    assert [sample.group for sample in val.samples] == ["cleo", "ben", "", "ben"]
    assert check_dataset(clips / "clean").findings == ()


def test_a_group_whose_validation_videos_are_faulty_stays_in_training(clips):
    val = ["6.mp4,wave,cleo", "7.mp4,clap,cleo", "gone.mp4,wave,ben"]
    cleaned = clean(check_dataset(write_lists(clips, val=val)))
    assert [(v.path.name, v.reason) for v in cleaned.left_out] == [("gone.mp4", "missing")]


def test_a_video_of_two_groups_is_in_no_clean_list(clips):
    cleaned = clean(check_dataset(write_lists(clips, train=[*TRAIN, "1.mp4,clap,dora"]) / "train.csv"))
    assert [(v.path.name, v.reason) for v in cleaned.left_out] == [("1.mp4", "conflicting_group")] * 2


def test_a_set_whose_groups_are_all_in_validation_cannot_be_cleaned(clips):
    check = check_dataset(write_lists(clips, train=["2.mp4,wave,ben", "3.mp4,clap,cleo"]))
    with pytest.raises(DataError, match=r"no training video is left: .* \(2 group_leak\)"):
        clean(check)


def test_the_page_shows_the_group(clips):
    page = write_check_page(check_dataset(write_lists(clips)), clips / "index.html").read_text()
    assert 'id="group_leak"' in page
    assert "group ben: 2 videos in train and 2 in val" in page


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return (caught.value.code or 0, *capsys.readouterr())


def test_the_command_tells_groups_leaks_and_what_it_left_out(clips, capsys):
    status, out, err = call(capsys, "check", write_lists(clips), "--fix", clips / "clean")
    assert status == 1
    assert "group_leak: group ben: 2 videos in train and 2 in val\n" in out
    assert "groups      2 for training, 2 for validation\n" in out
    assert "2 of them" not in err
    assert "left out 2 videos, 0 of them from training because they are also in validation and 2 because their" in err
    status, out, _ = call(capsys, "check", clips / "clean", "--json")
    assert (status, json.loads(out)["findings"]) == (0, [])


def test_a_finding_of_many_files_lists_some_and_counts_the_others(clips, capsys):
    lines = [f"gone{number}.mp4,wave,ben" for number in range(30)]
    _, out, _ = call(capsys, "check", write_lists(clips, train=[*lines, "1.mp4,clap,anna"], val=["2.mp4,wave,ben"]))
    own = out[out.index("group_leak: group ben: 30 videos in train and 1 in val\n") :]
    assert "    ... and 11 more files\n" in own
