"""Every knob of training does something: with it turned, the same run ends with other weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from timesformer.config.run import RunConfig
from timesformer.training.fit import train


def _train(run: RunConfig, output: Path) -> dict[str, Tensor]:
    folder = train(replace(run, epochs=1, output=str(output)), on_message=lambda line: None)
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def _turn(run: RunConfig, section: str, values: dict[str, Any]) -> RunConfig:
    return replace(run, **{section: replace(getattr(run, section), **values)}) if section else replace(run, **values)


@pytest.mark.parametrize(
    ("section", "base", "turned"),
    [
        ("optim", {}, {"optimizer": "sgd"}),
        ("optim", {}, {"lr": 1e-4}),
        ("optim", {}, {"weight_decay": 0.0}),
        ("optim", {}, {"schedule": "steps"}),
        ("optim", {}, {"warmup_fraction": 0.7}),
        ("optim", {"schedule": "steps"}, {"milestones": (0.5,)}),
        ("optim", {}, {"label_smoothing": 0.3}),
        ("optim", {}, {"clip_grad_norm": 1e-2}),
        ("data", {}, {"scale_range": (1.0, 1.0)}),
        ("data", {}, {"flip": False}),
        ("", {}, {"batch_size": 4}),
        ("", {}, {"seed": 3}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value,
)
def test_knob_changes_the_weights(
    run: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    section: str,
    base: dict[str, Any],
    turned: dict[str, Any],
):
    monkeypatch.setattr("timesformer.training.callbacks.draw_curve", lambda history, path: path.touch())
    run = _turn(run, section, base)
    plain, other = _train(run, tmp_path / "plain"), _train(_turn(run, section, turned), tmp_path / "other")
    assert any(not torch.equal(plain[name], other[name]) for name in plain)
