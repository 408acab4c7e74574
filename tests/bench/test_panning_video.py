from pathlib import Path

import numpy as np

from timesformer.bench.panning_video import PanningVideo, write_panning_video
from timesformer.data.video.reader import probe, read_frames


def test_frames_move_and_have_detail(tmp_path: Path):
    write_panning_video(path := tmp_path / "a.mp4", PanningVideo(num_frames=21, fps=15, height=48, width=64))
    info = probe(path)
    assert (info.num_frames, info.fps, info.height, info.width) == (21, 15, 48, 64)
    frames = read_frames(path, range(21)).astype(int)
    near, far = (np.abs(frames[index] - frames[0]).mean() for index in (1, 20))
    assert far > near > 1
    assert frames.std() > 20
