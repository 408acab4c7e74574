"""What one core of this machine computes and decodes, in processor time of one thread."""

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import av
import torch
from av.video.stream import VideoStream

from machine import describe_machine
from sizing_driver import driver_rates
from synthetic_videos import SyntheticVideo, draw_frames
from timesformer.bench.baselines import random_weights
from timesformer.config.presets import preset
from timesformer.model.fast import FastTimeSformer
from timesformer.model.timesformer import TimeSformer

_SIZES = ((240, 320), (720, 1280), (1080, 1920))
_ENCODERS = {
    "h264": ("libx264", {"preset": "medium", "crf": "23", "g": "250"}),
    "hevc": ("libx265", {"preset": "medium", "crf": "28", "g": "250", "x265-params": "log-level=none"}),
    "vp9": ("libvpx-vp9", {"crf": "31", "b": "0", "g": "250", "cpu-used": "5"}),
    "av1": ("libsvtav1", {"preset": "9", "crf": "35", "g": "250"}),
    "mpeg4": ("mpeg4", {"qscale": "4", "g": "12"}),
}
_NUM_FRAMES, _FPS = 90, 30


def measure(*, presets: Sequence[str], rounds: int) -> dict[str, Any]:
    """Clips a second of models, and seconds of video a second of codecs and sizes; medians and quartiles."""
    torch.set_num_threads(1)
    return {
        "machine": {
            **describe_machine(),
            "torch": torch.__version__,
            "capability": torch.backends.cpu.get_cpu_capability(),
        },
        "driver_files_per_second": driver_rates(rounds=rounds),
        "clips_per_core_second": {name: _clips(name, rounds) for name in presets},
        "video_seconds_per_core_second": {
            f"{codec} {width}x{height}": _decoding(codec, height, width, rounds)
            for height, width in _SIZES
            for codec in _ENCODERS
        },
    }


def _clips(name: str, rounds: int) -> dict[str, float]:
    config = preset(name)
    model = FastTimeSformer(random_weights(TimeSformer(config)))
    batch = 8 if config.embed_dim < 384 else 1
    clips = torch.randn(batch, config.in_channels, config.num_frames, *config.image_size)
    with torch.inference_mode():
        return _rates(lambda: model(clips), amount=batch, rounds=rounds)


def _decoding(codec: str, height: int, width: int, rounds: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mkv"
        _write(path, codec, height, width)
        rates = _rates(lambda: _decode(path), amount=_NUM_FRAMES / _FPS, rounds=rounds)
        return {**rates, "megabytes_per_minute": path.stat().st_size / 1e6 * 60 * _FPS / _NUM_FRAMES}


def _write(path: Path, codec: str, height: int, width: int) -> None:
    encoder, options = _ENCODERS[codec]
    video = SyntheticVideo(num_frames=_NUM_FRAMES, fps=_FPS, height=height, width=width)
    with av.open(path, "w") as container:
        stream = cast(VideoStream, container.add_stream(encoder, rate=_FPS, options=options))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for picture in draw_frames(video):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _decode(path: Path) -> None:
    """Decode all frames in one thread, as a timeline does."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        count = sum(1 for _ in container.decode(stream))
        if count != _NUM_FRAMES:
            raise RuntimeError(f"{count} of {_NUM_FRAMES} frames were decoded")


def _rates(work: Callable[[], object], *, amount: float, rounds: int) -> dict[str, float]:
    work()  # warm-up
    seconds = [_processor_seconds(work) for _ in range(rounds)]
    low, _, high = statistics.quantiles(seconds, n=4) if rounds > 1 else seconds * 3
    return {"median": amount / statistics.median(seconds), "low": amount / high, "high": amount / low}


def _processor_seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
