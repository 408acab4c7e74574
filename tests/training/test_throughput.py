import re
from pathlib import Path

import pytest

from timesformer.config.run import DataConfig, RunConfig
from timesformer.data.clips.dataset import TrainClips
from timesformer.training import throughput
from timesformer.training.history import read_metrics
from timesformer.training.throughput import DataWaitMeter, loading_advice
from timesformer.training.train import train


def _clock(monkeypatch: pytest.MonkeyPatch, *times_s: float) -> None:
    left = list(times_s)
    monkeypatch.setattr(throughput.time, "monotonic", lambda: left.pop(0))


def test_fraction_is_waiting_over_waiting_and_working(monkeypatch: pytest.MonkeyPatch):
    _clock(monkeypatch, 0, 10, 13, 20, 20, 24, 25)
    meter = DataWaitMeter()
    assert meter.fraction == 0
    meter.start()  # at 10
    meter.begin_step()  # 3 s of waiting
    meter.end_step()  # 7 s of work
    meter.begin_step()  # no wait
    meter.pause()  # 4 s that count as neither
    meter.end_step()  # 1 s of work
    assert meter.fraction == pytest.approx(3 / 11)


def test_start_forgets_the_epoch_before(monkeypatch: pytest.MonkeyPatch):
    _clock(monkeypatch, 0, 9, 10, 10, 11)
    meter = DataWaitMeter()
    meter.begin_step()
    meter.end_step()
    meter.start()
    meter.end_step()
    assert meter.fraction == 0


def _lines(run: RunConfig) -> list[str]:
    lines: list[str] = []
    train(run, on_message=lines.append)
    return lines


def test_run_that_waits_for_its_videos_says_so_and_what_to_do(run: RunConfig, monkeypatch: pytest.MonkeyPatch):
    read = TrainClips.__getitem__

    def slow(clips: TrainClips, index: int):
        throughput.time.sleep(0.1)
        return read(clips, index)

    monkeypatch.setattr(TrainClips, "__getitem__", slow)
    monkeypatch.setattr(throughput.os, "cpu_count", lambda: 6)
    lines = _lines(run)
    (record, *_) = read_metrics(Path(run.output) / "metrics.csv")
    assert record.is_data_bound
    assert any("of the training time waiting for data" in line for line in lines)
    assert re.match(
        r"\d+% of the training time of the last epoch was spent waiting for data: raise data.num_workers \(now 0;",
        lines[-2],
    )


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (
            DataConfig(num_workers=2),
            "50% of the training time of the last epoch was spent waiting for data: raise data.num_workers (now 2",
        ),
        (
            DataConfig(num_workers=6),
            "waiting for data, and data.num_workers=6 already uses the 6 cores of this machine: smaller copies",
        ),
        (DataConfig(num_workers=0, cache=True), "waiting for data: the videos are already in memory"),
    ],
)
def test_advice_fits_what_the_run_has_done_already(monkeypatch: pytest.MonkeyPatch, data: DataConfig, line: str):
    monkeypatch.setattr(throughput.os, "cpu_count", lambda: 6)
    assert line in loading_advice(data, wait_fraction=0.5)
