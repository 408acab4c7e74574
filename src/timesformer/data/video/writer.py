"""Write frames as H.264 files: synthetic clips and copies of videos."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8


def write_mp4(path: Path, frames: UInt8[np.ndarray, "t h w 3"], *, rate: Fraction, quality: Mapping[str, str]) -> None:
    """Write an H.264 MP4 in 4:2:0.

    Args:
        path: The file; an existing one is replaced.
        frames: RGB frames, 0 to 255, of even height and width.
        rate: Frames a second.
        quality: Rate control options of x264, such as `{"crf": "18"}`, or `{"qp": "0"}` for lossless.

    Raises:
        OSError: The file cannot be written.
    """
    # zerolatency turns off B-frames and look-ahead, which cost more than the encoding itself at these sizes
    options = {**quality, "preset": "veryfast", "tune": "zerolatency", "g": "12"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            # one thread: a thread pool left by the scaler would hang a forked worker
            frame = frame.reformat(format="yuv420p", threads=1)
            frame.pts, frame.time_base = number, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
