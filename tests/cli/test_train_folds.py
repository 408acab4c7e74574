"""`train --folds` and `train --curve` from end to end, and every option that they refuse."""

import csv
import json
import subprocess
import sys
import time

import pytest

from fake_trainer import CLASSES, PERSONS
from person_videos import write_persons
from timesformer.weights.load import load

SMALL = ("--epochs", "1", "--batch-size", "6", "--device", "cpu", "--set", "data.num_workers=0",
         "--set", "model.depth=1", "--set", "model.embed_dim=24", "--set", "model.num_heads=2",
         "--model", "tiny", "--precision", "fp32")  # fmt: skip


@pytest.fixture(scope="module")
def persons(tmp_path_factory):
    """A list of a clip of each class by each of six persons."""
    folder = tmp_path_factory.mktemp("persons")
    return write_persons(folder, PERSONS, CLASSES, num_frames=5, size=(16, 20))


def test_folds_print_a_table_and_go_on_from_the_folder_alone(run, persons, tmp_path):
    output = tmp_path / "study"
    status, out, err = run("train", persons, "--folds", "3", "--output", output, *SMALL)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split() == ["fold", "top-1", "videos", "trained", "on", "minutes", "held", "out"]
    assert [line.split()[0] for line in lines[1:5]] == ["1", "2", "3", "all"]
    assert "fold 1 of 3: 6 videos of 2 groups (" in err
    assert lines[-1] == f"page               {output}/report.html"
    with open(output / "predictions.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(PERSONS) * len(CLASSES)
    assert load(output / "folds" / "2").info.labels == CLASSES
    status, again, err = run("train", "--resume", "--output", output, "--json")
    assert status == 0 and "fold 1 of 3" not in err
    found = json.loads(again)
    assert (found["num_folds"], found["evaluation"]["num_videos"]) == (3, 18)
    assert found["evaluation"]["top1_interval_method"] in ("t_over_groups", "wilson_over_groups")


def test_a_process_that_is_killed_goes_on_with_equal_results(run, persons, tmp_path):
    output, options = tmp_path / "killed", [*SMALL, "--set", "data.cache=false"]
    command = [sys.executable, "-m", "timesformer", "train", str(persons), "--folds", "2", "--output", str(output)]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (output / "folds/1/held_out.json").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    finished = (output / "folds/1/held_out.json").stat().st_mtime_ns
    status, _, _ = run("train", "--resume", "--output", output)
    assert status == 0
    assert (output / "folds/1/held_out.json").stat().st_mtime_ns == finished
    status, _, _ = run("train", persons, "--folds", "2", "--output", tmp_path / "whole", *options)
    assert status == 0
    assert (output / "predictions.csv").read_text() == (tmp_path / "whole/predictions.csv").read_text()


def test_a_curve_prints_a_table_and_a_sentence(run, persons, tmp_path):
    output = tmp_path / "study"
    status, out, _ = run("train", persons, "--curve", "--output", output, *SMALL)
    assert status == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["25", "50", "100"]
    assert any(line.startswith("15 training videos instead of 6 gave") for line in lines)
    assert (output / "curve.png").exists() and (output / "report.html").exists()
    status, again, _ = run("train", "--resume", "--output", output, "--json")
    assert status == 0
    assert [point["percentage"] for point in json.loads(again)["points"]] == [25, 50, 100]
    status, _, err = run("train", persons, "--output", output, *SMALL)
    assert status == 2
    assert f"--output {output} holds a curve over numbers of videos: name another folder" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--folds", "1"), "--folds 1: a cross-validation needs at least 2 folds"),
        (("--folds", "0"), "--folds 0: a cross-validation needs at least 2 folds"),
        (("--folds", "3", "--dry-run"), "--dry-run: no effect with --folds, which trains several runs"),
        (("--curve", "--preview", "x.png"), "--preview: no effect with --curve, which trains several runs"),
        (("--folds", "2", "--val", "v.csv"), "--val v.csv has no effect with --folds, where each fold is evaluated"),
        (("--folds", "9"), "num_folds=9: there are only 6 groups to deal"),
        (("--features", "x", "--folds", "2"), "--folds: no effect with --features"),
        (("--set", "data.fold=2"), "fold=2 has no effect without num_folds"),
        (("--set", "data.num_folds=1"), "num_folds=1: a cross-validation needs at least 2 folds, 0 is off"),
        (("--set", "data.num_folds=2"), "fold=0 must lie between 1 and num_folds=2"),
        (("--set", "data.val_from=fold"), "val_from='fold' has no effect without num_folds"),
        (("--set", "data.train_fraction=0"), "train_fraction=0.0 must be greater than 0 and at most 1"),
        (
            ("--set", "data.num_folds=2", "--set", "data.fold=1", "--set", "data.val_from=fold"),
            "the fold that is kept out must not choose the epoch; set keep='last' and patience=0",
        ),
        (
            ("--set", "data.num_folds=2", "--set", "data.fold=1", "--val", "v.csv"),
            "val='v.csv' has no effect with num_folds=2",
        ),
    ],
)
def test_what_has_no_effect_is_refused(run, persons, tmp_path, options, message):
    data = () if "--features" in options else (persons,)
    status, _, err = run("train", *data, "--output", tmp_path / "study", *options, *(SMALL if data else ()))
    assert status in (1, 2)
    assert message in err
    assert not (tmp_path / "study").exists()


def test_several_processes_are_refused_with_one_line(run, persons, tmp_path, monkeypatch):
    launch = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "x", "MASTER_PORT": "1"}
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
    status, _, err = run("train", persons, "--folds", "2", "--output", tmp_path / "study", *SMALL)
    assert status == 2
    assert "--folds runs in one process, not in 2: start it without torchrun or srun" in err


def test_one_fold_is_a_run_of_its_own(run, persons, tmp_path):
    keys = ("--set", "data.num_folds=3", "--set", "data.fold=2", "--set", "data.val_from=fold", "--set", "keep=last")
    status, out, _ = run("train", persons, "--output", tmp_path / "fold", *SMALL, *keys)
    assert status == 0 and out.startswith(str(tmp_path / "fold"))
    status, out, _ = run("train", persons, "--dry-run", *SMALL, *keys)
    assert status == 0
    assert "fold 2 of 3, by whole groups; 12 training and 6 validation videos (2 of 6 groups)" in out
