"""What people give to the verbs: folders of every layout, odd names, addresses and empty texts; one line each."""

import json
import os
import shutil

import pytest

from videos import write_frames

SHORT = ("--set", "data.num_workers=0", "--device", "cpu", "--model", "tiny", "--epochs", "1", "--batch-size", "4")


def copy(video_folder, folder, *parts):
    """The videos of two classes, once in each part, which are not the same in two parts."""
    for part in parts:
        for label, number in (("move_left", 0), ("shrink", 1)):
            (folder / part / label).mkdir(parents=True, exist_ok=True)
            shutil.copy(video_folder / label / f"{number}.mp4", folder / part / label / f"of_{part}.mp4")
    return folder


def verbs(data, *, model, tmp_path):
    """Every verb that reads a data set, on one."""
    return {
        "train": ("train", data, "--output", tmp_path / "run", *SHORT),
        "check": ("check", data, "--num-frames", 2),
        "evaluate": ("evaluate", data, "--model", model, "--num-workers", 0),
        "shard": ("shard", data, "--output", tmp_path / "shards"),
        "demo": ("demo", "--data", data, "--output", tmp_path / "demo"),
        "reproduce": ("reproduce", "schemes", "--data", data, "--dry-run"),
    }


READERS = ("train", "check", "evaluate", "shard", "demo", "reproduce")


# --- splits ---


@pytest.mark.parametrize(
    "names", [("train", "eval"), ("train", "dev"), ("videos_train", "videos_val"), ("train_256", "val_256")]
)
@pytest.mark.parametrize("verb", ["check", "evaluate", "shard", "reproduce"])
def test_splits_are_read_as_such_by_every_verb(run, model_folder, video_folder, tmp_path, names, verb):
    data = copy(video_folder, tmp_path / "data", *names, "test")
    status, out, _ = run(*verbs(data, model=model_folder, tmp_path=tmp_path)[verb], "--json")
    content = json.loads(out)
    if verb == "check":
        assert content["num_videos"] == {"train": 2, "val": 2}
        return
    assert status == 0
    if verb == "evaluate":
        assert content["num_videos"] == 2
    elif verb == "shard":
        assert (content["num_train"], content["num_val"], content["num_classes"]) == (2, 2, 2)
    else:
        assert content["num_train"] == 2


def test_a_training_on_splits_learns_their_classes(run, video_folder, tmp_path):
    data = copy(video_folder, tmp_path / "data", "videos_train", "videos_val")
    assert run("train", data, "--output", tmp_path / "run", *SHORT)[0] == 0
    assert (tmp_path / "run/model/labels.txt").read_text() == "move_left\nshrink\n"


@pytest.mark.parametrize("verb", READERS)
def test_unnamed_parts_are_refused_with_what_to_do_by_every_verb(run, model_folder, video_folder, tmp_path, verb):
    data = copy(video_folder, tmp_path / "data", "part1", "part2")
    status, out, err = run(*verbs(data, model=model_folder, tmp_path=tmp_path)[verb])
    assert (status, out) == (1, "")
    assert (
        f"error: {data} contains splits, not classes: its folders (part1, part2) contain folders of the same names"
        in err
    )
    assert f"`timesformer train {data}/part1 --val {data}/part2`" in err


@pytest.mark.parametrize("verb", READERS)
def test_a_folder_above_the_classes_is_refused_by_every_verb(run, model_folder, video_folder, tmp_path, verb):
    data = copy(video_folder, tmp_path / "UCF101", "UCF-101")
    status, out, err = run(*verbs(data, model=model_folder, tmp_path=tmp_path)[verb])
    assert (status, out) == (1, "")
    assert f"all videos lie in {data}/UCF-101, in 2 folders (move_left, shrink): name {data}/UCF-101" in err


# --- what is passed over ---


@pytest.fixture
def littered(video_folder, tmp_path):
    """Videos beside previews, a file without an extension, notes and a linked folder."""
    data = copy(video_folder, tmp_path / "littered", ".")
    write_frames(data / "shrink/previews", num_frames=2)
    shutil.copy(video_folder / "shrink/0.mp4", data / "shrink/clip")
    for name in ("shrink/notes.txt", "shrink/poster.png"):
        (data / name).touch()
    (data / "move_left/more").symlink_to(video_folder / "move_left", target_is_directory=True)
    return data


NOTE = (
    "passed over: videos without a video extension (rename them, such as to clip.mp4): 1 "
    "(shrink/clip); folders of numbered pictures next to video files, which count as previews: 1 (shrink/previews); "
    "other files: 2 (1 .png, 1 .txt)"
)


