import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from synthetic_videos import SyntheticVideo, write_synthetic_video
from timesformer.data.video.reader import read_frames
from timesformer.errors import ConfigError
from video_readers import OURS, readers


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "a.mp4"
    write_synthetic_video(SyntheticVideo(num_frames=12, height=32, width=48), {5: path})
    return path


@pytest.mark.parametrize("name", [OURS, "whole video", "whole decode"])
def test_readers_return_the_requested_frames(path: Path, name: str):
    indices = [1, 4, 4, 11]
    got = readers()[0][name](path, indices)
    torch.testing.assert_close(got, torch.from_numpy(read_frames(path, indices)), rtol=0, atol=0)


def test_ours_comes_first_and_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    present, absent = readers()
    assert list(present) == [OURS, "whole video", "whole decode"]
    assert list(absent) == ["torchcodec", "decord"]
    assert "decord" in absent["decord"]


def test_a_choice_of_readers_always_includes_ours(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    present, absent = readers(("whole decode",))
    assert (list(present), absent) == ([OURS, "whole decode"], {})
    assert list(readers(("decord",))[1]) == ["decord"]
    with pytest.raises(ConfigError, match="only='decrod' is not one of 'timesformer', 'whole video'"):
        readers(("decrod",))


def test_libraries_read_the_same_frames_on_one_thread(path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[object] = []

    class Decoder:
        def __init__(self, *arguments: object, **options: object) -> None:
            asked.append((*arguments, options))

        def get_frames_at(self, indices: list[int]) -> SimpleNamespace:
            asked.append(indices)
            return SimpleNamespace(data=torch.zeros(2, 3, 4, 3, dtype=torch.uint8))

        def get_batch(self, indices: list[int]) -> SimpleNamespace:
            asked.append(indices)
            return SimpleNamespace(asnumpy=lambda: np.zeros((2, 3, 4, 3), dtype=np.uint8))

    codec, decord = ModuleType("torchcodec.decoders"), ModuleType("decord")
    codec.VideoDecoder = decord.VideoReader = Decoder  # ty: ignore[unresolved-attribute]
    monkeypatch.setitem(sys.modules, "torchcodec", ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", codec)
    monkeypatch.setitem(sys.modules, "decord", decord)
    present, absent = readers()
    assert not absent
    for name in ("torchcodec", "decord"):
        assert present[name](path, (3, 7)).shape == (2, 3, 4, 3)
    name = str(path)
    assert asked == [
        (name, {"dimension_order": "NHWC", "num_ffmpeg_threads": 1}), [3, 7], (name, {"num_threads": 1}), [3, 7],
    ]  # fmt: skip
