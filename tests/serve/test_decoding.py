"""Decoding processes: what they refuse by the header, and what their deaths cost."""

import asyncio
from pathlib import Path
from threading import Timer

import psutil
import pytest
import torch

from bombs import gif_of_large_frames, mp4_of_many_frames, video_of_large_frames, video_that_grows
from timesformer.config.schema import ClipConfig
from timesformer.data.clips.center_view import read_center_view
from timesformer.data.clips.dataset import read_pixel_views
from timesformer.data.video.reader import open_reader
from timesformer.isolation.processes import starter_of
from timesformer.serve.decoder import RefusedError, VideoLimits
from timesformer.serve.decoding import TARGET, Decoders
from timesformer.serve.metrics import Metrics
from timesformer.timelines.windows import Windows
from tiny import tiny_config
from videos import write_video

CONFIG, CLIP = tiny_config(), ClipConfig(sampling="uniform", num_crops=1)
LIMITS = VideoLimits(max_seconds=20, max_pixels=100_000, max_frames=300)


class Pool:
    """Decoders, and their functions as blocking ones."""

    def __init__(self, decoders: Decoders, metrics: Metrics) -> None:
        self.decoders, self.metrics = decoders, metrics

    def read(self, name: str, path: Path):
        return asyncio.run(getattr(self.decoders, name)(path))

    def failures(self, reason: str) -> float:
        return self.metrics.registry.get_sample_value("timesformer_decode_failures_total", {"reason": reason}) or 0.0


@pytest.fixture(scope="module")
def starter():
    with starter_of(TARGET) as starter:
        yield starter


@pytest.fixture(scope="module")
def pool(starter):
    metrics = Metrics()
    with Decoders(CONFIG, CLIP, LIMITS, num_children=1, call_s=60, metrics=metrics, starter=starter) as decoders:
        yield Pool(decoders, metrics)


@pytest.fixture
def refused(pool):
    """Refused for a reason, with a message; afterwards the next video is read."""

    class Refused:
        def __call__(self, path, reason, message):
            before = pool.failures(reason)
            with pytest.raises(RefusedError, match=message) as caught:
                pool.read("views", path)
            assert caught.value.reason == reason
            assert str(path) not in str(caught.value) and caught.value.fix
            assert pool.failures(reason) == before + 1
            return caught.value

    return Refused()


def test_views_are_those_of_predict(pool, tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=30)
    views, info = pool.read("views", path)
    expected, expected_info = read_pixel_views(open_reader(path), CONFIG, CLIP)
    torch.testing.assert_close(torch.from_numpy(views), expected, rtol=0, atol=0)
    assert info == expected_info


def test_the_explained_view_is_that_of_explain(pool, tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=30)
    found, expected = pool.read("center_view", path), read_center_view(path, CONFIG, CLIP)
    torch.testing.assert_close(found.view, expected.view, rtol=0, atol=0)
    assert found.box == expected.box and found.info == expected.info
    assert found.frames.tolist() == expected.frames.tolist()


def test_size_and_length_are_those_of_the_header(pool, tmp_path):
    stated = pool.read("stated", write_video(tmp_path / "a.mp4", num_frames=30, height=40, width=60, fps=10))
    assert (stated.width, stated.height, stated.num_frames, stated.duration_s) == (60, 40, 30, 3.0)


def test_a_long_video_is_refused(refused, tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=50, fps=1)
    error = refused(path, "duration", "the video lasts 50 s, longer than 20 s, the limit of this server")
    assert error.problem().status == 422


def test_a_video_of_many_frames_is_refused(refused, tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=310, fps=100)
    refused(path, "frames", "the video has 310 frames, more than 300, the limit of this server")


@pytest.mark.parametrize("height", [400, 8192])
def test_large_frames_are_refused(refused, tmp_path, height):
    path = video_of_large_frames(tmp_path / "a.mov", width=400, height=height)
    refused(path, "pixels", f"frames of 400x{height}.*more than 100000 pixels")


def test_a_gif_of_large_frames_is_refused(refused, tmp_path):
    refused(gif_of_large_frames(tmp_path / "a.gif", width=9000, height=9000), "pixels", "frames of 9000x9000")


def test_a_million_claimed_frames_are_refused(refused, tmp_path):
    refused(mp4_of_many_frames(tmp_path / "a.mp4", 1_000_000), "frames", "more than 300 frames")


def test_a_frame_larger_than_the_header_says_is_not_decoded(pool, tmp_path):
    views, _ = pool.read("views", video_that_grows(tmp_path / "a.mkv", side=8000))
    assert views.shape == (1, 3, 3, 8, 20)


