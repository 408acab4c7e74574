import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing

import pytest

from stream_server import serving
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.data.video.live import open_live
from timesformer.data.video.sequential import open_feed
from timesformer.timelines.curves_file import read_curves
from timesformer.timelines.decision import decide_again
from timesformer.timelines.json_file import read_timeline
from timesformer.weights.model_folder import save
from tiny import random_model, tiny_config
from videos import write_video

LABELS = ("walk", "background", "wave", "clap", "sit", "jump", "turn")
SECRET = "s3cret"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder: windows of 0.8 s."""
    info = ModelInfo(clip=ClipConfig(frame_stride=8, num_crops=1), labels=LABELS)
    return save(random_model(tiny_config(), info=info, seed=3), tmp_path_factory.mktemp("models") / "m")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A second and a half."""
    return write_video(tmp_path_factory.mktemp("videos") / "v.ts", num_frames=38, num_b_frames=2)


def address_of(port):
    return f"http://admin:{SECRET}@127.0.0.1:{port}/live.ts?token={SECRET}&channel=2"


def public(port):
    return f"http://127.0.0.1:{port}/live.ts?token=***&channel=2"


@pytest.mark.slow  # 16 seconds: five reconnections wait for real
def test_a_stream_that_is_cut_five_times_goes_on(run, model, video, tmp_path):
    with serving(video, seconds=1.5, times=6, away=0.3) as port:
        status, out, err = run("timeline", address_of(port), "-m", model, "-o", tmp_path / "o", "--max-gap", "2",
                               "--min-on", "0.1", "--json")  # fmt: skip
    assert status == 0, err
    *told, end = [json.loads(line) for line in out.splitlines()]
    found = read_timeline(tmp_path / "o" / "timeline.json").to_dict()
    segments = [each for each in told if each.pop("event") == "segment"]
    gaps = [each for each in told if each not in segments]
    assert segments == found["segments"]
    assert gaps == found["gaps"]
    # five cuts, and the end
    assert len(gaps) == 6
    assert all(0.7 < gap["end"] - gap["start"] < 3 for gap in gaps[:5])
    assert {gap["reason"] for gap in gaps} <= {"the sender closed the connection",
                                               "the connection was lost (Input/output error)"}  # fmt: skip
    assert end["event"] == "end"
    assert 6 * 36 <= end["num_frames"] <= 6 * 38
    assert found["source"]["path"] == public(port)
    assert found["source"]["sha256"] == ""
    assert err.count("; connecting again\n") == 6
    curves = read_curves(tmp_path / "o" / "curves.npz")
    assert decide_again(curves).to_dict()["segments"] == found["segments"]
    written = [*(tmp_path / "o").iterdir()]
    assert SECRET not in out + err
    assert all(SECRET.encode() not in path.read_bytes() and SECRET not in path.name for path in written)


def test_ctrl_c_ends_a_stream_and_keeps_what_was_seen(model, tmp_path):
    video = write_video(tmp_path / "v.ts", num_frames=500)
    with serving(video, seconds=20, times=1, away=0) as port:
        process = subprocess.Popen(
            [sys.executable, "-m", "timesformer", "timeline", address_of(port), "-m", model, "-o", tmp_path / "o",
             "--to", "json,svg", "--min-on", "0.1"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ,
        )  # fmt: skip
        assert process.stderr.readline() == f"{public(port)}: connected\n"
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "ending; press Ctrl-C again to stop at once\n" in err
    found = read_timeline(tmp_path / "o" / "timeline.json")
    assert len(out.splitlines()) == len(found.segments) >= 1
    assert 0.8 < found.source.duration < 19
    assert found.gaps == ()
    assert (tmp_path / "o" / "timeline.svg").is_file()
    assert SECRET not in out + err


@pytest.fixture
def silent():
    """A port that accepts connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def test_bad_streams_are_one_clear_line(run, model, silent, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        closed = server.getsockname()[1]
    host, user = "127.0.0.1", f"admin:{SECRET}"
    for arguments, status, message in (
        (("0",), 1, "cameras need OpenCV: pip install 'timesformer[webcam]'"),
        ((f"rtsp://{user}@{host}:{closed}/1",), 1, f"rtsp://{host}:{closed}/1: Connection refused"),
        ((f"http://{user}@{host}:{closed}/1",), 1, f"http://{host}:{closed}/1: Connection refused"),
        ((f"rtsp://{user}@nohost.invalid/1",), 1, "rtsp://nohost.invalid/1: unknown host"),
        ((f"http://{user}@{host}:{silent}/1", "--timeout", "0.3"), 1,
         f"http://{host}:{silent}/1: no answer within 0.3 s"),
        ((f"rtsp://{user}@{host}:{silent}/1", "--timeout", "0.3"), 1,
         f"rtsp://{host}:{silent}/1: no answer within 0.3 s"),
        ((f"ftp://{user}@{host}/v.mp4",), 2, f"ftp://{host}/v.mp4: streams start with rtsp://, rtsps://, http://, "),
        ((f"https://{user}@{host}/live.m3u8",), 2, f"https://{host}/live.m3u8: playlists (HLS, DASH, SDP) are not"),
        ((f"rtsp://{user}@{host}/1", "--timeout", "0"), 2, "timeout=0 must be at least 0.001 and at most 86400 s"),
        ((f"rtsp://{user}@{host}/1", "--to", "mp4", "-o", tmp_path / "o"), 2,
         "--to mp4 needs the video as a file: a pipe or a stream can be read only once"),
        (("day.mp4", "--max-gap", "3"), 2, "--max-gap has no effect on day.mp4: it is for cameras and addresses"),
    ):  # fmt: skip
        found, out, err = run("timeline", *arguments, "-m", model)
        assert (found, out) == (status, "")
        assert len(err.splitlines()) == 1
        assert err.startswith(f"error: {message}")
        assert SECRET not in err


def test_other_verbs_refuse_addresses_without_their_secrets(run, model):
    _, out, err = run("predict", f"rtsp://admin:{SECRET}@camera/1", "-m", model)
    assert "rtsp://camera/1 is an address, not a path" in err
    assert SECRET not in out + err


def test_a_stream_without_video_or_frames_is_one_clear_line(run, model, tmp_path):
    (tmp_path / "text.ts").write_bytes(b"no video at all\n" * 1000)
    with serving(tmp_path / "text.ts", seconds=0.1, times=1, away=0) as port:
        status, out, err = run("timeline", address_of(port), "-m", model, "--timeout", "2")
    assert (status, out) == (1, "")
    assert err.startswith(f"error: {public(port)}: ")
    assert len(err.splitlines()) == 1


def test_a_network_stream_gives_the_frames_of_the_file(video):
    with open_feed(video) as feed:
        expected = [(item.number, round(item.time, 4), item.pixels().tobytes()) for item in feed]
    with serving(video, seconds=0.5, times=1, away=0) as port, open_live(address_of(port), max_gap=0) as feed:
        items = [item for item in feed if hasattr(item, "pixels")]
        found = [(item.number, round(item.time, 4), item.pixels().tobytes()) for item in items]
    assert found == expected[: len(found)]
    assert len(found) >= len(expected) - 2
