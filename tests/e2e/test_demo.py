"""The whole way through the real command line, as a newcomer goes it, on fewer clips."""

import json
import subprocess
import sys

from timesformer.data.synthetic.dataset import write_motion_dataset


def timesformer(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-m", "timesformer", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def test_train_evaluate_predict_on_own_videos(tmp_path):
    write_motion_dataset(
        tmp_path / "videos",
        clips_per_class=4,
        val_clips_per_class=2,
        classes=("grow", "move_up"),
        num_frames=6,
        size=40,
    )
    small = ["image_size=[16, 24]", "num_frames=3", "patch_size=8", "embed_dim=12", "depth=1", "num_heads=2"]
    settings = [part for text in small for part in ("--set", f"model.{text}")]
    done = timesformer(
        "train", "videos", "--output", "run", "--epochs", 2, "--batch-size", 4, "--device", "cpu",
        "--set", "data.num_workers=0", *settings, "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == "run"
    for name in ("model/config.json", "model/labels.txt", "metrics.csv", "curve.png", "config.toml"):
        assert (tmp_path / "run" / name).stat().st_size > 0

    done = timesformer("evaluate", "videos", "--model", "run", "--num-workers", 0, "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["num_videos"] == 4  # the validation split of the folder

    done = timesformer("predict", "videos/val", "--model", "run", "--json", cwd=tmp_path)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == 4
    assert {label for row in rows for label in row["labels"]} == {"grow", "move_up"}

    done = timesformer("train", "videos", "--output", "run", cwd=tmp_path)
    assert done.returncode == 2
    assert "run" in done.stderr


def test_demo_leaves_a_model_a_curve_and_a_page_and_is_quick_the_second_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = timesformer("demo", "--epochs", 1, "--output", "demo", "--clips-per-class", 4, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "top-1" in first.stdout
    page = (tmp_path / "demo" / "index.html").read_text()
    assert page.count("data:image/png") > 8
    assert "<h2>Where the model looks</h2>" in page
    assert "<h2>What happens when</h2>" in page
    assert page.count("<svg") >= 2  # calibration and timeline
    again = timesformer("demo", "--epochs", 1, "--output", "demo", "--clips-per-class", 4, cwd=tmp_path)
    assert again.returncode == 0
    assert "already trained" in again.stderr
    assert again.stdout == first.stdout
