import math
import sys
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from timesformer.data.video.feed import Clock, FrameGap, TimedFrame
from timesformer.data.video.live import is_live, open_live
from timesformer.data.video.live_camera import connect_camera
from timesformer.data.video.live_connection import StreamCut
from timesformer.data.video.live_feed import LiveFeed
from timesformer.errors import ConfigError, DecodeError, DependencyError


class World:
    """A clock that only moves when somebody waits, and connections that follow a script.

    Each connection is a list of steps: a number waits so many seconds and gives a frame, a `FrameGap` is passed on, a
    text is the reason of a cut, an error is raised instead of opening. After the last one nothing can be opened.
    """

    def __init__(self, *scripts, is_recording=False):
        self.time = 1000.0
        self.waits = []
        self.notes = []
        self.num_open = 0
        self._scripts = iter(scripts)
        self.is_recording = is_recording

    def feed(self, **options):
        return LiveFeed(
            self.connect, path="cam", now=lambda: self.time, wait=self.wait, on_note=self.notes.append, **options
        )

    def wait(self, seconds):
        self.waits.append(seconds)
        self.time += seconds
        return False

    def connect(self):
        script = next(self._scripts, DecodeError("cam: refused"))
        if isinstance(script, Exception):
            raise script
        self.num_open += 1
        return Scripted(self, script)


class Scripted:
    def __init__(self, world, script):
        self._world, self._script = world, script
        self.is_recording = world.is_recording

    def size(self):
        return (24, 40)

    def clock(self):
        return Clock(Fraction(1, 1000))

    def close(self):
        self._world.num_open -= 1

    def frames(self):
        first, number = None, 0
        for step in self._script:
            if isinstance(step, FrameGap):
                yield step
            elif isinstance(step, str):
                raise StreamCut(step)
            else:
                self._world.time += step
                first = self._world.time if first is None else first
                yield TimedFrame(number, self._world.time - first, lambda: np.zeros((24, 40, 3), np.uint8))
                number += 1


def read(feed):
    with feed:
        items = [*feed]
    return [
        FrameGap(round(item.start, 6), round(item.end, 6), item.reason)
        if isinstance(item, FrameGap)
        else (item.number, round(item.time, 6))
        for item in items
    ]


SILENT = "no frame for 5 s"


def test_time_goes_on_by_the_clock_across_a_cut_and_the_gap_is_told():
    world = World([0.5, 0.25, 0.25, 0.25, SILENT], DecodeError("cam: refused"), [5.0, 0.25, 0.25], [])
    items = read(world.feed(max_gap=40))
    # cut at 0.75 s; 1 s and 2 s of waiting, 5 s until the first frame comes
    assert items == [
        (0, 0.0), (1, 0.25), (2, 0.5), (3, 0.75), FrameGap(1.0, 8.75, SILENT),
        (4, 8.75), (5, 9.0), (6, 9.25), FrameGap(9.5, 49.25, "the sender closed the connection"),
    ]  # fmt: skip
    assert world.waits[:2] == [1.0, 2.0]
    assert world.num_open == 0
    assert world.notes == [
        "cam: connected",
        "cam: no frame for 5 s; connecting again",
        "cam: the sender closed the connection; connecting again",
    ]  # fmt: skip


def test_waits_double_up_to_half_a_minute_and_start_again_after_a_frame():
    refused = DecodeError("cam: refused")
    world = World([0.1, SILENT], *[refused] * 4, [SILENT], *[refused] * 2, [0.1, SILENT])
    feed = world.feed(max_gap=130)
    items = read(feed)
    assert world.waits[:8] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert world.waits[8:] == [1, 2, 4, 8, 16, 30, 30, 30, pytest.approx(9)]
    assert feed.num_cuts == 2
    # the text of a cut is that of the first connection
    assert items == [(0, 0.0), FrameGap(0.04, 121.1, SILENT), (1, 121.1), FrameGap(121.14, 251.1, SILENT)]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([SILENT], SILENT),
        (["the connection was lost (Broken pipe)"], "the connection was lost (Broken pipe)"),
        ([], "the sender closed the connection"),
    ],
)
def test_a_first_connection_without_a_frame_is_an_error(script, reason):
    world = World(script, [0.1])
    with pytest.raises(DecodeError) as caught:
        read(world.feed())
    assert str(caught.value) == f"cam: connected, but {reason}"
    assert (world.num_open, world.waits) == (0, [])


