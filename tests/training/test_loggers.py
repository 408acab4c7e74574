import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from timesformer.config.run import RunConfig
from timesformer.errors import DependencyError
from timesformer.training.history import EpochRecord, read_metrics
from timesformer.training.loggers import check_trackers, open_trackers
from timesformer.training.run_folder import RunFolder
from timesformer.training.train import train
from training_runs import quiet


def _record(epoch: int) -> EpochRecord:
    return EpochRecord(
        epoch=epoch, step=10 * epoch, lr=0.5, train_loss=2.5, train_accuracy=0.25, val_loss=2.75, val_accuracy=0.125,
        val_top5_accuracy=1.0, seconds=0.75, train_skipped=1, val_skipped=0,
    )  # fmt: skip


class _Writer:
    """Stand-in for TensorBoard's writer: a file and its points."""

    opened: list["_Writer"]

    def __init__(self, log_dir: str) -> None:
        Path(log_dir).mkdir(parents=True, exist_ok=True)
        (Path(log_dir) / f"events.out.tfevents.{len(self.opened)}").touch()
        self.points: dict[str, dict[int, float]] = {}
        self.is_open = True
        self.opened.append(self)

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        assert step not in self.points.setdefault(tag, {})
        self.points[tag][step] = value

    def flush(self) -> None: ...

    def close(self) -> None:
        self.is_open = False


@pytest.fixture
def tensorboard(monkeypatch: pytest.MonkeyPatch) -> list[_Writer]:
    """A stand-in for the package; returns the opened writers."""
    _Writer.opened = []
    module = ModuleType("torch.utils.tensorboard")
    module.__dict__["SummaryWriter"] = _Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr("timesformer.training.loggers.find_spec", lambda name: name)
    return _Writer.opened


def test_curves_hold_every_measure_of_every_epoch(tensorboard: list[_Writer], run: RunConfig):
    train(replace(run, trackers=("tensorboard",)), on_message=quiet)
    history = read_metrics(Path(run.output) / "metrics.csv")
    (writer,) = tensorboard
    assert writer.points["val_accuracy"] == pytest.approx({each.epoch: each.val_accuracy for each in history})
    assert set(writer.points) == {name for name in EpochRecord.__slots__ if name != "epoch"}
    assert not writer.is_open
    assert [path.name for path in (Path(run.output) / "tensorboard").iterdir()] == ["events.out.tfevents.0"]


def test_curves_of_a_resumed_run_have_each_epoch_once(tensorboard: list[_Writer], tmp_path: Path):
    run, folder = RunConfig(trackers=("tensorboard",)), RunFolder(tmp_path)
    with open_trackers(run, folder, history=[]) as trackers:
        trackers[0].log(_record(1))
    with open_trackers(run, folder, history=[_record(1)]) as trackers:
        trackers[0].log(_record(2))
    assert tensorboard[1].points["train_loss"] == {1: 2.5, 2: 2.5}
    assert [path.name for path in folder.tensorboard.iterdir()] == ["events.out.tfevents.1"]


def test_trackers_are_closed_if_the_run_fails(tensorboard: list[_Writer], tmp_path: Path):
    with (
        pytest.raises(ValueError, match="stop"),
        open_trackers(RunConfig(trackers=("tensorboard",)), RunFolder(tmp_path), history=[]),
    ):
        raise ValueError("stop")
    assert not tensorboard[0].is_open


@pytest.mark.parametrize(
    ("key", "mode", "expected"), [("", "", "offline"), ("secret", "", "online"), ("secret", "disabled", "disabled")]
)
def test_weights_and_biases_works_without_an_account(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str, mode: str, expected: str
):
    started: list[Mapping[str, Any]] = []
    sent: list[tuple[int, float]] = []

    def init(**options: Any) -> SimpleNamespace:
        started.append(options)
        return SimpleNamespace(
            log=lambda measures, step: sent.append((step, measures["lr"])), finish=lambda: sent.append((0, 0.0))
        )

    module = ModuleType("wandb")
    module.__dict__.update(init=init, api=SimpleNamespace(api_key=key))
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setenv("WANDB_MODE", mode)
    run = RunConfig(trackers=("wandb",), epochs=7)
    for _ in range(2):
        with open_trackers(run, RunFolder(tmp_path / "mine"), history=[]) as trackers:
            trackers[0].log(_record(3))
    assert sent == [(3, 0.5), (0, 0.0)] * 2
    assert started[0]["mode"] == expected
    assert started[0]["config"]["epochs"] == 7
    assert started[0]["name"] == "mine"
    assert started[0]["id"] == started[1]["id"]


def test_missing_package_of_a_tracker_is_an_error_before_the_start(run: RunConfig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("timesformer.training.loggers.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="trackers='tensorboard' needs tensorboard: pip install tensorboard"):
        train(replace(run, trackers=("tensorboard",)), on_message=quiet)
    assert not Path(run.output).exists()
    with pytest.raises(DependencyError, match="pip install wandb"):
        check_trackers(RunConfig(trackers=("wandb",)))
