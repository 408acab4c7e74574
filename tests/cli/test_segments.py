"""Lists of segments through the real command line: train, evaluate, check, shard."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import render_clip

FPS = 10
SHORT = ("--set", "data.num_workers=0", "--device", "cpu", "--model", "tiny", "--epochs", "1", "--batch-size", "4")
HEADER = "path,label,start,end\n"


@pytest.fixture(scope="module")
def long_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of 3 s, each with a second of two motions and one without a label, and the list of them."""
    folder = tmp_path_factory.mktemp("long")
    rows = []
    for number in range(3):
        parts = [
            render_clip(name, seed=number, num_frames=FPS, size=(16, 24)) for name in ("grow", "move_left", "meet")
        ]
        write_clip(folder / f"{number}.mp4", np.concatenate(parts), fps=FPS)
        rows += [f"{number}.mp4,grow,0,1\n", f"{number}.mp4,move_left,1,2\n"]
    (folder / "all.csv").write_text(HEADER + "".join(rows))
    return folder


def test_train_evaluate_and_shard_a_list_of_segments(run, long_videos, tmp_path, caplog):
    data = long_videos / "all.csv"
    settings = ("--set", "data.background=1", "--set", "data.val_fraction=0.3")
    with caplog.at_level("INFO"):
        status, _, err = run("train", data, "--output", tmp_path / "run", *SHORT, *settings)
    assert status == 0, err
    assert (
        "training: 6 segments of 2 videos in 3 classes, 3 segments of 1 video for validation (no groups" in caplog.text
    )
    assert (tmp_path / "run" / "model" / "labels.txt").read_text() == "grow\nmove_left\nbackground\n"
    assert json.loads((tmp_path / "run" / "model" / "config.json").read_text())["clip_seconds"] == 1.0

    table = tmp_path / "predictions.csv"
    status, out, err = run("evaluate", data, "--model", tmp_path / "run", "--num-workers", 0, "--csv", table)
    assert status == 0, err
    assert "videos             6 segments of 3 videos\n" in out
    with table.open(newline="") as file:
        assert [(row["start"], row["end"]) for row in csv.DictReader(file)] == [("0.0", "1.0"), ("1.0", "2.0")] * 3

    arguments = ("evaluate", data, "--model", tmp_path / "run", "--num-workers", 0, "--json")
    status, out, err = run(*arguments, "--background", 1)
    assert status == 0, err
    rows = json.loads(out)["predictions"]
    assert [row["label"] for row in rows[6:]] == ["background"] * 3
    assert all(row["end"] <= 3 and row["start"] >= 2 for row in rows[6:])  # the only unlabeled second

    status, out, err = run("shard", data, "--output", tmp_path / "shards")
    assert status == 0, err
    assert "videos: 3, shards: 1" in err
    lines = (tmp_path / "shards" / "train.csv").read_text().splitlines()
    assert (lines[0], len(lines)) == ("path,label,start,end", 7)
    status, out, err = run("evaluate", tmp_path / "shards" / "train.csv", *arguments[2:])
    assert status == 0, err
    packed = json.loads(out)["predictions"]
    assert sorted(tuple(row["top5"][0]) for row in packed) == sorted(tuple(row["top5"][0]) for row in rows[:6])


def test_dry_run_counts_segments(run, long_videos, tmp_path):
    status, out, _ = run("train", long_videos / "all.csv", "--output", tmp_path / "run", "--dry-run", *SHORT)
    assert status == 0
    assert "4 training and 2 validation segments" in out


def test_negative_background_is_refused(run, long_videos, tmp_path):
    setting = ("--set", "data.background=-1")
    status, _, err = run("train", long_videos / "all.csv", "--output", tmp_path / "run", *SHORT, *setting)
    assert status == 2
    assert "background=-1.0 must be finite and not negative" in " ".join(err.split())


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ("0.mp4,grow,1,1\n", (), "line 2: a segment from 1 to 1 s: it must end after it starts"),
        ("0.mp4,grow,2,1\n", (), "line 2: a segment from 2 to 1 s: it must end after it starts"),
        ("0.mp4,grow,-1,1\n", (), "line 2: a segment from -1 to 1 s: times are seconds from the start, 0 or more"),
        ("0.mp4,grow,0,1\n0.mp4,meet,5,6\n", (), "no frame in the segment from 5 to 6 s; the video has 30 frames and"),
        ("0.mp4,grow,,\n1.mp4,meet,0,1\n", ("data.background=1",), "is labeled as a whole, so no time is left for"),
        ("0.mp4,background,0,1\n1.mp4,meet,0,1\n", ("data.background=1",), "'background' is labeled in the list: set"),
        (
            "0.mp4,grow,0,3\n1.mp4,meet,0,3\n",
            ("data.background=1",),
            "no video has unlabeled time for a segment as long",
        ),
    ],
)
def test_segments_that_cannot_be_trained_on_are_one_clear_line(run, long_videos, tmp_path, rows, options, message):
    for name in ("0.mp4", "1.mp4"):
        shutil.copy(long_videos / name, tmp_path / name)
    (tmp_path / "list.csv").write_text(HEADER + rows)
    settings = [part for option in options for part in ("--set", option)]
    data = (tmp_path / "list.csv", "--val", tmp_path / "list.csv")
    status, _, err = run("train", *data, "--output", tmp_path / "run", *SHORT, *settings)
    assert status == 1
    assert message in " ".join(err.split())


def test_background_needs_a_model_that_knows_it(run, long_videos, model_folder, tmp_path):
    (long_videos / "left.csv").write_text(HEADER + "0.mp4,move_left,1,2\n")
    arguments = ("evaluate", long_videos / "left.csv", "--model", model_folder, "--num-workers", 0)
    status, _, err = run(*arguments, "--background", 1)
    assert status == 1
    assert "background=1 needs a model with the class 'background': train one with data.background" in " ".join(
        err.split()
    )
    status, _, err = run(*arguments)
    assert status == 0
