"""`timesformer check` from end to end."""

import json

import pytest

from planted_faults import FINDINGS, LEFT_OUT, plant
from timesformer.data.check.scan import Scanner
from timesformer.data.manifest.manifest import load_split
from videos import write_timed


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("planted"))


def test_errors_give_status_1_and_a_table(run, planted):
    status, out, err = run("check", planted)
    assert status == 1
    assert err == ""
    assert f"leak: the same bytes in train and in val\n    {planted}/train/wave/0.mp4\n" in out
    assert "22 for training, 8 for validation, in 4 classes of 0 to 8" in out
    assert "8 errors, 2 warnings" in out


def test_json_holds_all_findings(run, planted):
    status, out, _ = run("check", planted, "--json")
    content = json.loads(out)
    assert status == 1
    listed = {(f["kind"], tuple(file.removeprefix(f"{planted}/") for file in f["files"])) for f in content["findings"]}
    assert listed == FINDINGS


def test_the_clean_lists_are_without_findings_and_give_status_0(run, planted, tmp_path):
    status, out, err = run("check", planted, "--fix", tmp_path / "clean", "--output", tmp_path / "page")
    assert status == 1
    assert f"left out {len(LEFT_OUT)} videos, 2 of them from training because they are also in" in err
    assert "classes without a training video were dropped: nod" in err
    assert str(tmp_path / "page/index.html") in out
    assert json.loads((tmp_path / "page/check.json").read_text())["num_errors"] == 8
    status, out, _ = run("check", tmp_path / "clean")
    assert status == 0
    assert "nothing wrong" in out
    train = load_split(tmp_path / "clean", "train")
    assert train is not None and len(train.samples) == 12


def test_a_second_run_decodes_nothing(run, video_folder, monkeypatch):
    assert run("check", video_folder, "--num-frames", "6")[0] == 0
    monkeypatch.setattr(Scanner, "scan", lambda scanner, path: pytest.fail(f"{path} is decoded again"))
    assert run("check", video_folder, "--num-frames", "6")[0] == 0
    status, out, _ = run("check", video_folder, "--num-frames", "7", "--json")
    assert (status, json.loads(out)["counts"]) == (1, {"too_short": 6})


def test_warnings_alone_give_status_0(run, video_folder, tmp_path):
    lines = [f"{video_folder}/move_left/0.mp4,0", f"{video_folder}/shrink/0.mp4,1"]
    (tmp_path / "all.csv").write_text("\n".join([*lines, lines[0]]))
    status, out, _ = run("check", tmp_path / "all.csv", "--num-frames", "6", "--fix", tmp_path / "clean.csv", "--json")
    content = json.loads(out)
    assert (status, content["counts"]) == (0, {"duplicate": 1})
    assert content["fix"]["left_out"] == [
        {"path": f"{video_folder}/move_left/0.mp4", "split": "train", "reason": "duplicate"}
    ]


@pytest.mark.parametrize("option", ["--fix", "--output"])
def test_nothing_is_overwritten_unasked(run, video_folder, tmp_path, option):
    target = tmp_path / ("clean.csv" if option == "--fix" else "page")
    assert run("check", video_folder, option, target, "--num-frames", "6")[0] == 0
    status, _, err = run("check", video_folder, option, target, "--num-frames", "6")
    assert status == 2
    assert "--overwrite" in err
    assert run("check", video_folder, option, target, "--num-frames", "6", "--overwrite")[0] == 0


def test_a_source_that_is_not_there_is_one_line(run, tmp_path):
    status, out, err = run("check", tmp_path / "none")
    assert (status, out) == (1, "")
    assert err.startswith("error: ") and "does not exist" in err


def test_an_output_that_is_a_file_is_wrong_usage(run, video_folder, tmp_path):
    (tmp_path / "file").touch()
    status, _, err = run("check", video_folder, "--output", tmp_path / "file")
    assert status == 2
    assert "is a file; choose a folder" in err


def test_odd_timing_is_a_warning_with_its_reason(run, tmp_path):
    (tmp_path / "data/wave").mkdir(parents=True)
    path = write_timed(tmp_path / "data/wave/equal.mkv", [0] * 12, fps=1325)
    reason = "equal timestamps: 11; 1325 frames a second in the header, above 240; dense clips follow an assumed rate"
    for _ in range(2):  # the second time from the cache
        status, out, _ = run("check", tmp_path / "data", "--output", tmp_path / "page", "--overwrite")
        assert status == 0
        assert f"timing: {reason} of 30 frames a second\n    {path}\n" in out
        assert "found       0 errors, 1 warning\n" in out
    assert reason in (tmp_path / "page/index.html").read_text()


def test_a_clean_list_does_not_go_into_the_data_set_itself(run, planted):
    status, _, err = run("check", planted, "--fix", planted)
    assert status == 2
    assert "is the data set itself, which would then have two sources for each split; name another folder" in err
    assert not list(planted.glob("*.csv"))
