"""Names of files that are not UTF-8, through the command line."""

import csv
import json
import os
import shutil

import pytest

from timesformer.config.info import ModelInfo
from timesformer.weights.load import load

ODD = "caf\udce9"
"""`caf\xe9` in Latin-1, as Python names such a file."""


@pytest.fixture
def odd_folder(video_folder, tmp_path):
    """Videos of three classes, one of them with a name that is not UTF-8."""
    folder = tmp_path / "videos"
    shutil.copytree(video_folder, folder)
    os.rename(folder / "shrink/0.mp4", folder / "shrink" / f"{ODD}.mp4")
    return folder


def test_evaluation_is_written_in_utf8_whatever_the_names(run, odd_folder, model_folder, tmp_path):
    table, page = tmp_path / "p.csv", tmp_path / "p.html"
    status, out, err = run(
        "evaluate", odd_folder, "--model", model_folder, "--num-workers", 0, "--csv", table, "--page", page, "--json"
    )
    assert (status, err) == (0, "")
    [path] = [row["path"] for row in json.loads(out)["predictions"] if "caf" in row["path"]]
    assert os.path.exists(path)  # JSON gives the very name back
    rows = list(csv.DictReader(table.read_text("utf-8").splitlines()))
    assert f"{odd_folder}/shrink/caf\\xe9.mp4" in [row["path"] for row in rows]
    assert r"caf\udce9.mp4" in page.read_text("utf-8")


def test_check_reports_and_lists_what_a_list_can_hold(run, odd_folder, tmp_path):
    _, out, _ = run(
        "check", odd_folder, "--num-frames", 3, "--output", tmp_path / "page", "--fix", tmp_path / "c.csv", "--json"
    )
    left_out = json.loads(out)["fix"]["left_out"]
    assert left_out == [{"path": f"{odd_folder}/shrink/{ODD}.mp4", "split": "train", "reason": "bad_name"}]
    assert len((tmp_path / "c.csv").read_text("utf-8").splitlines()) == 5
    json.loads((tmp_path / "page/check.json").read_text("utf-8"))
    (tmp_path / "page/index.html").read_text("utf-8")


def test_check_tells_what_it_found_also_if_no_video_is_left_for_a_list(run, odd_folder, tmp_path):
    for path in [*odd_folder.glob("*/[01].mp4")]:
        path.write_bytes(b"")
    status, out, err = run("check", odd_folder, "--num-frames", 3, "--fix", tmp_path / "c.csv", "--json")
    assert status == 1
    assert json.loads(out)["counts"] == {"unreadable": 5}
    assert "no training video is left" in err


@pytest.mark.parametrize("place", ["data", "output"])
def test_run_whose_config_cannot_be_written_is_refused_before_it_starts(run, video_folder, tmp_path, place):
    odd = shutil.copytree(video_folder, tmp_path / ODD)
    data, output = (odd, tmp_path / "run") if place == "data" else (video_folder, odd / "run")
    status, _, err = run("train", data, "--output", output, "--epochs", 1, "--device", "cpu")
    assert status == 2
    assert "is not UTF-8, which run files require: rename it first" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_weights_of_such_a_name_become_a_model_that_can_be_read(run, model_folder, tmp_path):
    square = tmp_path / "square"
    assert run("convert", model_folder, square, "--set", "image_size=16")[0] == 0
    assert run("convert", square, tmp_path / f"{ODD}.pyth", "--to", "released")[0] == 0
    target = tmp_path / "model"
    assert run("convert", tmp_path / f"{ODD}.pyth", target)[0] == 0
    assert load(target).config.image_size == (16, 16)
    (tmp_path / ODD).mkdir()
    assert run("export", target, "--output", tmp_path / ODD / "m.onnx")[0] == 0
    assert run("info", target, "--json")[0] == 0


def test_origin_of_weights_is_text_in_utf8():
    assert ModelInfo(source=f"released checkpoint {ODD}.pyth").source == r"released checkpoint caf\xe9.pyth"


def test_reversed_copies_have_names_that_a_list_can_hold(run, odd_folder, tmp_path):
    small = ("--set", "model.image_size=16", "--set", "model.patch_size=8", "--set", "data.num_workers=0")
    status, _, err = run(
        "reproduce", "schemes", "--data", odd_folder, "--reversed", "--schemes", "space_only", "--epochs", 1,
        "--device", "cpu", *small, "--output", tmp_path / "out",
    )  # fmt: skip
    assert status == 0, err