def test_predict_searches_linked_folders_and_names_what_it_passes_over(run, model_folder, littered):
    status, out, err = run("predict", littered, "--model", model_folder, "--json")
    assert status == 0
    assert [os.path.relpath(json.loads(line)["path"], littered) for line in out.splitlines()] == [
        "move_left/more/0.mp4",
        "move_left/more/1.mp4",
        "move_left/of_..mp4",
        "shrink/of_..mp4",
    ]
    assert err == f"{littered}: {NOTE}\n"


def test_evaluate_and_shard_name_what_they_pass_over(run, model_folder, littered, tmp_path, caplog):
    for verb in ("evaluate", "shard"):
        caplog.clear()
        assert run(*verbs(littered, model=model_folder, tmp_path=tmp_path)[verb])[0] == 0
        assert caplog.messages == [f"{littered}: {NOTE}"]


def test_check_finds_what_is_passed_over(run, littered):
    _, out, _ = run("check", littered, "--num-frames", "2", "--json")
    content = json.loads(out)
    findings = [f for f in content["findings"] if f["kind"] == "passed_over"]
    assert [(f["severity"], f["files"]) for f in findings] == [
        ("warning", [f"{littered}/shrink/clip"]),
        ("warning", [f"{littered}/shrink/previews"]),
    ]
    assert content["other_files"] == {".png": 1, ".txt": 1}
    _, out, _ = run("check", littered, "--num-frames", "2")
    assert "not read    other files: 2 (1 .png, 1 .txt)" in out


def test_check_does_not_drown_in_files(run, littered):
    for number in range(30):
        (littered / f"shrink/{number}.odd").touch()
    _, out, _ = run("check", littered, "--num-frames", "2")
    assert "passed_over: files without a video extension: 30\n" in out
    assert out.count(".odd") == 20
    assert "... and 10 more files" in out


# --- patterns ---


def test_a_pattern_under_a_folder_with_brackets_takes_its_own_files(run, model_folder, video_folder, tmp_path):
    for name in ("day [1]", "day 1"):
        (tmp_path / name).mkdir()
        shutil.copy(video_folder / "shrink/0.mp4", tmp_path / name / f"of {name}.mp4")
    status, out, _ = run("predict", tmp_path / "day [1]/*.mp4", "--model", model_folder, "--json")
    assert status == 0
    assert [json.loads(line)["path"] for line in out.splitlines()] == [f"{tmp_path}/day [1]/of day [1].mp4"]


def test_folders_that_match_a_pattern_are_named(run, model_folder, video_folder):
    status, _, err = run("predict", video_folder / "*", "--model", model_folder)
    assert status == 2
    assert f"folders that match are not searched: 3 (such as {video_folder}/move_left)" in err
    assert "no videos found (looked for" in err


# --- names that are not UTF-8 ---


def odd_name(folder, name):
    try:
        os.mkdir(os.fsencode(folder) + b"/" + name)
    except OSError:
        pytest.skip("this file system has no such names")
    return os.fsdecode(os.fsencode(folder) + b"/" + name)


@pytest.mark.parametrize("verb", READERS)
@pytest.mark.parametrize(
    ("name", "shown"), [(b"caf\xe9", r"'caf\xe9' is not UTF-8"), (b"a\nb", r"'a\nb' is not one line")]
)
def test_a_class_folder_that_no_model_can_name_is_refused_before_the_work(
    run, model_folder, video_folder, tmp_path, verb, name, shown
):
    data = copy(video_folder, tmp_path / "data", ".")
    shutil.copy(video_folder / "shrink/0.mp4", odd_name(data, name))
    status, out, err = run(*verbs(data, model=model_folder, tmp_path=tmp_path)[verb])
    assert (status, out) == (1, "")
    assert err == f"error: {data}, class folder: the class {shown}" + " of text" * (b"\n" in name) + ": rename it\n"
    assert not (tmp_path / "run").exists()


def test_a_class_of_a_list_that_no_model_can_name_is_refused(run, tmp_path):
    (tmp_path / "clips.json").write_text('[{"id": "a", "label": "caf\\udce9"}]')
    for verb in ("train", "check"):
        status, _, err = run(verb, tmp_path / "clips.json")
        assert status == 1
        assert r"clip 1: the class 'caf\xe9' is not UTF-8: rename it" in err


