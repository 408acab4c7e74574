"""Timestamps of real files, as people's cameras, tools and accidents write them: what is read, told and found."""

import logging
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from timesformer.config.run import DataConfig
from timesformer.config.schema import ClipConfig
from timesformer.data.check.fingerprint import fingerprint
from timesformer.data.clips import sampling
from timesformer.data.clips.dataset import EvalViews, TrainClips, read_eval_views, warn_of_timing
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.synthetic.reversed import write_reversed
from timesformer.data.video.reader import probe, read_frames
from tiny import tiny_config
from videos import cut_off, frame_indices, write_timed, write_video

NUM_FRAMES = 120
REGULAR = [round(1000 * frame / 30) for frame in range(NUM_FRAMES)]
FALLING = [*REGULAR[60:], *REGULAR[:60]]
RISING_DTS = [frame - 200 for frame in range(NUM_FRAMES)]
CONTAINERS = ["video.mp4", "video.mov", "video.mkv", "video.ts", "video.flv", "video.webm"]


def write(path: Path, times: list[int], **options: object) -> Path:
    return write_timed(path, times, codec="libvpx" if path.suffix == ".webm" else "libx264", **options)


def dense_clip(path: Path) -> list[int]:
    (clip,) = sampling.eval_clips(probe(path), ClipConfig(), num_frames=8)
    return clip


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("after", [0, 59, 118])
def test_a_gap_changes_neither_rate_nor_clip_in_any_container(tmp_path: Path, name: str, after: int) -> None:
    whole, gap = tmp_path / f"whole_{name}", tmp_path / name
    write(whole, REGULAR, fps=30)
    write(gap, [time + 3_600_000 * (frame > after) for frame, time in enumerate(REGULAR)], fps=30)
    assert probe(whole).timing == fingerprint(whole).timing == ""
    assert probe(gap).fps == pytest.approx(30, rel=1e-3)
    assert probe(gap).duration_s == pytest.approx(4, rel=1e-3)
    assert dense_clip(gap) == dense_clip(whole) == [0, 36, 72, 109, 119, 119, 119, 119]
    for told in (probe(gap).timing, fingerprint(gap).timing):
        assert told.startswith(
            f"a gap of 3600 s after frame {after}; dense clips follow the usual rate of the timestamps, "
            f"{probe(gap).fps:.4g} frames a second"
        )


def test_a_pause_of_a_minute_is_left_out(tmp_path: Path) -> None:
    times = [time + 60_000 * (frame >= 40) for frame, time in enumerate(REGULAR)]
    path = write(tmp_path / "video.mp4", times)
    assert dense_clip(path) == [0, 36, 72, 109, 119, 119, 119, 119]
    assert frame_indices(read_frames(path, [39, 40, 119])) == [39, 40, 119]


@pytest.mark.parametrize("name", ["video.mp4", "video.mov", "video.mkv", "video.ts", "video.flv"])
def test_equal_timestamps_are_found_and_frames_are_taken_by_number(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, [0] * 40, fps=25)
    info, found = probe(path), fingerprint(path)
    assert (info.num_frames, info.fps) == (found.num_frames, found.fps) == (40, 25)
    assert (found.num_missing, found.num_damaged) == (0, 0)
    assert info.timing == "equal timestamps: 39; dense clips follow the rate in the header, 25 frames a second"
    assert found.timing.startswith(info.timing)
    assert frame_indices(read_frames(path, [0, 17, 39])) == [0, 17, 39]


def test_a_header_of_1325_frames_a_second_is_not_followed(tmp_path: Path) -> None:
    path = write(tmp_path / "video.mkv", [0] * 40, fps=1325)
    told = (
        "equal timestamps: 39; 1325 frames a second in the header, above 240; "
        "dense clips follow an assumed rate of 30 frames a second"
    )
    assert (probe(path).fps, probe(path).timing) == (30.0, told)
    assert (fingerprint(path).fps, fingerprint(path).timing) == (30.0, told)


@pytest.mark.parametrize("name", ["video.mp4", "video.mkv", "video.flv"])
def test_decreasing_timestamps_are_found(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, FALLING, decode_times=RISING_DTS)
    assert probe(path).fps == fingerprint(path).fps == pytest.approx(30, rel=1e-3)
    for told in (probe(path).timing, fingerprint(path).timing):
        assert told.startswith("decreasing timestamps: 1; dense clips follow the usual rate of the timestamps, ")
    assert frame_indices(read_frames(path, range(0, 120, 17))) == list(range(0, 120, 17))


