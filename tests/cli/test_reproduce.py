"""`timesformer reproduce` through the real command line, on a handful of videos."""

import json

import pytest

from timesformer.config.io import read_config
from timesformer.config.run import RunConfig
from timesformer.evaluation.metrics import wilson_interval

TINY = ("--set", "model.embed_dim=12", "--set", "model.depth=1", "--set", "model.num_heads=2", "--device", "cpu")
SMALL = ("--clips", 8, "--epochs", 1, *TINY)


@pytest.fixture
def reproduce(run, tmp_path):
    """Run an experiment; gives what it says as JSON and on stderr."""

    def call(name, *arguments, folder="out"):
        status, out, err = run("reproduce", name, "--output", tmp_path / folder, "--json", *arguments)
        assert status == 0, err
        return json.loads(out), err

    return call


def test_cost_is_computed_and_leaves_table_and_plot(reproduce, run, tmp_path):
    content, _ = reproduce("cost")
    assert len(content["rows"]) == 16
    for name in ("table.md", "results.json", "plot.png"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    status, _, err = run("reproduce", "cost", "--epochs", 3)
    assert status == 2
    assert "--epochs: no effect on cost" in err


def test_schemes_trains_all_five_once(reproduce, tmp_path):
    first, said = reproduce("schemes", *SMALL)
    schemes = ["space_only", "joint_space_time", "divided_space_time", "sparse_local_global", "axial"]
    assert [row["label"] for row in first["rows"]] == schemes
    assert first["levels"] == {"chance": 1 / 6, "best without the order of frames": 0.5}
    parameters = [row["parameters"] for row in first["rows"]]
    assert parameters[0] < parameters[1] < parameters[2] == parameters[3] < parameters[4]
    assert [row["paper"]["paper K400"] for row in first["rows"]] == [76.9, 77.4, 78.0, 75.9, 73.5]
    assert "already trained" not in said
    for scheme in schemes:
        config = read_config(tmp_path / "out" / "runs" / f"{scheme}_seed0" / "config.toml", kind=RunConfig)
        assert (config.model.scheme, config.keep, config.epochs) == (scheme, "last", 1)
    again, said = reproduce("schemes", *SMALL)
    assert said.count("already trained") == 5
    assert [row["value"] for row in again["rows"]] == [row["value"] for row in first["rows"]]


def test_seeds_are_trained_apart_and_averaged(reproduce):
    content, _ = reproduce("schemes", *SMALL, "--schemes", "space_only", "--seeds", 2, "--seed", 5)
    [row] = content["rows"]
    assert list(row["seeds"]) == ["5", "6"]
    assert row["value"] == pytest.approx(sum(row["seeds"].values()) / 2)


def test_order_and_clips_measure_one_model_in_several_ways(reproduce, tmp_path):
    order, _ = reproduce("order", *SMALL)
    assert [row["series"] for row in order["rows"]] == ["order of the steps"] * 3 + ["order of the frames"] * 3
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 3
    clips, _ = reproduce("clips", *SMALL, folder="clips")
    assert [row["x"] for row in clips["rows"]] == [1, 3, 5, 10] * 2
    assert [row["remarks"]["views"] for row in clips["rows"]] == ["1", "3", "5", "10"] * 2
    assert len(list((tmp_path / "clips" / "runs").iterdir())) == 2


def test_pretraining_starts_from_the_image_model(reproduce, tmp_path):
    reproduce("pretraining", *SMALL)
    config = read_config(tmp_path / "out" / "runs" / "pretrained_seed0" / "config.toml", kind=RunConfig)
    assert config.init_from == str(tmp_path / "out" / "runs" / "images_seed0")
    assert "images" not in {path.name for path in (tmp_path / "out").iterdir()}


def test_reversed_copies_of_own_videos_double_the_classes(reproduce, video_folder):
    arguments = ("--schemes", "divided_space_time,space_only", "--epochs", 1, "--device", "cpu")
    small = ("--set", "model.image_size=16", "--set", "model.patch_size=8", "--set", "data.num_workers=0")
    content, _ = reproduce("schemes", "--data", video_folder, "--reversed", *arguments, *small)
    assert content["levels"]["chance"] == 1 / 6
    assert content["levels"]["best without the order of frames"] == 0.5
    assert "6 to train on, 6 to test on" in content["setting"]["Videos"]
    assert [row["label"] for row in content["rows"]] == ["divided_space_time", "space_only"]


def test_intervals_of_own_videos_in_groups_are_over_the_groups(reproduce, video_folder, tmp_path):
    paths = sorted(video_folder.rglob("*.mp4"))
    lines = [f"{path},{path.parent.name},person {path.stem}\n" for path in paths]
    (tmp_path / "all.csv").write_text("path,label,group\n" + "".join(lines))
    arguments = ("--schemes", "space_only", "--epochs", 1, "--device", "cpu", "--set", "data.num_workers=0")
    small = ("--set", "model.image_size=16", "--set", "model.patch_size=8")
    content, _ = reproduce("schemes", "--data", tmp_path / "all.csv", *arguments, *small)
    assert content["setting"]["Interval"].startswith("95 %, over groups of test videos (1): bootstrap, or Wilson")
    [row] = content["rows"]
    assert row["interval"] == list(wilson_interval(row["value"], num_trials=1))
    plain, _ = reproduce("schemes", "--data", video_folder, *arguments, *small, folder="plain")
    assert plain["setting"]["Interval"] == "95 %, Wilson, over the test videos"
    [row] = plain["rows"]
    assert row["interval"] == list(wilson_interval(row["value"], num_trials=3))


def test_full_scale_shows_its_plan_without_videos(run):
    status, out, _ = run("reproduce", "schemes", "--full", "--dry-run", "--json")
    assert status == 0
    trainings = json.loads(out)["trainings"]
    assert [round(plan["gmacs"]) for plan in trainings[:3]] == [141, 180, 196]
    assert {plan["steps"] for plan in trainings} == {None}
    status, out, _ = run("reproduce", "schemes", "--dry-run", "--epochs", 2, "--clips", 100)
    assert "2 epochs, 12 steps, from scratch" in out  # 96 videos in whole classes, 16 a step


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("schemes", "--val", "x"), "needs training videos"),
        (("schemes", "--clips", "9", "--data", "x"), "has no effect with --data"),
        (("schemes", "--reversed"), "needs --data"),
        (("schemes", "--schemes", "axail"), "did you mean 'axial'"),
        (("position", "--schemes", "axial"), "no effect on position"),
        (("schemes", "--seeds", "0"), "must be at least 1"),
        (("schemes", "--full"), "needs your videos"),
        (("schemes", "--full", "--data", "x"), "needs the image weights"),
        (("pretraining", "--data", "x"), "needs weights to compare with"),
        (("schemes", "--set", "data.train=x"), "name the videos with --data"),
        (("tables",), "Invalid value"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(run, tmp_path, arguments, message):
    status, _, err = run("reproduce", *arguments, "--output", tmp_path / "out")
    assert status in (1, 2)
    assert message in " ".join(err.split())
    assert not (tmp_path / "out").exists()
