"""The benchmark of few videos at a tiny size: one table of all ways, and a second start that trains nothing."""

import json
import sys
from pathlib import Path

import pytest

import few_videos
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import render_clip
from timesformer.weights.model_folder import save
from tiny import random_model, tiny_config


def test_all_ways_are_in_one_table_and_a_second_start_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("timesformer.fine_tuning.probe.STRENGTHS", (0.1, 1.0))
    monkeypatch.setattr("timesformer.training.callbacks.draw_curve", lambda history, path: path.touch())
    lines = ["path,label,group"]
    for seed in range(4):
        for label in ("grow", "move_left"):
            frames = render_clip(label, seed=seed, num_frames=5, size=(16, 24), background="plain")
            write_clip(tmp_path / f"{label}{seed}.mp4", frames)
            lines.append(f"{label}{seed}.mp4,{label},person{seed}")
    (tmp_path / "list.csv").write_text("\n".join([*lines, ""]))
    weights = save(
        random_model(tiny_config(), info=ModelInfo(clip=ClipConfig(sampling="uniform"))), tmp_path / "weights"
    )
    command = ["few_videos.py", str(tmp_path / "list.csv"), "--init-from", str(weights), "--output",
               str(tmp_path / "out"), "--folds", "2", "--epochs", "1", "--device", "cpu",
               "--set", "data.num_workers=0", "precision=fp32", "--set-scratch", "data.num_workers=0",
               "model.image_size=16", "model.embed_dim=12", "model.num_heads=2", "model.depth=1",
               "model.num_frames=2"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", command)
    assert few_videos.main() == 0
    printed = capsys.readouterr().out
    assert printed.strip() == (tmp_path / "out" / "few_videos.md").read_text().strip()
    result = json.loads((tmp_path / "out" / "few_videos.json").read_text())
    assert [row["way"] for row in result["rows"]] == ["probe", "fine-tuned", "from nothing"]
    for row in result["rows"]:
        assert (row["num_videos"], row["num_groups"], len(row["folds"])) == (8, 4, 2)
        assert row["top1_interval"][0] <= row["top1"] <= row["top1_interval"][1]
        assert f"| {row['way']} | {row['top1']:.1%} |" in printed
    monkeypatch.setattr("timesformer.training.train._train_in_folder", None)
    monkeypatch.setattr("timesformer.fine_tuning.run._run", None)
    assert few_videos.main() == 0
    assert json.loads((tmp_path / "out" / "few_videos.json").read_text()) == result


def test_a_wrong_path_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(sys, "argv", ["few_videos.py", "nowhere", "--init-from", str(tmp_path / "none.pth")])
    assert few_videos.main() == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith("none.pth: no such file")
