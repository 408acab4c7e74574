import itertools
import time
import weakref
from fractions import Fraction

import numpy as np
import pytest

import timesformer.timelines.live as live_module
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.data.video.feed import Clock, TimedFrame
from timesformer.data.video.live_connection import StreamCut
from timesformer.data.video.live_feed import LiveFeed
from timesformer.data.video.sequential import open_feed
from timesformer.errors import DataError
from timesformer.inference.predictor import Predictor
from timesformer.timelines.decision import decide_again
from timesformer.timelines.live import live_timeline
from timesformer.timelines.live_pieces import TOO_SLOW
from timesformer.timelines.newest import NewestWindows
from timesformer.timelines.run import timeline
from tiny import random_model, tiny_config
from videos import write_timed, write_video

LABELS = ("walk", "background", "wave", "clap", "sit", "jump", "turn")


@pytest.fixture(scope="module")
def model():
    """Windows of 0.8 s."""
    info = ModelInfo(clip=ClipConfig(frame_stride=8, num_crops=1), labels=LABELS)
    return random_model(tiny_config(), info=info)


@pytest.fixture(params=["steady", "cut"])
def video(request, tmp_path):
    if request.param == "steady":
        return write_video(tmp_path / "v.mp4", num_frames=200, num_b_frames=2)
    times = [40 * n + 2500 * (n > 60) + 1700 * (n > 130) for n in range(200)]
    return write_timed(tmp_path / "v.mkv", times)


ALIVE = weakref.WeakSet()


