"""Split files of named data sets, in the form in which these are published."""

import json
from pathlib import Path

import pytest

from timesformer.data.check.listing import read_listing
from timesformer.data.manifest.manifest import Manifest, load_manifest, source_exists
from timesformer.errors import DataError
from videos import touch


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def rows(manifest: Manifest, root: Path) -> list[tuple[str, str]]:
    return [(s.path.relative_to(root).as_posix(), manifest.class_names[s.label]) for s in manifest.samples]


# --- UCF101 ---

CLASSES = "1 ApplyEyeMakeup\r\n2 Archery\r\n3 YoYo\r\n"
TRAIN = "Archery/v_Archery_g08_c01.avi 2\r\nApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\n"
TEST = "YoYo/v_YoYo_g01_c01.avi\nArchery/v_Archery_g01_c01.avi\n"


def ucf101(folder: Path, *, videos: str = "UCF-101", lists: str = "ucfTrainTestlist") -> Path:
    write(folder / lists / "classInd.txt", CLASSES)
    write(folder / lists / "trainlist01.txt", TRAIN)
    write(folder / lists / "testlist01.txt", TEST)
    touch(folder / videos, *(line.split()[0] for line in (TRAIN + TEST).splitlines()))
    return folder / lists


@pytest.mark.parametrize("videos", ["UCF-101", "videos", ".", "ucfTrainTestlist", "ucfTrainTestlist/UCF-101"])
def test_lists_of_ucf101_find_their_videos_and_count_classes_from_one(videos, tmp_path):
    lists = ucf101(tmp_path, videos=videos)
    train, test = load_manifest(lists / "trainlist01.txt"), load_manifest(lists / "testlist01.txt")
    assert train.class_names == test.class_names == ("ApplyEyeMakeup", "Archery", "YoYo")
    assert rows(train, tmp_path / videos) == [
        ("Archery/v_Archery_g08_c01.avi", "Archery"),
        ("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", "ApplyEyeMakeup"),
    ]
    assert [s.label for s in test.samples] == [2, 1]


def test_lists_of_ucf101_are_found_from_their_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(ucf101(tmp_path))
    assert load_manifest("testlist01.txt").samples[0].path == Path("../UCF-101/YoYo/v_YoYo_g01_c01.avi")


def test_classes_of_a_model_give_the_labels_of_ucf101(tmp_path):
    lists = ucf101(tmp_path)
    manifest = load_manifest(lists / "testlist01.txt", class_names=["YoYo", "Archery", "ApplyEyeMakeup"])
    assert [s.label for s in manifest.samples] == [0, 1]


def test_check_lists_a_class_of_ucf101_without_a_training_video(tmp_path):
    lists = ucf101(tmp_path)
    listing = read_listing(lists / "trainlist01.txt", val=lists / "testlist01.txt")
    assert listing.class_names == ("ApplyEyeMakeup", "Archery", "YoYo")
    assert [(v.split, v.label, v.problem) for v in listing.videos] == [
        ("train", 1, ""),
        ("train", 0, ""),
        ("val", 2, ""),
        ("val", 1, ""),
    ]


def test_list_of_that_name_without_the_classes_is_any_list(tmp_path):
    write(tmp_path / "trainlist01.txt", "a.mp4 0\nb.mp4 1\n")
    assert load_manifest(tmp_path / "trainlist01.txt", check_exists=False).class_names == ("0", "1")


