import re
from pathlib import Path

import pytest

from timesformer.config.run import DataConfig, RunConfig
from timesformer.data.clips.dataset import TrainClips
from timesformer.training import throughput
from timesformer.training.history import read_metrics
from timesformer.training.throughput import WaitMeter, advice
from timesformer.training.train import train


def _clock(monkeypatch: pytest.MonkeyPatch, *times_s: float) -> None:
    left = list(times_s)
    monkeypatch.setattr(throughput.time, "monotonic", lambda: left.pop(0))


def test_share_is_waiting_over_waiting_and_working(monkeypatch: pytest.MonkeyPatch):
    _clock(monkeypatch, 0, 10, 13, 20, 20, 24, 25)
    meter = WaitMeter()
    assert meter.share == 0
    meter.start()  # at 10
    meter.begin_step()  # 3 s of waiting
    meter.end_step()  # 7 s of work
    meter.begin_step()  # no wait
    meter.pause()  # 4 s that count as neither
    meter.end_step()  # 1 s of work
    assert meter.share == pytest.approx(3 / 11)


def test_start_forgets_the_epoch_before(monkeypatch: pytest.MonkeyPatch):
    _clock(monkeypatch, 0, 9, 10, 10, 11)
    meter = WaitMeter()
    meter.begin_step()
    meter.end_step()
    meter.start()
    meter.end_step()
    assert meter.share == 0


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
    assert record.limit == "videos"
    assert any("limited by the videos" in line for line in lines)
    assert re.match(
        r"\d+% of the last epoch's training waited for videos: raise data.num_workers \(0 now, 6", lines[-2]
    )


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (
            DataConfig(num_workers=2),
            "50% of the last epoch's training waited for videos: raise data.num_workers (2 now, 6",
        ),
        (DataConfig(num_workers=6), "waited for videos, and data.num_workers=6 fills the 6 cores here: smaller copies"),
        (DataConfig(num_workers=0, cache=True), "waited for videos, which are in memory already"),
    ],
)
def test_advice_fits_what_the_run_has_done_already(monkeypatch: pytest.MonkeyPatch, data: DataConfig, line: str):
    monkeypatch.setattr(throughput.os, "cpu_count", lambda: 6)
    assert line in advice(data, share=0.5)
