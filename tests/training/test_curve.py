from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from timesformer.training.curve import draw_curve
from timesformer.training.history import EpochRecord


def _history(num_epochs: int, **values: float) -> list[EpochRecord]:
    return [
        EpochRecord(
            **{
                "epoch": epoch,
                "step": 10 * epoch,
                "lr": 1e-3 / epoch,
                "train_loss": 2 / epoch,
                "train_accuracy": 1 - 1 / epoch,
                "val_loss": 2.5 / epoch,
                "val_accuracy": 0.9 - 0.8 / epoch,
                "val_top5_accuracy": 1.0,
                "seconds": 0.5,
                **values,
            }
        )
        for epoch in range(1, num_epochs + 1)
    ]


def _picture(history: list[EpochRecord], path: Path) -> np.ndarray:
    draw_curve(history, path)
    return imread(path, format="png")


@pytest.mark.parametrize("num_epochs", [1, 2, 300])
def test_curve_of_any_length_is_a_picture(num_epochs: int, tmp_path: Path):
    picture = _picture(_history(num_epochs), tmp_path / "curve.png")
    assert picture.shape == (408, 1200, 4)
    assert picture.min() < 0.4


@pytest.mark.parametrize("measure", ["train_loss", "val_loss", "train_accuracy", "val_accuracy", "lr"])
def test_every_measure_is_drawn(measure: str, tmp_path: Path):
    plain = _picture(_history(4), tmp_path / "plain.png")
    other = _picture(_history(4, **{measure: 0.125}), tmp_path / "other.png")
    assert not np.array_equal(plain, other)


def test_loss_of_zero_can_be_drawn(tmp_path: Path):
    draw_curve(_history(2, train_loss=0.0, val_loss=0.0), tmp_path / "curve.png")


def test_path_needs_no_png_suffix(tmp_path: Path):
    assert _picture(_history(2), tmp_path / ".curve.png.part").size > 0