@pytest.mark.parametrize("read", [load_manifest, read_listing])
def test_folder_of_lists_of_ucf101_is_refused_with_what_to_name(read, tmp_path):
    lists = ucf101(tmp_path)
    with pytest.raises(
        DataError, match=r"contains the splits of UCF101: name one of them: .*testlist01.txt, .*trainlist01"
    ):
        read(lists)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("trainlist01.txt", "", "trainlist01.txt lists no video"),
        ("trainlist01.txt", "v.avi 1\n", r"trainlist01.txt, line 1: 'v.avi 1' is not class/video.avi"),
        ("trainlist01.txt", "\nArchery/v.avi 1\n", "line 2: 'Archery' has number 1 here, but not in classInd.txt"),
        ("trainlist01.txt", "Archery/v.avi 9\n", "line 1: 'Archery' has number 9 here, but not in classInd.txt"),
        ("trainlist01.txt", "Archer/v.avi\n", "line 1: unknown class 'Archer', did you mean 'Archery'"),
        ("trainlist01.txt", "Archery/v.avi 2\n", "1 of 1 videos are missing: .*Archery/v.avi"),
        ("classInd.txt", "1 A\n3 B\n", "classInd.txt: the numbers of 2 classes must be 1 to 2, each once"),
        ("classInd.txt", "A\n", "classInd.txt: 'A' is not the number and the name of a class"),
        ("classInd.txt", "1 A\nB C\n", "classInd.txt: 'B C' is not the number and the name of a class"),
    ],
)
def test_broken_lists_of_ucf101_are_refused(name, text, message, tmp_path):
    lists = ucf101(tmp_path)
    write(lists / name, text)
    with pytest.raises(DataError, match=message):
        load_manifest(lists / "trainlist01.txt")


# --- HMDB51 ---

ODD = "#20_Rhythm_(HQ); it's_clap_u_nm_np1_fr_goo_0.avi"


def hmdb51(folder: Path, *, videos: str = "hmdb51_org", lists: str = "testTrainMulti_7030_splits") -> Path:
    write(folder / lists / "clap_test_split1.txt", f"{ODD} 1 \nb.avi 2 \nc.avi 0 \n")
    write(folder / lists / "clap_test_split2.txt", f"{ODD} 2 \nb.avi 1 \nc.avi 1 \n")
    write(folder / lists / "brush_hair_test_split1.txt", "d.avi 2\ne.avi 1\n")
    write(folder / lists / "brush_hair_test_split2.txt", "d.avi 1\ne.avi 0\n")
    touch(
        folder / videos, *(f"clap/{name}" for name in (ODD, "b.avi", "c.avi")), "brush_hair/d.avi", "brush_hair/e.avi"
    )
    return folder / lists


@pytest.mark.parametrize("videos", ["hmdb51_org", "videos", ".", "testTrainMulti_7030_splits/hmdb51"])
def test_splits_of_hmdb51_are_named_by_split_and_number(videos, tmp_path):
    lists = hmdb51(tmp_path, videos=videos)
    parts = {
        name: load_manifest(lists / name) for name in ("train_split1", "test_split1", "train_split2", "test_split2")
    }
    assert {manifest.class_names for manifest in parts.values()} == {("brush_hair", "clap")}
    assert {name: rows(manifest, tmp_path / videos) for name, manifest in parts.items()} == {
        "train_split1": [("brush_hair/e.avi", "brush_hair"), (f"clap/{ODD}", "clap")],
        "test_split1": [("brush_hair/d.avi", "brush_hair"), ("clap/b.avi", "clap")],
        "train_split2": [("brush_hair/d.avi", "brush_hair"), ("clap/b.avi", "clap"), ("clap/c.avi", "clap")],
        "test_split2": [(f"clap/{ODD}", "clap")],
    }


def test_a_split_of_hmdb51_exists_though_it_is_no_file(tmp_path):
    lists = hmdb51(tmp_path)
    assert source_exists(lists / "train_split1")
    assert not source_exists(lists / "all_split1")
    assert not source_exists(tmp_path / "train_split1")
    assert [v.split for v in read_listing(lists / "train_split1", val=lists / "test_split1").videos] == [
        "train",
        "train",
        "val",
        "val",
    ]


@pytest.mark.parametrize("read", [load_manifest, read_listing])
def test_folder_of_splits_of_hmdb51_is_refused_with_what_to_name(read, tmp_path):
    lists = hmdb51(tmp_path)
    with pytest.raises(
        DataError,
        match=r"contains the splits of HMDB51: name one of them: .*/train_split1, .*/test_split1, .*/train_split2",
    ):
        read(lists)


