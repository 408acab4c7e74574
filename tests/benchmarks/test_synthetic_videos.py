from pathlib import Path

import av
import numpy as np
import pytest

from synthetic_videos import SyntheticVideo, draw_frames, write_synthetic_video
from timesformer.data.video.reader import probe, read_frames

VIDEO = SyntheticVideo(num_frames=21, fps=15, height=48, width=64, seed=3)


def test_frames_move_and_are_determined_by_the_seed():
    first, again = (np.stack(list(draw_frames(VIDEO))) for _ in range(2))
    assert first.shape == (21, 48, 64, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(
        first, np.stack(list(draw_frames(SyntheticVideo(num_frames=21, fps=15, height=48, width=64))))
    )
    far = np.abs(first[20].astype(int) - first[0]).mean()
    near = np.abs(first[1].astype(int) - first[0]).mean()
    assert far > near > 2
    assert first.std() > 20


def test_each_file_has_its_key_frame_interval(tmp_path: Path):
    paths = {5: tmp_path / "5.mp4", 9: tmp_path / "9.mp4"}
    write_synthetic_video(VIDEO, paths)
    drawn = np.stack(list(draw_frames(VIDEO))).astype(int)
    for gop, path in paths.items():
        info = probe(path)
        assert (info.num_frames, info.fps, info.height, info.width) == (21, 15, 48, 64)
        assert np.abs(read_frames(path, range(21)) - drawn).mean() < 12
        with av.open(path) as container:
            keys = [number for number, frame in enumerate(container.decode(video=0)) if frame.key_frame]
        assert max(np.diff([*keys, 21])) <= gop


@pytest.mark.parametrize("gop", [250])
def test_files_have_frames_that_are_not_references(tmp_path: Path, gop: int):
    write_synthetic_video(VIDEO, {gop: tmp_path / "a.mp4"})
    with av.open(tmp_path / "a.mp4") as container:
        container.streams.video[0].codec_context.skip_frame = "NONREF"
        assert sum(1 for _ in container.decode(video=0)) < 21
