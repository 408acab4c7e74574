"""What `timesformer timeline` makes of a stream that is cut: gaps, segments and memory.

    python benchmarks/timeline_stream.py --seconds 10 --cuts 5 --away 10

A sender in this process serves an MPEG-TS over HTTP in real time, closes the connection and is away for a while. The
reader tries again after 1, 2, 4 ... s, so that a gap lasts longer than the sender is away. Prints JSON.
"""

import argparse
import json
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from jaxtyping import UInt8

from machine import describe_machine
from stream_server import serving
from synthetic_videos import SyntheticVideo, write_synthetic_video
from timeline_hour import resident_mb, small_model
from timesformer.data.video.feed import Clock, FrameGap, TimedFrame
from timesformer.data.video.live_connection import Connection
from timesformer.data.video.live_feed import LiveFeed
from timesformer.data.video.live_network import connect_network
from timesformer.timelines.live import live_timeline

_SIDE, _FPS, _TIMEOUT_S = 112, 25, 5.0


@dataclass(slots=True)
class Alive:
    """Frames that exist at once."""

    frames: weakref.WeakSet = field(default_factory=weakref.WeakSet)
    most: int = 0


class Pixels:
    """Pixels of a frame, counted while they are kept."""

    def __init__(self, pixels: Callable[[], UInt8[np.ndarray, "h w 3"]], alive: Alive) -> None:
        self._pixels = pixels
        alive.frames.add(self)
        alive.most = max(alive.most, len(alive.frames))

    def __call__(self) -> UInt8[np.ndarray, "h w 3"]:
        return self._pixels()


class Counted:
    """A connection whose frames are counted."""

    def __init__(self, connection: Connection, alive: Alive) -> None:
        self._connection, self._alive = connection, alive
        self.is_recording = connection.is_recording

    def size(self) -> tuple[int, int]:
        """See `Connection`."""
        return self._connection.size()

    def clock(self) -> Clock:
        """See `Connection`."""
        return self._connection.clock()

    def close(self) -> None:
        """See `Connection`."""
        self._connection.close()

    def frames(self) -> Iterator[TimedFrame | FrameGap]:
        """See `Connection`."""
        for item in self._connection.frames():
            if isinstance(item, TimedFrame):
                yield TimedFrame(item.number, item.time, Pixels(item.pixels, self._alive))
            else:
                yield item


def main() -> None:
    """Run the benchmark and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="video between two cuts")
    parser.add_argument("--cuts", type=int, default=5, help="how often the sender hangs up and comes back")
    parser.add_argument("--away", type=float, default=10.0, help="seconds for which it is away")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        result = run(Path(folder), seconds=arguments.seconds, cuts=arguments.cuts, away=arguments.away)
        print(json.dumps(result | {"machine": describe_machine()}, indent=2))


def run(folder: Path, *, seconds: float, cuts: int, away: float) -> dict[str, Any]:
    """Watch the stream with a small model of random weights until the sender is away for good."""
    path = write_stream(folder, seconds=seconds)
    alive, memory = Alive(), list[float]()
    with serving(path, seconds=seconds, times=cuts + 1, away=away) as port:
        connect = partial(connect_network, f"http://127.0.0.1:{port}/live.ts", timeout=_TIMEOUT_S, now=time.monotonic)
        feed = LiveFeed(lambda: Counted(connect(), alive), path="stream", max_gap=2 * away + 5,
                        duration=(cuts + 1) * seconds + cuts * (2 * away + 5))  # fmt: skip
        before = resident_mb()
        found = live_timeline(
            small_model("divided_space_time"), feed, on_segment=lambda segment: memory.append(resident_mb()), min_on=0.2
        )
    return {
        "cuts": cuts,
        "away_s": away,
        "gaps": [asdict(gap) for gap in found.timeline.gaps],
        "segments": len(found.timeline.segments),
        "segments_by_piece": _by_piece(found.timeline),
        "frames": found.timeline.source.num_frames,
        "frames_sent": (cuts + 1) * round(seconds * _FPS),
        "frames_alive_at_most": alive.most,
        "windows": found.num_windows,
        "windows_skipped": found.num_skipped,
        "resident_mb_before": round(before, 1),
        "resident_mb_by_segment": [round(each, 1) for each in memory],
        "growth_mb": round(resident_mb() - memory[0], 1),
    }


def write_stream(folder: Path, *, seconds: float) -> Path:
    """Write some seconds of video as an MPEG-TS."""
    short, path = folder / "short.mp4", folder / "live.ts"
    write_synthetic_video(
        SyntheticVideo(num_frames=round(seconds * _FPS), fps=_FPS, height=_SIDE, width=_SIDE), {_FPS: short}
    )
    with av.open(str(short)) as source, av.open(str(path), "w") as target:
        out = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = out
                target.mux(packet)
    return path


def _by_piece(timeline: Any) -> list[int]:
    edges = [0.0, *(gap.end for gap in timeline.gaps), float("inf")]
    return [sum(start <= segment.start + 1e-6 < end for segment in timeline.segments) for start, end in pairwise(edges)]


if __name__ == "__main__":
    main()
