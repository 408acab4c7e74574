"""The kept first pass over a long video: frames stay exact, changed files are noticed, memory is bounded."""

import os
from pathlib import Path
from typing import Any

import pytest

from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.manifest.shard_writer import write_shards
from timesformer.data.video import file_reader, survey_cache
from timesformer.data.video.file_reader import VideoReader
from timesformer.data.video.reader import open_reader, read_frames
from timesformer.data.video.segment import Segment
from timesformer.data.video.survey_cache import SurveyCache, shared_surveys, survey_key
from videos import decode_all, frame_indices, write_video

NUM_FRAMES = 40
VIDEOS: dict[str, dict[str, Any]] = {
    "b_frames.mp4": {"num_b_frames": 2},
    "open_groups.mkv": {"codec_options": {"x264-params": "open-gop=1:bframes=3:b-adapt=0"}},
    "b_frames.ts": {"num_b_frames": 2},
    "b_frames.avi": {"num_b_frames": 2},
    "b_frames.mpg": {"codec": "mpeg2video", "num_b_frames": 2},
    "hidden_frames.webm": {"codec": "libvpx", "codec_options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
    "key_frames_that_are_none.mkv": {"codec_options": {"x264-params": "intra-refresh=1:keyint=20"}},
    "no_container.h264": {"num_b_frames": 2},
    "variable_rate.mkv": {"times_ms": [40 * i + 500 * (i > 30) for i in range(NUM_FRAMES)]},
}


@pytest.fixture
def surveys(monkeypatch: pytest.MonkeyPatch) -> SurveyCache:
    """An empty cache that keeps short videos too."""
    surveys = SurveyCache()
    monkeypatch.setattr(file_reader, "shared_surveys", lambda: surveys)
    monkeypatch.setattr(survey_cache, "MIN_PACKETS", 1)
    return surveys


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The path of each file whose packets are all read."""
    paths: list[Path] = []
    scan = VideoReader._scan

    def counting(reader: VideoReader) -> Any:
        paths.append(Path(reader._path))
        return scan(reader)

    monkeypatch.setattr(VideoReader, "_scan", counting)
    return paths


@pytest.mark.parametrize("name", VIDEOS)
def test_second_reader_gives_the_same_frames_without_the_pass(
    name: str, tmp_path: Path, surveys: SurveyCache, scans: list[Path]
):
    path = write_video(tmp_path / name, num_frames=NUM_FRAMES, **VIDEOS[name])
    whole = decode_all(path)
    with VideoReader(path) as first:
        info, times = first.info, first.times
    for indices in ([0], [33, 7, 20], range(NUM_FRAMES), [12, 13], [39]):
        with VideoReader(path) as reader:
            assert reader.info == info
            assert (reader.times == times).all()
            assert (reader.read(indices) == whole[list(indices)]).all()
    assert scans == [path]


def test_segments_of_one_video_share_the_pass(tmp_path: Path, surveys: SurveyCache, scans: list[Path]):
    path = write_video(tmp_path / "long.mp4", num_frames=NUM_FRAMES, fps=10, num_b_frames=2)
    for start in range(3):
        with open_reader(path, segment=Segment(start, start + 1)) as reader:
            assert frame_indices(reader.read(range(10))) == list(range(10 * start, 10 * start + 10))
    assert scans == [path]


def test_video_in_a_tar_file_is_kept_too(tmp_path: Path, surveys: SurveyCache, scans: list[Path]):
    path = write_video(tmp_path / "a.mp4", num_frames=NUM_FRAMES)
    write_shards(Manifest((Sample(path, 0),), ("run",)), None, tmp_path / "shards")
    member = tmp_path / "shards" / "train-000000.tar" / "0000000_a.mp4"
    for _ in range(2):
        assert frame_indices(read_frames(member, [31, 5])) == [31, 5]
    assert scans == [member]


def test_changed_file_is_read_anew(tmp_path: Path, surveys: SurveyCache, scans: list[Path]):
    path = write_video(tmp_path / "a.mp4", num_frames=NUM_FRAMES)
    read_frames(path, [3])
    write_video(path, num_frames=NUM_FRAMES // 2, gop=5)
    assert (read_frames(path, range(20)) == decode_all(path)).all()
    assert len(scans) == 2


def test_other_file_under_the_same_stamp_is_noticed(
    tmp_path: Path, surveys: SurveyCache, scans: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(file_reader, "survey_key", lambda path: ("always", (0, 0)))
    one = write_video(tmp_path / "a.mp4", num_frames=NUM_FRAMES)
    other = write_video(tmp_path / "b.mp4", num_frames=25, num_b_frames=2, height=64)
    assert frame_indices(read_frames(one, [30])) == [30]
    assert (read_frames(other, range(25)) == decode_all(other)).all()
    assert scans == [one, other]


def test_short_videos_are_not_kept(tmp_path: Path, scans: list[Path]):
    path = write_video(tmp_path / "a.mp4", num_frames=NUM_FRAMES)
    for _ in range(2):
        read_frames(path, [3])
    assert scans == [path, path]
    assert shared_surveys() is shared_surveys()


def test_videos_that_were_not_read_for_longest_are_dropped(
    tmp_path: Path, surveys: SurveyCache, scans: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(survey_cache, "MAX_PACKETS", 2 * NUM_FRAMES)
    a, b, c = (write_video(tmp_path / f"{name}.mp4", num_frames=NUM_FRAMES) for name in "abc")
    for path in (a, b, a, c, a, b):
        read_frames(path, [0])
    assert scans == [a, b, c, b]


def test_kept_records_equal_those_of_the_pass(tmp_path: Path, surveys: SurveyCache):
    for name in ("b_frames.avi", "no_container.h264", "b_frames.mp4"):
        path = write_video(tmp_path / name, num_frames=NUM_FRAMES, **VIDEOS[name])
        with VideoReader(path) as reader:
            records = list(reader._index.packets)
        kept = surveys.get(survey_key(path))
        assert kept is not None
        assert list(kept.index.packets) == records
        assert len(kept.index.packets) == len(records)


def test_file_that_is_gone_has_no_key(tmp_path: Path, surveys: SurveyCache):
    assert survey_key(tmp_path / "absent.mp4") is None
    assert surveys.get(None) is None
    path = write_video(tmp_path / "a.mp4", num_frames=2)
    before = survey_key(path)
    os.utime(path, ns=(0, 0))
    assert survey_key(path) != before