def test_a_first_connection_that_cannot_be_opened_is_an_error():
    with pytest.raises(DecodeError, match=r"^cam: refused$"):
        read(World(DecodeError("cam: refused")).feed())


def test_numbers_go_on_and_gaps_within_a_connection_move_with_it():
    lost = FrameGap(0.1, 0.3, "frames that cannot be decoded: 1")
    world = World([0.1, 0.1, SILENT], [0.1, lost, 0.3], [SILENT])
    assert read(world.feed(max_gap=2)) == [
        (0, 0.0), (1, 0.1), FrameGap(0.2, 1.2, SILENT), (2, 1.2),
        FrameGap(1.3, 1.5, lost.reason), (3, 1.5),
        FrameGap(1.6, 3.5, "the sender closed the connection"),
    ]  # fmt: skip


def test_a_burst_ahead_of_the_clock_does_not_turn_time_back():
    class Burst(Scripted):
        def frames(self):
            yield from (TimedFrame(n, n / 10, lambda: None) for n in range(100))
            raise StreamCut(SILENT)

    world = World(*[[]] * 3)
    connections = iter([Burst(world, []), Burst(world, [])])
    world.num_open = 2
    feed = LiveFeed(
        lambda: next(connections), path="cam", now=lambda: world.time, wait=world.wait, max_gap=3, duration=15
    )
    items = read(feed)
    assert items[99:102] == [(99, 9.9), (100, 10.0), (101, 10.1)]
    assert items[-1] == (149, pytest.approx(14.9))


def test_a_stream_ends_after_its_duration_even_while_it_is_cut():
    assert read(World([0.5, 0.5, 0.5, 0.5]).feed(duration=1)) == [(0, 0.0), (1, 0.5)]
    world = World([0.5, 0.5, SILENT], *[DecodeError("cam: refused")] * 9)
    assert read(world.feed(duration=12)) == [(0, 0.0), (1, 0.5), FrameGap(1.0, 12.0, SILENT)]
    assert world.waits == [1, 2, 4, pytest.approx(4.5)]


def test_a_stream_ends_at_its_first_cut_if_no_gap_is_allowed():
    world = World([0.5, 0.5, SILENT], [0.5])
    assert read(world.feed(max_gap=0)) == [(0, 0.0), (1, 0.5)]


def test_a_recording_ends_without_a_cut():
    world = World([0.5, 0.5], [0.5], is_recording=True)
    feed = world.feed()
    assert read(feed) == [(0, 0.0), (1, 0.5)]
    assert (feed.is_recording, feed.num_cuts, world.notes) == (True, 0, ["cam: connected"])


def test_a_stopped_stream_ends_at_the_next_frame_or_while_it_waits():
    feed = World([0.5, 0.5, 0.5]).feed()
    with feed:
        items = iter(feed)
        next(items)
        feed.stop()
        assert [*items] == []
    world = World([0.5, SILENT], [0.5])
    feed = LiveFeed(
        world.connect, path="cam", now=lambda: world.time, on_note=lambda text: feed.stop() if "again" in text else None
    )
    assert read(feed) == [(0, 0.0)]


