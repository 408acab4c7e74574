"""Memory and speed of `timeline` on a long video, and how often its frames are decoded.

    python benchmarks/timeline_hour.py --minutes 60

The video is a short one, whose packets are repeated: 112 x 112 pixels at 25 frames a second. Prints JSON.
"""

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import torch

from machine import describe_machine
from synthetic_videos import SyntheticVideo, write_synthetic_video
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.video.sequential import open_feed
from timesformer.model.timesformer import TimeSformer
from timesformer.timelines.run import timeline

_SIDE, _FPS, _LOOP = 112, 25, 500
_MB = 2**20


@dataclass(slots=True)
class Memory:
    """Resident memory of this process while the video is read."""

    start: float = field(default_factory=time.perf_counter)
    at: dict[int, float] = field(default_factory=dict)
    """In MB, at the first batch from each minute of the video on."""

    def __call__(self, done: float, length: float | None) -> None:
        """Note the memory, if a minute has passed."""
        self.at.setdefault(int(done // 60), resident_mb())


def main() -> None:
    """Run the benchmark and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=60, help="length of the video")
    parser.add_argument("--scheme", default="divided_space_time", help="attention scheme of the model")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = write_long_video(Path(folder), minutes=arguments.minutes)
        print(json.dumps(run(path, scheme=arguments.scheme) | {"machine": describe_machine()}, indent=2))


def run(path: Path, *, scheme: str) -> dict[str, Any]:
    """Make the timeline of a video with a small model of random weights."""
    model = small_model(scheme)
    memory, feed = Memory(), open_feed(path)
    found = timeline(model, feed, on_progress=memory)
    seconds = time.perf_counter() - memory.start
    minutes = sorted(memory.at)
    early = min(5, max(minutes) // 2)
    return {
        "video_minutes": found.source.duration / 60,
        "frames": found.source.num_frames,
        "frames_decoded": feed.num_decoded,
        "windows": 0 if found.curves is None else len(found.curves.times),
        "window_s": found.window,
        "stride_s": found.stride,
        "seconds": seconds,
        "times_real_time": found.source.duration / seconds,
        "resident_mb": {str(minute): round(memory.at[minute], 1) for minute in minutes if minute % 5 == 0},
        "growth_mb": memory.at[minutes[-1]] - memory.at[early],
        "growth_from_minute": early,
        "scheme": scheme,
    }


def small_model(scheme: str) -> TimeSformer:
    """A model of random weights for frames of 112 x 112 pixels, whose windows last 64/30 s."""
    torch.manual_seed(0)
    config = ModelConfig(
        scheme=cast(Any, scheme), num_frames=8, image_size=(_SIDE, _SIDE), patch_size=16, embed_dim=192, depth=4,
        num_heads=3, num_classes=27,
    )  # fmt: skip
    return TimeSformer(config, info=ModelInfo(clip=ClipConfig(frame_stride=8, num_crops=1, test_scale=1.0)))


def write_long_video(folder: Path, *, minutes: int) -> Path:
    """Write a video of some minutes: the packets of a short one again and again, with times that go on."""
    short, long = folder / "short.mp4", folder / "long.mp4"
    write_synthetic_video(SyntheticVideo(num_frames=_LOOP, fps=_FPS, height=_SIDE, width=_SIDE), {50: short})
    with av.open(str(short)) as source, av.open(str(long), "w", options={"movflags": "faststart"}) as target:
        stream = source.streams.video[0]
        out = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        base = cast(Fraction, stream.time_base)
        step = int(Fraction(_LOOP, _FPS) / base)
        times = [(cast(int, packet.pts), cast(int, packet.dts)) for packet in packets]
        for repeat in range(minutes * 60 * _FPS // _LOOP):
            for packet, (pts, dts) in zip(packets, times, strict=True):
                packet.stream = out
                packet.pts, packet.dts, packet.time_base = pts + repeat * step, dts + repeat * step, base
                target.mux(packet)
    return long


def resident_mb() -> float:
    """Memory of this process in RAM; from Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / _MB


if __name__ == "__main__":
    main()