def test_a_rare_codec_is_refused_without_an_option_of_the_command_line(refused, tmp_path):
    path = write_video(tmp_path / "a.avi", codec="magicyuv", pix_fmt="gbrp")
    error = refused(path, "codec", "^the codec magicyuv is not decoded by this server$")
    assert "--" not in error.fix


def test_a_text_file_is_refused(refused, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("text " * 1000)
    refused(path, "unreadable", "not a video")


def test_too_much_memory_is_refused(starter, tmp_path):
    path, metrics = write_video(tmp_path / "a.mp4", num_frames=200, height=240, width=400), Metrics()
    clip = ClipConfig(sampling="uniform", num_crops=1, channel_order="rgb")
    with Decoders(
        tiny_config(num_frames=200),
        clip,
        LIMITS,
        num_children=1,
        call_s=60,
        metrics=metrics,
        starter=starter,
        memory=20 * 2**20,
    ) as decoders:
        pool = Pool(decoders, metrics)
        with pytest.raises(RefusedError, match="memory") as caught:
            pool.read("views", path)
        assert caught.value.reason == "memory"


def stop_decoder(decoders: Decoders) -> psutil.Process:
    """Stop the only decoder, so that it hangs at the next call."""
    decoder = psutil.Process(decoders._starter._importer._process.pid).children()[-1]  # the last that was started
    decoder.suspend()
    return decoder


def test_a_cancelled_call_ends_a_decoder_that_hangs(pool, tmp_path):
    path = write_video(tmp_path / "a.mp4")
    hanging = stop_decoder(pool.decoders)

    async def main():
        call = asyncio.ensure_future(pool.decoders.views(path))
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        return await pool.decoders.views(path)

    views, _ = asyncio.run(main())
    assert views.shape[0] == 1
    assert pool.decoders.is_alive
    assert not hanging.is_running()


def test_a_decoder_that_dies_costs_one_video(pool, refused, tmp_path):
    path = write_video(tmp_path / "a.mp4")
    Timer(0.2, stop_decoder(pool.decoders).kill).start()
    error = refused(path, "crash", r"^the video cannot be decoded: its decoder was killed \(SIGKILL\)$")
    assert error.problem().status == 422
    assert len(pool.read("views", path)[0]) == 1


def test_a_decoder_that_hangs_costs_one_video(starter, tmp_path):
    path, metrics = write_video(tmp_path / "a.mp4"), Metrics()
    with Decoders(CONFIG, CLIP, LIMITS, num_children=1, call_s=1, metrics=metrics, starter=starter) as decoders:
        pool = Pool(decoders, metrics)
        stop_decoder(decoders)
        with pytest.raises(RefusedError, match="its decoder gave no result for 1 s") as caught:
            pool.read("views", path)
        assert caught.value.reason == "timeout"
        assert pool.failures("timeout") == 1


def test_a_queued_video_of_a_cancelled_call_is_not_read(pool, tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=100)

    async def main():
        calls = [asyncio.ensure_future(pool.decoders.views(path)) for _ in range(20)]
        await asyncio.sleep(0)
        for call in calls[1:]:
            call.cancel()
        await asyncio.wait(calls)
        return [call.cancelled() for call in calls]

    count = "timesformer_decode_seconds_count"
    before = pool.metrics.registry.get_sample_value(count)
    assert asyncio.run(main()) == [False] + [True] * 19
    assert pool.metrics.registry.get_sample_value(count) == before + 1


def test_windows_are_read_in_a_process_of_their_own(pool, tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=50)
    with pool.decoders.own_child(call_s=60, cpu_s=60) as child:
        clock, *windows, facts = child.stream("windows", str(path), Windows(1.0, 0.5))
    assert clock.length_s == 2.0
    assert [window.center for _, window, _ in windows] == [0.0, 0.5, 1.0, 1.5]
    assert facts.size == (48, 80) and len(facts.read.times) == 50 and len(facts.sha256) == 64


def test_a_refusal_of_such_a_process_is_counted(pool, tmp_path):
    path = write_video(tmp_path / "a.mp4", num_frames=50, fps=1)
    before = pool.failures("duration")
    with pytest.raises(RefusedError, match="lasts 50 s"), pool.decoders.own_child(call_s=60, cpu_s=60) as child:
        list(child.stream("windows", str(path), Windows(1.0, 0.5)))
    assert pool.failures("duration") == before + 1