def test_videos_with_any_name_are_read_by_every_verb(run, model_folder, video_folder, tmp_path):
    data = copy(video_folder, tmp_path / "data", "train", "val")
    for path in data.glob("*/*/*.mp4"):
        os.rename(path, os.fsencode(path.parent) + b"/" + path.stem.encode() + b"\xe9.mp4")
    for verb in ("train", "evaluate", "shard"):
        status, _, err = run(*verbs(data, model=model_folder, tmp_path=tmp_path)[verb])
        assert status == 0, err
    assert run("evaluate", tmp_path / "shards", "--model", model_folder, "--num-workers", 0)[0] == 0
    status, out, err = run("check", data, "--num-frames", 2, "--output", tmp_path / "page", "--json")
    assert json.loads(out)["counts"] == {"leak": 2}, err
    assert "of_train\\udce9.mp4" in (tmp_path / "page/index.html").read_text()
    status, _, err = run("check", data / "train", "--num-frames", 2, "--fix", tmp_path / "clean.csv")
    assert status == 1
    assert "no training video is left: all are left out (2 bad_name)" in err


def test_a_run_on_a_folder_that_its_config_cannot_name_is_refused_at_once(run, video_folder, tmp_path):
    data = odd_name(tmp_path, b"d\xe9")
    copy(video_folder, tmp_path / os.path.basename(data), ".")
    status, out, err = run("train", data, "--output", tmp_path / "run", *SHORT)
    assert (status, out) == (2, "")
    assert r"d\xe9' is not UTF-8, which run files require: rename it first" in err


# --- addresses and empty texts ---


@pytest.mark.parametrize("verb", READERS)
@pytest.mark.parametrize("address", ["https://x.org/videos", "s3://bucket/list.csv"])
def test_an_address_as_data_is_one_line_that_says_to_download_it(run, model_folder, tmp_path, verb, address):
    status, out, err = run(*verbs(address, model=model_folder, tmp_path=tmp_path)[verb])
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {address.split(':')[0]}:/")
    assert err.endswith("is an address, not a path: download it first, and name the folder or file\n")


@pytest.mark.parametrize(
    "address", ["https://x.org/a.mp4", "rtsp://camera/1", "https://youtu.be/a?t=1", "http://x/*.mp4"]
)
def test_an_address_as_video_is_one_line_that_says_to_download_it(run, model_folder, video_folder, address):
    status, out, err = run("predict", video_folder, address, "--model", model_folder)
    assert (status, out) == (2, "")
    assert err == f"error: {address} is an address, not a path: download it first, and name the file\n"


def test_an_address_as_validation_or_model_is_told(run, video_folder, tmp_path):
    for arguments in (
        ("check", video_folder, "--val", "https://x.org/val.csv"),
        ("predict", video_folder, "--model", "https://x.org/a.pth"),
        ("info", "https://x.org/a.pth"),
        ("convert", "https://x.org/a.pth", tmp_path / "m"),
    ):
        status, out, err = run(*arguments)
        assert (status, out) == (1, "")
        assert "is an address, not a path: download it first" in err


def test_addresses_in_a_list_are_told(run, model_folder, tmp_path):
    (tmp_path / "list.txt").write_text("https://x.org/a.mp4 0\nhttps://x.org/b.mp4 1\n")
    for verb in ("train", "evaluate"):
        status, _, err = run(*verbs(tmp_path / "list.txt", model=model_folder, tmp_path=tmp_path)[verb])
        assert status == 1
        assert "line 1: 'https://x.org/a.mp4' is a URL: download the video first, and list the file" in err
    status, _, err = run("check", tmp_path / "list.txt", "--json")
    assert status == 1
    assert "line 1: 'https://x.org/a.mp4' is a URL: download the video first, and list the file" in err


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("predict", ""), "an argument"),
        (("predict", "a.mp4", ""), "an argument"),
        (("train", ""), "an argument"),
        (("check", ""), "an argument"),
        (("evaluate", ""), "an argument"),
        (("shard", "", "--output", "s"), "an argument"),
        (("info", ""), "an argument"),
        (("convert", "", "m"), "an argument"),
        (("convert", "m", ""), "an argument"),
        (("export", "", "--output", "m.onnx"), "an argument"),
        (("synth", ""), "an argument"),
        (("train", "d", "--val", ""), "--val"),
        (("train", "d", "--val="), "--val"),
        (("train", "d", "--output", ""), "--output"),
        (("train", "d", "--init-from", ""), "--init-from"),
        (("train", "d", "--sheet", ""), "--sheet"),
        (("predict", "a.mp4", "--model", ""), "--model"),
        (("evaluate", "d", "--csv", ""), "--csv"),
        (("check", "d", "--output", ""), "--output"),
        (("check", "d", "--fix="), "--fix"),
        (("export", "m", "--output", ""), "--output"),
        (("demo", "--data", ""), "--data"),
        (("reproduce", "schemes", "--data", ""), "--data"),
        (("bench", "cost", "--plot", ""), "--plot"),
    ],
)
def test_an_empty_text_is_wrong_usage(run, arguments, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {place} is empty: give it a value or leave it out")
    assert list(tmp_path.iterdir()) == []