@pytest.mark.parametrize("shift", [0, 1500])
def test_recordings_joined_byte_by_byte_keep_their_order_and_rate(tmp_path: Path, shift: int) -> None:
    for name, start in (("a.ts", 0), ("b.ts", shift)):
        write(tmp_path / name, [start + 3000 * frame for frame in range(40)], time_base=Fraction(1, 90000))
    joined = tmp_path / "joined.ts"
    joined.write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    assert frame_indices(read_frames(joined, [0, 39, 40, 41, 79])) == [0, 39, 0, 1, 39]
    assert probe(joined).fps == fingerprint(joined).fps == 30
    assert probe(joined).timing.startswith("decreasing timestamps: 1; ")


@pytest.mark.parametrize(("start", "distance"), [(2**33 - 90000, 3000), (2**33 - 1, 1500), (2**33 + 7, 3000)])
def test_the_clock_of_a_transport_stream_may_wrap(tmp_path: Path, start: int, distance: int) -> None:
    times = [start + distance * frame for frame in range(60)]
    path = write(tmp_path / "video.ts", times, time_base=Fraction(1, 90000), fps=Fraction(90000, distance))
    assert (probe(path).fps, probe(path).timing) == (90000 / distance, "")
    assert (fingerprint(path).fps, fingerprint(path).timing) == (90000 / distance, "")
    assert frame_indices(read_frames(path, [0, 29, 31, 59])) == [0, 29, 31, 59]


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (1, "1000 frames a second by the timestamps, above 240"),
        (2000, "0.5 frames a second by the timestamps, below 1"),
    ],
)
@pytest.mark.parametrize("name", ["video.mp4", "video.mkv"])
def test_a_rate_that_no_recording_has_is_told_and_frames_are_counted(
    tmp_path: Path, name: str, step: int, reason: str
) -> None:
    path = write(tmp_path / name, [step * frame for frame in range(NUM_FRAMES)], fps=Fraction(1000, step))
    info = probe(path)
    assert (info.fps, info.duration_s) == (1000 / step, NUM_FRAMES * step / 1000)
    assert info.timing == f"{reason}; dense clips count frames, as if the video had the target rate of the clips"
    assert fingerprint(path).timing == info.timing
    assert dense_clip(path) == [0, 36, 72, 109, 119, 119, 119, 119]