def test_five_cuts_of_ten_seconds():
    piece = [1 / 8] * 80  # ten seconds
    world = World([*piece, SILENT], *[step for _ in range(5) for step in (
        DecodeError("cam: refused"), DecodeError("cam: refused"), [3.0, *piece[1:], SILENT])])  # fmt: skip
    items = read(world.feed(duration=110))
    gaps = [item for item in items if isinstance(item, FrameGap)]
    frames = [item for item in items if not isinstance(item, FrameGap)]
    # refused after 1 s and 2 s, connected after 4 s, a frame after 3 s
    assert gaps[:5] == [FrameGap(10.0 + n * 19.875, 19.875 + n * 19.875, SILENT) for n in range(5)]
    assert frames == [(n, n / 8 + 9.875 * (n // 80)) for n in range(len(frames))]
    assert len(frames) == 480


def test_which_texts_are_live():
    assert [is_live(text) for text in ("0", "12", "rtsp://cam", "ftp://x/y.mp4", "HTTP://x")] == [True] * 5
    assert [is_live(text) for text in ("-", "", "./0", "0.mp4", "a/b.mp4", "c:/x.mp4"[1:], "²")] == [False] * 7


def test_what_is_no_stream_is_one_clear_error():
    for text, message in (
        ("rstp://u:s3cret@cam/1", "rstp://cam/1: streams start with rtsp://, rtsps://, http://, https://, tcp://, "
         "udp://, srt://; did you mean 'rtsp'?"),
        ("rtsp://", "rtsp://: the address names no host, as rtsp://host/path does"),
        ("https://u:s3cret@cam/live.m3u8?token=s3cret", "https://cam/live.m3u8?token=***: playlists (HLS, DASH, SDP) "
         "are not read, because they name other addresses and files; pipe the stream: ffmpeg -i ADDRESS -c copy "
         "-f mpegts - | timesformer timeline -"),
        ("day.mp4", "'day.mp4' is neither the number of a camera nor an address"),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            open_live(text)
        assert str(caught.value) == message
    with pytest.raises(ConfigError, match=r"^rtsp://cam:x/1: not an address \(Port could not be cast to integer"):
        open_live("rtsp://cam:x/1")
    for name, value, limit in (
        ("timeout", 0, "0.001 and at most 86400"), ("max_gap", -1, "0"), ("duration", math.nan, "0.001"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=f"^{name}={value:g} must be at least {limit} seconds$"):
            open_live("0", **{name: value})


class FakeCapture:
    def __init__(self, images):
        self._images = images

    def isOpened(self):
        return bool(self._images)

    def set(self, name, value):
        assert (name, value) == ("buffersize", 1)

    def read(self):
        return (True, self._images.pop(0)) if self._images else (False, None)

    def release(self):
        self._images = []


def fake_opencv(monkeypatch, images):
    opened = []

    def capture(number):
        opened.append(number)
        return FakeCapture(images)

    module = SimpleNamespace(CAP_PROP_BUFFERSIZE="buffersize", VideoCapture=capture, setLogLevel=lambda level: None)
    monkeypatch.setitem(sys.modules, "cv2", module)
    return opened


def test_a_camera_gives_upright_rgb_by_the_clock(monkeypatch):
    image = np.arange(24 * 40 * 3, dtype=np.uint8).reshape(24, 40, 3)
    opened = fake_opencv(monkeypatch, [image, image + 1])
    times = iter([0.0, 2.0, 2.1, 2.5, 2.6, 2.7])
    camera = connect_camera(3, timeout=5, now=lambda: next(times))
    items = camera.frames()
    first, second = next(items), next(items)
    assert [(first.number, first.time), (second.number, second.time)] == [(0, 0.0), (1, 0.5)]
    assert camera.size() == (24, 40)
    np.testing.assert_array_equal(second.pixels(), image[..., ::-1] + 1)
    with pytest.raises(StreamCut, match=r"^the camera gives no frames$"):
        next(items)
    assert opened == [3]


def test_a_camera_that_hangs_is_cut(monkeypatch):
    fake_opencv(monkeypatch, [np.zeros((24, 40, 3), np.uint8)] * 3)
    times = iter([0.0, 1.0, 1.0, 6.1])
    items = connect_camera(0, timeout=5, now=lambda: next(times)).frames()
    next(items)
    with pytest.raises(StreamCut, match=r"^no frame for 5 s$"):
        next(items)


def test_no_camera_and_no_opencv_are_one_clear_error(monkeypatch):
    fake_opencv(monkeypatch, [])
    with pytest.raises(DecodeError, match=r"^camera 3: no such camera, or another program uses it$"), open_live("3"):
        pass
    monkeypatch.setitem(sys.modules, "cv2", None)
    with (
        pytest.raises(DependencyError, match=r"^cameras need OpenCV: pip install 'timesformer\[webcam\]'$"),
        open_live("0"),
    ):
        pass
