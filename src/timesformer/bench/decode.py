"""`timesformer bench decode`: the frames of a clip out of a file, cut to the model's input, on one thread."""

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

from timesformer.bench.result import Bench
from timesformer.bench.scenes import Scene, write_scene
from timesformer.bench.timing import OnRound, Way, interleave
from timesformer.bench.video_readers import OURS, Read, readers
from timesformer.config.presets import clip_preset
from timesformer.config.presets import preset as model_preset
from timesformer.config.run import DataConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips import sampling, transforms
from timesformer.data.video.reader import probe

GOPS = (250, 30, 12)
"""Frames from one key frame to the next, at most: x264's default, a camera's, and what `your-videos.md` advises."""
SCENE = Scene()


@dataclass(frozen=True, slots=True)
class _Case:
    """One file and what is asked of it."""

    name: str
    path: Path
    requests: Sequence[list[int]]
    """Frames of each clip."""
    cut: Callable[[UInt8[Tensor, "t h w 3"]], Tensor]
    """What happens to them before the model."""


def run(
    *,
    preset: str,
    rounds: int,
    only: Sequence[str] = (),
    on_round: OnRound = lambda done, total: None,
    scene: Scene = SCENE,
    gops: Sequence[int] = GOPS,
) -> Bench:
    """Read clips as training and testing ask for them, with every reader that is installed.

    Args:
        preset: Whose clips and image size.
        rounds: Rounds that count; each draws its own training clips, the same for all readers.
        only: Names of readers to run beside ours; all of them by default.
        on_round: Hears of every run.
        scene: The video that is drawn.
        gops: Distances of key frames that it is written with; testing is measured at the first.

    Raises:
        ConfigError: There is no such preset or reader, or `rounds` is less than 1.
    """
    model, clip = model_preset(preset), clip_preset(preset)
    present, absent = readers(only)
    with tempfile.TemporaryDirectory() as folder, _one_thread():
        paths = {gop: Path(folder) / f"gop_{gop}.mp4" for gop in gops}
        write_scene(scene, paths)
        cases = _cases(paths, model, clip, num_draws=rounds + 1)
        sizes = {str(gop): path.stat().st_size for gop, path in paths.items()}
        agreement = {
            _name(reader, case): _difference(read, present[OURS], case)
            for case in cases
            for reader, read in present.items()
            if reader != OURS
        }
        cpu_s: dict[str, list[float]] = {_name(reader, case): [] for case in cases for reader in present}
        ways = {
            _name(reader, case): _way(read, case, cpu_s[_name(reader, case)])
            for case in cases
            for reader, read in present.items()
        }
        timings = interleave(ways, rounds=rounds, on_round=on_round)
    return Bench(
        name="decode",
        title=f"A clip of {model.num_frames} frames out of {scene.num_frames} of {scene.height}p, one thread",
        setting={"preset": preset, "scene": asdict(scene), "gops": list(gops), "bytes": sizes, "threads": 1},
        timings=timings,
        ours=_name(OURS, cases[0]),
        compared_with={_name(reader, case): _name(OURS, case) for case in cases for reader in present},
        # where others use the machine, too, this still tells what a loader's worker pays
        details={name: {"cpu_s": statistics.median(seconds[-rounds:])} for name, seconds in cpu_s.items()},
        agreement=agreement,
        absent=absent,
        notes=(
            "GOP: frames from one key frame to the next, at most; x264, preset medium, crf 23",
            "whole video: all frames become pictures in one array, as released; whole decode: those asked for",
            "differs by: largest difference of a decoded frame's levels, of 255",
        ),
    )


def _cases(paths: dict[int, Path], model: ModelConfig, clip: ClipConfig, *, num_draws: int) -> list[_Case]:
    first, *_ = paths
    info = probe(paths[first])
    data, generator = DataConfig(), np.random.default_rng(0)
    drawn = [
        sampling.train_clip(info, clip, num_frames=model.num_frames, generator=generator) for _ in range(num_draws)
    ]
    tested = sampling.eval_clips(info, clip, num_frames=model.num_frames)

    def cut_to_train(frames: UInt8[Tensor, "t h w 3"]) -> Tensor:
        generator = np.random.default_rng(0)
        return transforms.train_view(frames, clip, data, image_size=model.image_size, generator=generator)

    def cut_to_test(frames: UInt8[Tensor, "t h w 3"]) -> Tensor:
        return transforms.eval_views(frames, clip, image_size=model.image_size)

    trained = [_Case(f"training, GOP {gop}", path, drawn, cut_to_train) for gop, path in paths.items()]
    return [*trained, _Case(f"testing, GOP {first}", paths[first], tested, cut_to_test)]


def _name(reader: str, case: _Case) -> str:
    return f"{reader}: {case.name}"


def _way(read: Read, case: _Case, cpu_s: list[float]) -> Way:
    """Read and cut the case's clips, one a call, and note the seconds of processor time that each took."""
    requests = cycle(case.requests)

    def way() -> None:
        start = time.process_time()
        case.cut(read(case.path, next(requests)))
        cpu_s.append(time.process_time() - start)

    return way


def _difference(read: Read, ours: Read, case: _Case) -> float:
    frames, expected = (each(case.path, case.requests[0]).to(torch.int16) for each in (read, ours))
    return float((frames - expected).abs().max())


@contextmanager
def _one_thread() -> Generator[None]:
    """Torch computes on one thread, as in a loader's worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