class Picture:
    """Pixels of a frame; counts how many exist at once."""

    def __init__(self, number):
        self._number = number
        ALIVE.add(self)

    def __call__(self):
        return np.random.default_rng(self._number // 25).integers(0, 256, (24, 40, 3), dtype=np.uint8)


class Stream:
    """Connections of `num_frames` frames, 25 a second by a clock that stands still; each but the last is cut."""

    def __init__(self, *num_frames, pause=10.0, on_frame=lambda number: None):
        self._num_frames = iter(num_frames)
        self._pause = pause
        self._on_frame = on_frame
        self.time = 0.0
        self.most_alive = 0

    def feed(self, **options):
        return LiveFeed(self.connect, path="cam", now=lambda: self.time, wait=self._wait, **options)

    def _wait(self, seconds):
        self.time += seconds
        return False

    def connect(self):
        return Connection(self, next(self._num_frames))

    def frames(self, count):
        for number in range(count):
            self._on_frame(number)
            self.time += 0.04
            yield TimedFrame(number, number / 25, Picture(number))
            self.most_alive = max(self.most_alive, len(ALIVE))
        self.time += self._pause - 1
        raise StreamCut("no frame for 5 s")


class Connection:
    is_recording = False

    def __init__(self, stream, count):
        self._stream, self._count = stream, count

    def size(self):
        return (24, 40)

    def clock(self):
        return Clock(Fraction(1, 90000))

    def close(self):
        pass

    def frames(self):
        return self._stream.frames(self._count)


@pytest.mark.parametrize(
    "settings",
    [{}, {"min_on": 0.1, "min_off": 0.1}, {"mode": "overlapping", "onset": 0.22, "offset": 0.18, "min_on": 0.1}],
    ids=["exclusive", "short", "overlapping"],
)
def test_a_finished_feed_gives_the_timeline_of_the_file(model, video, settings):
    told, gaps = [], []
    live = live_timeline(model, open_feed(video), on_segment=told.append, on_gap=gaps.append, **settings)
    found = timeline(model, video, **settings)
    assert live.timeline == found
    assert live.timeline.curves.probabilities.tobytes() == found.curves.probabilities.tobytes()
    assert sorted(told, key=lambda segment: (segment.start, segment.index)) == list(found.segments)
    assert tuple(gaps) == found.gaps
    assert len(found.segments) > 0
    assert live.num_skipped == 0
    assert live.num_windows == len(found.curves.times)


def test_nothing_but_the_curves_is_lost_without_curves(model, video):
    live = live_timeline(model, open_feed(video), keep_curves=False)
    assert live.timeline.curves is None
    assert live.timeline == timeline(model, video)


@pytest.fixture
def waiting(monkeypatch):
    """Streams wait for the model, so that no window is skipped on a busy machine."""
    monkeypatch.setattr(live_module, "NewestWindows", lambda capacity, keep_all: NewestWindows(capacity, keep_all=True))


@pytest.mark.usefixtures("waiting")
def test_segments_are_told_while_the_stream_goes_on(model):
    told = []
    num_told = []
    stream = Stream(2000, on_frame=lambda number: num_told.append(len(told)))
    live = live_timeline(model, stream.feed(max_gap=0), on_segment=told.append, min_on=0.2, min_off=0.2, batch_size=1)
    assert num_told[-1] >= 0.5 * len(live.timeline.segments) > 3


@pytest.mark.usefixtures("waiting")
def test_five_cuts_of_ten_seconds_are_gaps_between_pieces(model):
    stream = Stream(*[100] * 6)
    notes = []
    live = live_timeline(model, stream.feed(max_gap=0.5 + 10, duration=5 * 14 + 3.95, on_note=notes.append))
    found = live.timeline
    long = [gap for gap in found.gaps if gap.reason == "no frame for 5 s"]
    assert [(round(gap.start, 2), round(gap.end, 2)) for gap in long] == [
        (14.0 * n + 4, 14.0 * n + 14) for n in range(5)
    ]  # fmt: skip
    assert notes == ["cam: connected", *["cam: no frame for 5 s; connecting again"] * 5]
    assert found.source.num_frames == 599
    for segment in found.segments:
        assert (segment.start + 1e-6) // 14 == (segment.end - 1e-6) // 14
        assert (segment.end - 1e-6) % 14 < 4
        assert segment.end_frame - segment.start_frame == pytest.approx(25 * (segment.end - segment.start), abs=1)
    assert {(segment.start + 1e-6) // 14 for segment in found.segments} == set(range(6))
    assert decide_again(found) == found


def test_a_slow_model_skips_whole_windows_and_memory_stays_bounded(model, monkeypatch):
    logits = Predictor.logits

    def slowly(self, clips):
        time.sleep(0.02)
        return logits(self, clips)

    monkeypatch.setattr(Predictor, "logits", slowly)
    stream = Stream(6000, pause=1.0, on_frame=lambda number: time.sleep(0.0001))
    gaps = []
    live = live_timeline(model, stream.feed(max_gap=0), on_gap=gaps.append, stride=0.1, batch_size=2)
    found = live.timeline
    assert live.num_windows == 2400
    assert 0 < live.num_skipped < 2400
    assert len(found.curves.times) == live.num_windows - live.num_skipped
    # 16 frames are held until the rate is known, and one before the current
    assert stream.most_alive <= 20
    assert {gap.reason for gap in found.gaps} == {TOO_SLOW}
    assert tuple(gaps) == found.gaps
    # every window shows whole frames: times between windows are told, and nothing else
    edges = np.array([[time - 0.4, time + 0.4] for time in found.curves.times])
    unseen = [(a, b) for (_, a), (b, _) in itertools.pairwise(edges) if b - a > 1e-6]
    np.testing.assert_allclose([(gap.start, gap.end) for gap in found.gaps][: len(unseen)], unseen, atol=1e-6)
    assert found.source.num_frames == 6000
    # decided on the way or afterwards
    assert decide_again(found) == found


@pytest.mark.usefixtures("waiting")
def test_what_was_seen_before_a_stop_is_decided(model):
    feeds = []
    stream = Stream(2000, on_frame=lambda number: feeds[0].stop() if number == 100 else None)
    feeds.append(stream.feed())
    found = live_timeline(model, feeds[0]).timeline
    assert found.source.num_frames == 100
    assert found.source.duration == pytest.approx(4.0)
    assert found.segments[-1].end == pytest.approx(4.0) or found.segments[-1].label != "background"
    assert found.gaps == ()


def test_a_model_that_fails_ends_the_reading(model, monkeypatch):
    def fail(self, clips):
        raise RuntimeError("no more")

    monkeypatch.setattr(Predictor, "logits", fail)
    stream = Stream(100, *[50] * 1000)
    with pytest.raises(RuntimeError, match=r"^no more$"):
        live_timeline(model, stream.feed())


def test_a_stream_that_was_stopped_at_once_or_lasts_less_than_a_window_is_an_error(model):
    feed = Stream(100).feed()
    feed.stop()
    with pytest.raises(DataError, match=r"^cam: ended before its first frame$"):
        live_timeline(model, feed)
    with pytest.raises(DataError, match=r"^cam: lasts 0.4 s, less than one window of 0.8 s"):
        live_timeline(model, Stream(10, pause=1.0).feed(max_gap=0))
