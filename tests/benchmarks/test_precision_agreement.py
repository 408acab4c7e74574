"""The agreement of two precisions: counted by hand, and measured on a tiny model."""

import json
import sys

import numpy as np
import pytest

import precision_agreement
from precision_agreement import compare, table
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.data.synthetic.dataset import write_motion_dataset
from timesformer.evaluation.metrics import wilson_interval
from timesformer.weights.model_folder import save
from tiny import random_model, tiny_config

CLASSES = ("grow", "move_left", "shrink")


def test_agreement_accuracy_and_differences_are_counted():
    fp32 = np.array([[0.6, 0.4, 0.0], [0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.1, 0.1, 0.8]], dtype=np.float32)
    bf16 = np.array([[0.6, 0.4, 0.0], [0.25, 0.5, 0.25], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]], dtype=np.float32)
    found = compare([fp32, bf16], [0, 0, 0, 0])
    assert (found["videos"], found["fp32"]["top1"], found["bf16"]["top1"]) == (4, 0.5, 0.5)
    assert found["fp32"]["interval"] == list(wilson_interval(0.5, num_trials=4))
    assert found["agreement"] == {"fraction": 0.5, "videos": 2, "interval": list(wilson_interval(0.5, num_trials=4))}
    assert (found["right_in_fp32_only"], found["right_in_bf16_only"]) == (1, 1)
    assert (found["largest_difference"], found["mean_difference"]) == (0.25, 4 * 0.25 / 12)


def test_a_model_is_measured_and_tabled(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path):
    data = write_motion_dataset(
        tmp_path / "data", clips_per_class=1, val_clips_per_class=3, classes=CLASSES, num_frames=4, size=(16, 20)
    )
    info = ModelInfo(clip=ClipConfig(sampling="uniform", num_crops=1), labels=CLASSES)
    model = save(random_model(tiny_config(num_classes=3), info=info), tmp_path / "model")
    arguments = [
        "--pair",
        str(model),
        str(data),
        "--limit",
        "7",
        "--batch-size",
        "2",
        "--table",
        str(tmp_path / "t.md"),
    ]
    monkeypatch.setattr(sys, "argv", ["precision_agreement.py", *arguments])
    precision_agreement.main()
    result = json.loads(capsys.readouterr().out)
    pair = result["pairs"][0]
    assert (pair["videos"], pair["model"], pair["data"]) == (7, "model", f"{tmp_path.name}/data")
    assert 0 < pair["largest_difference"] < 0.2  # the rounding of bf16 on random weights
    assert min(pair["fp32"]["seconds"], pair["bf16"]["seconds"]) >= 0
    assert result["machine"]["cpu"]
    assert result["torch"]
    assert (tmp_path / "t.md").read_text() == table(result)
    assert f"| model | `{tmp_path.name}/data` | 7 |" in table(result)