@pytest.mark.parametrize(
    ("source", "text", "message"),
    [
        ("train_split4", "", "HMDB51 has no split 4 here, allowed are 1, 2"),
        (
            "train_split1",
            "b.avi 3\n",
            r"line 1: 'b.avi 3' is not a video followed by one of 0 \(unused\), 1",
        ),
        ("train_split1", "b.avi\n", "clap_test_split1.txt, line 1: 'b.avi' is not a video followed by one of"),
        ("train_split1", "z.avi 1\n", "1 of 2 videos are missing: .*clap/z.avi"),
    ],
)
def test_broken_splits_of_hmdb51_are_refused(source, text, message, tmp_path):
    lists = hmdb51(tmp_path)
    write(lists / "clap_test_split1.txt", text)
    with pytest.raises(DataError, match=message):
        load_manifest(lists / source)


def test_class_without_a_file_of_the_split_is_refused(tmp_path):
    lists = hmdb51(tmp_path)
    (lists / "clap_test_split2.txt").unlink()
    with pytest.raises(DataError, match=r"clap_test_split2.txt does not exist, but other splits of this class do"):
        load_manifest(lists / "test_split2")


def test_split_without_videos_is_refused(tmp_path):
    write(tmp_path / "clap_test_split1.txt", "a.avi 1\n")
    with pytest.raises(DataError, match="test_split1 lists no video"):
        load_manifest(tmp_path / "test_split1")


# --- Diving-48 ---

DIVES = [
    {"vid_name": "_8Vy3dlHg2w_00001", "label": 1, "start_frame": 0, "end_frame": 108},
    {"vid_name": "bcd_00002", "label": 0, "start_frame": 0, "end_frame": 90},
]
VOCABULARY = [["Back", "15som", "05Twis", "FREE"], ["Back", "15som", "15Twis", "FREE"], ["Inward", "Dive", "NoTwis"]]


def diving48(folder: Path) -> Path:
    write(folder / "Diving48_vocab.json", json.dumps(VOCABULARY))
    touch(folder, *(f"rgb/{dive['vid_name']}.mp4" for dive in DIVES))
    return write(folder / "Diving48_V2_train.json", json.dumps(DIVES))


def test_diving48_is_read_with_its_vocabulary(tmp_path):
    manifest = load_manifest(diving48(tmp_path))
    assert manifest.class_names == ("Back 15som 05Twis FREE", "Back 15som 15Twis FREE", "Inward Dive NoTwis")
    assert rows(manifest, tmp_path) == [
        ("rgb/_8Vy3dlHg2w_00001.mp4", "Back 15som 15Twis FREE"),
        ("rgb/bcd_00002.mp4", "Back 15som 05Twis FREE"),
    ]


def test_missing_dive_is_named_where_it_is_published(tmp_path):
    path = diving48(tmp_path)
    (tmp_path / "rgb/bcd_00002.mp4").unlink()
    with pytest.raises(DataError, match=r"1 of 2 videos are missing: .*/rgb/bcd_00002.mp4$"):
        load_manifest(path)


@pytest.mark.parametrize("text", ['{"a": 1}', '["Back", "15som"]', "[[1, 2]]"])
def test_broken_vocabulary_is_refused(text, tmp_path):
    path = diving48(tmp_path)
    write(tmp_path / "Diving48_vocab.json", text)
    with pytest.raises(DataError, match=r"Diving48_vocab.json is not a list of dives"):
        load_manifest(path)


def test_dive_of_an_unknown_class_is_refused(tmp_path):
    path = diving48(tmp_path)
    write(path, json.dumps([DIVES[0] | {"label": 3}]))
    with pytest.raises(DataError, match="clip 1: label 3 is out of range, allowed are 0 to 2"):
        load_manifest(path)


def test_dive_without_a_label_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"clip 1 \(vid_name a\): has neither 'template' nor 'label'"):
        load_manifest(write(tmp_path / "dives.json", '[{"vid_name": "a"}]'))
