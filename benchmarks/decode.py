"""Time to decode the frames of a clip and crop them to the model's input, on one thread, against other readers.

    python benchmarks/decode.py --preset base --rounds 7

The readers are those of `video_readers.py`; those that are not installed are named and left out.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from command_line import run_benchmark
from synthetic_videos import SyntheticVideo, write_synthetic_video
from timesformer.bench.result import BenchmarkResult
from timesformer.bench.timing import Candidate, OnProgress, interleave
from timesformer.config.presets import clip_preset
from timesformer.config.presets import preset as model_preset
from timesformer.config.run import DataConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips import sampling, transforms
from timesformer.data.video.reader import probe
from video_readers import OURS, Read, readers

GOPS = (250, 30, 12)
"""Frames from one key frame to the next, at most: x264's default, a camera's, and the advice of `your-videos.md`."""
VIDEO = SyntheticVideo()
_NOTES = (
    "GOP: frames from one key frame to the next, at most; x264, preset medium, crf 23",
    "whole video: converts all frames to one array of pictures, as released; whole decode: only those used",
    "max diff: largest difference of a decoded frame, in levels of 255",
)


@dataclass(frozen=True, slots=True)
class Case:
    """A file and the clips to read from it."""

    name: str
    path: Path
    clips: Sequence[list[int]]
    """Frame indices of each clip."""
    crop: Callable[[UInt8[Tensor, "t h w 3"]], Tensor]
    """From decoded frames to the model's input."""


def run(
    *,
    preset: str,
    rounds: int,
    only: Sequence[str] = (),
    on_progress: OnProgress = lambda done, total: None,
    video: SyntheticVideo = VIDEO,
    gops: Sequence[int] = GOPS,
) -> BenchmarkResult:
    """Read clips as training and testing sample them, with every reader that is installed.

    Args:
        preset: The model whose clips and image size are used.
        rounds: Timed rounds; each draws new training clips, the same for all readers.
        only: Readers to compare with; all of them by default.
        on_progress: Called after each run.
        video: The video to draw.
        gops: Key frame intervals to encode it with; testing is measured at the first.

    Raises:
        ConfigError: There is no such preset or reader, or `rounds` is less than 1.
    """
    model, clip = model_preset(preset), clip_preset(preset)
    present, unavailable = readers(only)
    with tempfile.TemporaryDirectory() as folder, _one_thread():
        paths = {gop: Path(folder) / f"gop_{gop}.mp4" for gop in gops}
        write_synthetic_video(video, paths)
        cases = _cases(paths, model, clip, num_draws=rounds + 1)
        sizes = {str(gop): path.stat().st_size for gop, path in paths.items()}
        pairs = {_name(reader, case): (reader, case) for case in cases for reader in present}
        baselines = {name: pair for name, pair in pairs.items() if pair[0] != OURS}
        differences = {
            name: _difference(present[reader], present[OURS], case) for name, (reader, case) in baselines.items()
        }
        cpu_s: dict[str, list[float]] = {name: [] for name in pairs}
        candidates = {name: _candidate(present[reader], case, cpu_s[name]) for name, (reader, case) in pairs.items()}
        times = interleave(candidates, rounds=rounds, on_progress=on_progress)
    return BenchmarkResult(
        name="decode",
        title=f"A clip of {model.num_frames} frames out of {video.num_frames} of {video.height}p, one thread",
        settings={"preset": preset, "video": asdict(video), "gops": list(gops), "bytes": sizes, "threads": 1},
        times=times,
        ours=_name(OURS, cases[0]),
        compared_with={name: _name(OURS, case) for name, (_, case) in pairs.items()},
        # unlike wall time, it is meaningful on a busy machine, too
        details={name: {"cpu_s": statistics.median(seconds[-rounds:])} for name, seconds in cpu_s.items()},
        max_difference=differences,
        unavailable=unavailable,
        notes=_NOTES,
    )


def _cases(paths: dict[int, Path], model: ModelConfig, clip: ClipConfig, *, num_draws: int) -> list[Case]:
    first, *_ = paths
    info = probe(paths[first])
    data, generator = DataConfig(), np.random.default_rng(0)
    drawn = [
        sampling.train_clip(info, clip, num_frames=model.num_frames, generator=generator) for _ in range(num_draws)
    ]
    tested = sampling.eval_clips(info, clip, num_frames=model.num_frames)

    def crop_to_train(frames: UInt8[Tensor, "t h w 3"]) -> Tensor:
        generator = np.random.default_rng(0)
        return transforms.train_view(frames, clip, data, image_size=model.image_size, generator=generator)

    def crop_to_test(frames: UInt8[Tensor, "t h w 3"]) -> Tensor:
        return transforms.eval_views(frames, clip, image_size=model.image_size)

    trained = [Case(f"training, GOP {gop}", path, drawn, crop_to_train) for gop, path in paths.items()]
    return [*trained, Case(f"testing, GOP {first}", paths[first], tested, crop_to_test)]


def _name(reader: str, case: Case) -> str:
    return f"{reader}: {case.name}"


def _candidate(read: Read, case: Case, cpu_s: list[float]) -> Candidate:
    """Reads and crops the next clip of the case at each call, and appends the CPU seconds to `cpu_s`."""
    clips = cycle(case.clips)

    def read_next() -> None:
        start = time.process_time()
        case.crop(read(case.path, next(clips)))
        cpu_s.append(time.process_time() - start)

    return read_next


def _difference(read: Read, ours: Read, case: Case) -> float:
    frames, expected = (each(case.path, case.clips[0]).to(torch.int16) for each in (read, ours))
    return float((frames - expected).abs().max())


@contextmanager
def _one_thread() -> Generator[None]:
    """Limits torch to one thread, as in a DataLoader worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


if __name__ == "__main__":
    run_benchmark(run, __doc__ or "")
