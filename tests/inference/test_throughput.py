"""The line at the end of a run: videos a second, and what limits them."""

import time

import pytest
import torch

from timesformer.inference.throughput import Meter, describe_rate
from timesformer.inference.view_batches import ReadVideo


@pytest.mark.parametrize(
    ("num_videos", "seconds", "waiting", "expected"),
    [
        (200, 9.44, 0.034, "200 videos in 9.4 s, 21 a second; limited by the model, which waited for videos 3% of the "
                           "time"),
        (20, 3.0, 0.5, "20 videos in 3 s, 6.7 a second; limited by decoding: the model waited for videos 50% of the "
                       "time"),
        (10, 1234.0, 0.2, "10 videos in 1234 s, 0.0081 a second; limited by the model, which waited for videos 20% of "
                          "the time"),
        (9, 3.0, 0.5, ""),
        (10, 0.0, 0.0, ""),
    ],
)  # fmt: skip
def test_the_line(num_videos: int, seconds: float, waiting: float, expected: str):
    assert describe_rate(num_videos, seconds=seconds, waiting=waiting) == expected


def test_waiting_for_videos_and_their_later_views_is_measured(monkeypatch: pytest.MonkeyPatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def after(seconds: float, value):
        clock[0] += seconds
        return value

    video = ReadVideo("a", torch.zeros(1, 3, 1, 2, 2), None, rest=(after(4.0, each) for each in (1, 2)))
    meter = Meter()
    assert meter.seconds == 0.0
    for found in meter.watch(after(1.0, each) for each in (video, "error")):
        after(10.0, None)  # the model
        if isinstance(found, ReadVideo):
            assert list(found.rest) == [1, 2]
    meter.stop()
    after(1000.0, None)
    assert (meter.num_videos, meter.waited_s, meter.seconds) == (2, 10.0, 30.0)