@pytest.mark.parametrize(
    ("name", "times", "fps"),
    [
        ("late.mp4", [300_000 + 40 * frame for frame in range(50)], 25),
        ("late.mkv", [300_000 + 40 * frame for frame in range(50)], 25),
        ("late.ts", [300_000 + 40 * frame for frame in range(50)], 25),
        ("early.mp4", [40 * frame - 200 for frame in range(50)], 25),
        ("early.mkv", [40 * frame - 200 for frame in range(50)], 25),
        ("phone.mp4", [round(1000 * frame / 240.4) for frame in range(50)], 240),
        ("phone.mov", [40 * frame + 27 * (frame % 3 == 1) for frame in range(50)], 30),
        ("dark.mp4", [33 * min(frame, 25) + 100 * max(frame - 25, 0) for frame in range(50)], 30),
        ("telecine.mkv", [[0, 50, 83][frame % 2] + 83 * (frame // 2) for frame in range(50)], 24),
        ("two.mp4", [0, 40], 25),
        ("one.mkv", [0], 25),
    ],
)
def test_honest_files_are_not_worth_a_word(tmp_path: Path, name: str, times: list[int], fps: int) -> None:
    path = write(tmp_path / name, times, fps=fps)
    assert probe(path).timing == ""
    found = fingerprint(path)
    assert (found.timing, found.num_missing) == ("", 0)
    assert found.fps == probe(path).fps


@pytest.mark.parametrize(
    ("name", "options"),
    [("v.h264", {}), ("v.avi", {}), ("v.avi", {"num_b_frames": 2}), ("v.m2v", {"codec": "mpeg2video"})],
)
def test_files_without_timestamps_have_the_rate_that_they_state(
    tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    path = write_video(tmp_path / name, num_frames=40, fps=24, **options)
    assert (probe(path).fps, probe(path).timing) == (24, "")
    assert (fingerprint(path).fps, fingerprint(path).timing) == (24, "")


def test_a_stated_rate_that_no_recording_has_is_not_followed_where_nothing_measures_it(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", num_frames=40, fps=600, num_b_frames=2)
    told = "600 frames a second in the header, above 240; dense clips follow an assumed rate of 30 frames a second"
    assert (probe(path).fps, probe(path).timing) == (30, told)
    assert fingerprint(path).timing == told


@pytest.mark.parametrize("fps", [50, 12])
def test_a_header_whose_rate_is_another_is_found(tmp_path: Path, fps: int) -> None:
    path = write(tmp_path / "video.mkv", [40 * frame for frame in range(60)], fps=fps)
    assert probe(path).timing == ""  # the timestamps are fine, and sampling follows them
    assert fingerprint(path).timing == f"the header says {fps} frames a second, not 25"


def test_a_header_whose_duration_is_shorter_than_the_frames_is_found(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.flv", num_frames=100)
    data = bytearray(path.read_bytes())
    start = data.index(b"duration") + len("duration") + 1
    data[start : start + 8] = bytes.fromhex("3fe0000000000000")  # 0.5 as FLV has it
    path.write_bytes(data)
    assert fingerprint(path).timing == "the header says 0.5 s, the frames last 3.96 s"


def test_a_header_that_lists_fewer_frames_is_found(tmp_path: Path) -> None:
    path = write_video(tmp_path / "video.avi", num_frames=60, codec="mpeg4")
    data = bytearray(path.read_bytes())
    start = data.index(b"strh") + 8 + 32
    assert int.from_bytes(data[start : start + 4], "little") == 60
    data[start : start + 4] = (20).to_bytes(4, "little")
    path.write_bytes(data)
    assert "the header says 20 frames, 60 were decoded" in fingerprint(path).timing


def test_frames_that_an_edit_list_skips_are_not_missing(tmp_path: Path) -> None:
    path = write(tmp_path / "video.mp4", [40 * frame - 1000 for frame in range(60)])
    found = fingerprint(path)
    assert found.num_frames == probe(path).num_frames == 35
    assert (found.num_missing, found.timing) == (0, "")


def test_frames_that_a_damaged_file_lacks_are_missing_and_its_timing_is_fine(tmp_path: Path) -> None:
    path = cut_off(write_video(tmp_path / "video.mkv", num_frames=100), 0.5)
    assert fingerprint(path).num_missing > 20
    assert fingerprint(path).timing == ""


@pytest.fixture
def paused(tmp_path: Path) -> Path:
    return write(tmp_path / "paused.mp4", [40 * frame + 60_000 * (frame > 9) for frame in range(20)])


def manifest_of(path: Path) -> Manifest:
    return Manifest((Sample(path, 0), Sample(path, 0)), ("wave",))


def test_a_test_tells_odd_timing_once_a_video(paused: Path, caplog: pytest.LogCaptureFixture) -> None:
    views = EvalViews(Manifest((Sample(paused, 0),), ("wave",)), model=tiny_config(), clip=ClipConfig())
    for _ in range(3):
        views[0]
    assert caplog.messages == [f"{paused}: {probe(paused).timing}"]
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.parametrize("cache", [False, True])
def test_training_tells_odd_timing_once_a_video(paused: Path, caplog: pytest.LogCaptureFixture, cache: bool) -> None:
    clips = TrainClips(
        manifest_of(paused), model=tiny_config(), clip=ClipConfig(), data=DataConfig(cache=cache), seed=0
    )
    if cache:
        clips.preload()
    for epoch in range(3):
        clips.set_epoch(epoch)
        clips[0]
    assert caplog.messages == [f"{paused}: {probe(paused).timing}"]


def test_workers_of_later_epochs_do_not_repeat_what_was_told(paused: Path, capfd: pytest.CaptureFixture[str]) -> None:
    views = EvalViews(manifest_of(paused), model=tiny_config(), clip=ClipConfig())
    for _ in range(3):
        list(DataLoader(views, batch_size=None, num_workers=1))
    assert capfd.readouterr().err.count("a gap of") <= 2


@pytest.mark.parametrize("name", ["segment", "uniform"])
def test_clips_that_follow_no_rate_are_not_worth_a_word(
    paused: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    warn_of_timing(paused, probe(paused), ClipConfig(sampling=name))
    assert caplog.messages == []


def test_views_of_a_paused_video_are_those_of_the_whole_one(paused: Path, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.mp4", [40 * frame for frame in range(20)])
    clip = ClipConfig(frame_stride=2)
    got, want = (read_eval_views(path, tiny_config(), clip)[0] for path in (paused, whole))
    torch.testing.assert_close(got, want)


def test_copies_played_backwards_have_a_rate_that_players_know(tmp_path: Path) -> None:
    path = write(tmp_path / "fast.mkv", list(range(20)), fps=1000)
    copies = write_reversed(Manifest((Sample(path, 0),), ("wave",)), tmp_path / "copies")
    assert [probe(sample.path).fps for sample in copies.samples] == [30, 30]
