"""`--allow-codec` on every verb that opens videos."""

import json
import subprocess
import sys

import pytest

from timesformer.cli import demo
from timesformer.config.io import read_config
from timesformer.config.run import RunConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from videos import write_video

REFUSED = "the codec magicyuv is rare and not decoded by default"
ALLOW = ("--allow-codec", "magicyuv")
TINY = [
    part
    for text in ("image_size=16", "num_frames=2", "patch_size=8", "embed_dim=12", "depth=1", "num_heads=2")
    for part in ("--set", f"model.{text}")
]


@pytest.fixture(scope="module")
def rare(tmp_path_factory):
    """Two classes with three videos each, in a codec that few videos have."""
    folder = tmp_path_factory.mktemp("rare") / "videos"
    for name in ("move_left", "shrink"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            write_video(folder / name / f"{number}.avi", num_frames=9 + number, codec="magicyuv", pix_fmt="gbrp")
    return folder


def test_predict(run, model_folder, rare):
    video = rare / "shrink" / "0.avi"
    status, _, err = run("predict", video, "--model", model_folder)
    assert (status, err.splitlines()[0].startswith(f"error: {video}: {REFUSED}")) == (1, True)
    status, out, _ = run("predict", video, "--model", model_folder, *ALLOW, "--allow-codec", "qoi", "--json")
    assert (status, json.loads(out)["num_frames"]) == (0, 9)


def test_predict_through_the_real_command_line(model_folder, rare):
    command = [sys.executable, "-m", "timesformer", "predict", str(rare / "shrink"), "--model", str(model_folder)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr.count(REFUSED), refused.stdout) == (1, 3, "")
    allowed = subprocess.run([*command, *ALLOW], capture_output=True, text=True, check=False)
    assert (allowed.returncode, allowed.stderr, allowed.stdout.count(".avi")) == (0, "", 3)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_evaluate_and_its_page(run, model_folder, rare, tmp_path, num_workers):
    arguments = ("evaluate", rare, "--model", model_folder, "--num-workers", num_workers)
    status, _, err = run(*arguments)
    assert (status, REFUSED in err) == (1, True)
    page = tmp_path / "page.html"
    status, out, _ = run(*arguments, "--json", "--page", page, *ALLOW)
    assert (status, json.loads(out)["num_videos"]) == (0, 6)
    assert REFUSED not in page.read_text()
    assert "<figure><img" in page.read_text()


def test_check(run, rare):
    status, out, _ = run("check", rare, "--json")
    assert (status, json.loads(out)["counts"]["unreadable"]) == (1, 6)
    status, out, _ = run("check", rare, "--json", *ALLOW)
    assert "unreadable" not in json.loads(out)["counts"]


def test_train_and_its_picture(run, rare, tmp_path):
    arguments = (
        "train",
        rare,
        "--output",
        tmp_path / "run",
        "--epochs",
        1,
        "--batch-size",
        2,
        "--device",
        "cpu",
        *TINY,
    )
    status, _, err = run(*arguments)
    assert (status, REFUSED in err) == (1, True)
    assert run(*arguments, *ALLOW, "--sheet", tmp_path / "sheet.png")[0] == 0
    assert run(*arguments, *ALLOW, "--overwrite")[0] == 0
    assert read_config(tmp_path / "run" / "config.toml", kind=RunConfig).data.allow_codecs == ("magicyuv",)


def test_train_adds_to_what_the_config_allows(run, rare, tmp_path):
    (tmp_path / "run.toml").write_text('[data]\nallow_codecs = ["qoi"]\n')
    status, out, _ = run("train", rare, "--config", tmp_path / "run.toml", *ALLOW, "--dry-run", "--json")
    assert (status, json.loads(out)["run"]["data"]["allow_codecs"]) == (0, ["qoi", "magicyuv"])
    (tmp_path / "run.toml").write_text('[data]\nallow_codecs = "qoi"\n')
    status, _, err = run("train", rare, "--config", tmp_path / "run.toml", "--dry-run")
    assert (status, "allow_codecs" in err) == (2, True)


def test_reproduce_on_own_videos(run, rare, tmp_path):
    tiny = ("--epochs", 1, "--device", "cpu", *TINY, "--set", "data.num_workers=0")
    arguments = ("reproduce", "order", "--data", rare, "--reversed", "--output", tmp_path / "out", "--json", *tiny)
    status, _, err = run(*arguments)
    assert (status, REFUSED in err) == (1, True)
    status, out, err = run(*arguments, *ALLOW)
    assert (status, len(json.loads(out)["rows"]) > 0) == (0, True), err


def test_demo_on_own_videos(run, rare, tmp_path, monkeypatch):
    small = ModelConfig(num_frames=2, image_size=16, patch_size=8, embed_dim=12, depth=1, num_heads=2)
    base = RunConfig(model=small, clip=ClipConfig(sampling="uniform", num_crops=1), batch_size=2, device="cpu")
    monkeypatch.setattr(demo, "run_from_preset", lambda name: base)
    arguments = ("demo", "--data", rare, "--output", tmp_path / "run", "--epochs", 1, "--json")
    status, _, err = run(*arguments)
    assert (status, REFUSED in err) == (1, True)
    status, out, _ = run(*arguments, *ALLOW, "--overwrite")
    assert (status, json.loads(out)["prediction"]["num_classes"]) == (0, 2)
    assert REFUSED not in (tmp_path / "run" / "index.html").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "missing.mp4"),
        ("evaluate", "missing"),
        ("check", "missing"),
        ("train", "missing"),
        ("train", "missing", "--dry-run"),
        ("demo", "--data", "missing"),
        ("reproduce", "order", "--data", "missing"),
        ("reproduce", "order", "--full", "--dry-run"),
    ],
    ids=" ".join,
)
def test_an_unknown_codec_is_wrong_usage(run, model_folder, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "missing" / "one").mkdir(parents=True)
    write_video(tmp_path / "missing" / "one" / "1.mp4", num_frames=3)
    model = ("--model", model_folder) if arguments[0] in ("predict", "evaluate") else ()
    status, out, err = run(*arguments, *model, "--allow-codec", "magicyuf")
    assert (status, out) == (2, "")
    assert "'magicyuf' is not a video codec that FFmpeg decodes; did you mean 'magicyuv'" in err


@pytest.mark.parametrize("arguments", [("demo",), ("reproduce", "order")])
def test_the_option_is_refused_where_videos_are_drawn(run, tmp_path, arguments):
    status, _, err = run(*arguments, "--output", tmp_path / "out", *ALLOW)
    assert (status, "--allow-codec has no effect on synthetic videos" in err) == (2, True)
    assert not (tmp_path / "out").exists()


def test_the_option_is_refused_where_nothing_is_trained(run):
    status, _, err = run("reproduce", "cost", *ALLOW)
    assert (status, "--allow-codec: no effect on cost" in err) == (2, True)
