"""The reader on damaged files and in forked processes."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from timesformer.data.video.file_reader import VideoReader
from timesformer.data.video.reader import probe, read_frames
from timesformer.errors import DecodeError
from videos import cut_off, damage_packets, decode_all, frame_indices, write_video


class TestDamage:
    def test_a_damaged_frame_is_stood_in_for_by_the_one_before(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "video.avi", codec="mjpeg", pix_fmt="yuvj420p")
        damage_packets(path, [4, 5, 9])
        assert frame_indices(read_frames(path, range(10))) == [0, 1, 2, 3, 3, 3, 6, 7, 8, 8]
        assert frame_indices(read_frames(path, [9, 5, 4])) == [8, 3, 3]
        assert probe(path).num_frames == 10

    def test_damaged_first_frames_are_stood_in_for_by_the_first_good_one(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "video.avi", codec="mjpeg", pix_fmt="yuvj420p")
        damage_packets(path, [0, 1])
        assert frame_indices(read_frames(path, [0, 1, 2, 3])) == [2, 2, 2, 3]
        assert frame_indices(read_frames(path, [1])) == [2]

    def test_a_damaged_key_frame_spoils_its_group_only(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "video.mp4", num_frames=36, codec_options={"x264-params": "scenecut=0"})
        damage_packets(path, [12])
        clip = read_frames(path, [*range(12), *range(24, 36)])
        assert frame_indices(clip) == [*range(12), *range(24, 36)]

    @pytest.mark.parametrize("name", ["video.mp4", "video.mkv", "video.ts", "video.avi"])
    def test_a_cut_off_file_gives_what_is_left_and_then_its_last_frame(self, tmp_path: Path, name: str) -> None:
        options = {"movflags": "faststart"} if name == "video.mp4" else {}
        path = cut_off(write_video(tmp_path / name, num_frames=100, format_options=options), 0.6)
        num_frames = probe(path).num_frames
        assert 20 < num_frames <= 100
        indices = frame_indices(read_frames(path, [0, 10, 20, 98, 99, 1000]))
        assert indices[:3] == [0, 10, 20]
        assert indices[3] == indices[4] == indices[5] < 99

    def test_a_stream_without_framing_counts_what_decodes(self, tmp_path: Path) -> None:
        path = damage_packets(write_video(tmp_path / "video.h264", num_frames=30, gop=10), [3])
        assert probe(path).num_frames == len(decode_all(path)) < 30


class FrameNumbers(Dataset[list[int]]):
    """Reads the frame numbers of one video, in whichever process asks."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> list[int]:
        return frame_indices(read_frames(self._path, [index, 40 + index]))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
class TestFork:
    def numbers(self, path: Path) -> list[list[int]]:
        loader = DataLoader(
            FrameNumbers(path), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=30
        )
        return list(loader)

    def test_forked_workers_read_after_their_parent_read(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "video.mp4", num_frames=60, height=240, width=320)
        with VideoReader(path, num_threads=2) as reader:
            reader.read([7, 50])
        assert self.numbers(path) == [[item, 40 + item] for item in range(6)]

    def test_forked_workers_read_while_their_parent_has_a_reader_open(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "video.mp4", num_frames=60, height=240, width=320)
        with VideoReader(path) as reader:
            before = reader.read([7, 50])
            assert self.numbers(path) == [[item, 40 + item] for item in range(6)]
            np.testing.assert_array_equal(reader.read([7, 50]), before)

    def test_a_forked_process_can_free_the_reader_of_its_parent(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "video.mp4", num_frames=60, height=240, width=320)
        with VideoReader(path) as reader:
            reader.read([7, 50])
            child = multiprocessing.get_context("fork").Process(target=reader.__dict__.clear)
            child.start()
            child.join(timeout=20)
            child.kill()
            child.join()
            assert child.exitcode == 0

    def test_a_reader_of_another_process_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with VideoReader(write_video(tmp_path / "video.mp4")) as reader:
            monkeypatch.setattr(os, "getpid", lambda: -1)
            with pytest.raises(DecodeError, match="in the same process"):
                reader.read([0])
