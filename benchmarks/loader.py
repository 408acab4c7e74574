"""Time to load batches of training clips through worker processes, by number of workers and against other readers.

    python benchmarks/loader.py --preset base --rounds 7

Names the smallest `data.num_workers` that is as fast as any. The readers are those of `video_readers.py`.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from command_line import run_benchmark
from synthetic_videos import SyntheticVideo, write_synthetic_video
from timesformer.bench.candidates import max_differences
from timesformer.bench.result import BenchmarkResult
from timesformer.bench.timing import OnProgress, RunTimes, interleave
from timesformer.config.presets import clip_preset
from timesformer.config.presets import preset as model_preset
from timesformer.config.run import DataConfig, RunConfig
from timesformer.data.clips import sampling, transforms
from timesformer.data.clips.worker_errors import ErrorsAsValues
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.video.reader import probe
from timesformer.errors import TimeSformerError
from timesformer.training.dataloaders import Batch, EpochOrder, Loader, Split, collate, make_loaders
from video_readers import OURS, Read, readers

GOP = 250
"""x264's default."""
NUM_VIDEOS = 2
NUM_CLIPS = 32
"""Per epoch: eight batches for each of two workers, so that the last ones, when a worker may idle, weigh little."""
BATCH_SIZE = 2
VIDEO = SyntheticVideo()
BASELINE_WORKERS = 2


def run(
    *,
    preset: str,
    rounds: int,
    only: Sequence[str] = (),
    on_progress: OnProgress = lambda done, total: None,
    video: SyntheticVideo = VIDEO,
    num_clips: int = NUM_CLIPS,
) -> BenchmarkResult:
    """Load epochs of training clips: ours with one worker, two, four and so on up to the cores, baselines with two.

    Args:
        preset: The model whose clips and image size are used.
        rounds: Timed rounds; in each, every candidate loads one epoch of the same clips.
        only: Readers to compare with; all of them by default.
        on_progress: Called after each run.
        video: The first video to draw; the others have other seeds.
        num_clips: Clips per epoch.

    Raises:
        ConfigError: There is no such preset or reader, or `rounds` is less than 1.
    """
    model, clip = model_preset(preset), clip_preset(preset)
    settings = RunConfig(model=model, clip=clip, batch_size=BATCH_SIZE, data=DataConfig(num_workers=BASELINE_WORKERS))
    present, unavailable = readers(only)
    with tempfile.TemporaryDirectory() as folder:
        loaders = _loaders(_videos(Path(folder), video, num_clips=num_clips), settings, present)
        first_epochs = {name: _clips(_epoch(loader)) for name, loader in loaders.items()}
        candidates = {name: partial(_epoch, loader) for name, loader in loaders.items()}
        # the first epochs have started and warmed up the workers
        times = interleave(candidates, rounds=rounds, warmup=0, on_progress=on_progress)
    ours = _name(OURS, BASELINE_WORKERS)
    return BenchmarkResult(
        name="loader",
        title=f"Training clips of {model.num_frames} frames out of {video.num_frames} of {video.height}p",
        settings={"preset": preset, "clips": num_clips, "batch_size": BATCH_SIZE, "video": asdict(video), "gop": GOP},
        times=times,
        ours=ours,
        details={name: {"clips_per_s": num_clips / seconds.median} for name, seconds in times.items()},
        max_difference=max_differences(first_epochs, reference=ours),
        unavailable=unavailable,
        notes=(_advice(times), "max diff: largest difference of a clip, in levels of 255"),
    )


def worker_counts() -> list[int]:
    """One worker, two, four and so on, up to the number of cores, at least 2."""
    cores = os.cpu_count() or 1
    return [1, 2, *(2**power for power in range(2, cores.bit_length()) if 2**power <= cores)]


def _advice(times: Mapping[str, RunTimes]) -> str:
    """The smallest number of workers within 5 % of the fastest."""
    medians = {count: times[_name(OURS, count)].median for count in worker_counts()}
    best = min(count for count, median in medians.items() if median <= 1.05 * min(medians.values()))
    return f"fastest here, for videos like these: data.num_workers={best}"


def _name(reader: str, num_workers: int) -> str:
    return f"{reader}, {num_workers} worker{'s' * (num_workers != 1)}"


def _videos(folder: Path, video: SyntheticVideo, *, num_clips: int) -> Manifest:
    paths = [folder / f"{number}.mp4" for number in range(NUM_VIDEOS)]
    for number, path in enumerate(paths):
        write_synthetic_video(replace(video, seed=video.seed + number), {GOP: path})
    samples = tuple(Sample(paths[number % NUM_VIDEOS], number % NUM_VIDEOS) for number in range(num_clips))
    return Manifest(samples, class_names=tuple(str(number) for number in range(NUM_VIDEOS)))


def _loaders(videos: Manifest, settings: RunConfig, present: Mapping[str, Read]) -> dict[str, Loader]:
    ours = {_name(OURS, count): _our_loader(videos, settings, num_workers=count) for count in worker_counts()}
    baselines = {
        _name(reader, BASELINE_WORKERS): _baseline_loader(videos, settings, read)
        for reader, read in present.items()
        if reader != OURS
    }
    return ours | baselines


def _our_loader(videos: Manifest, settings: RunConfig, *, num_workers: int) -> Loader:
    settings = replace(settings, data=replace(settings.data, num_workers=num_workers))
    return make_loaders(Split(videos, videos), run=settings, device=torch.device("cpu"), first_epoch=0).train


def _baseline_loader(videos: Manifest, settings: RunConfig, read: Read) -> Loader:
    shape = (3, settings.model.num_frames, *settings.model.image_size)
    return DataLoader(
        ErrorsAsValues(BaselineClips(videos, settings, read)),
        batch_size=settings.videos_per_micro_batch,
        sampler=EpochOrder(len(videos.samples), seed=settings.seed),
        num_workers=settings.data.num_workers,
        persistent_workers=True,
        collate_fn=partial(collate, on_decode_error="raise", clip_shape=shape),
        generator=torch.Generator(),
    )


class BaselineClips(Dataset[tuple[Tensor, int]]):
    """The clips of `TrainClips` in its first epoch, through another reader, which is told the number of frames."""

    def __init__(self, videos: Manifest, settings: RunConfig, read: Read) -> None:
        self._videos = videos
        self._settings = settings
        self._read = read
        self._info = probe(videos.samples[0].path)

    def __len__(self) -> int:
        return len(self._videos.samples)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "1 3 t h w"], int]:
        run, sample = self._settings, self._videos.samples[index]
        generator = np.random.default_rng([run.seed, 0, index])
        indices = sampling.train_clip(self._info, run.clip, num_frames=run.model.num_frames, generator=generator)
        frames = self._read(sample.path, indices)
        view = transforms.train_view(frames, run.clip, run.data, image_size=run.model.image_size, generator=generator)
        return view[None], sample.label


def _epoch(loader: Loader) -> list[Batch | TimeSformerError]:
    return list(loader)


def _clips(batches: Sequence[Any]) -> Tensor:
    for batch in batches:
        if isinstance(batch, TimeSformerError):
            raise batch
    return torch.cat([batch.clips for batch in batches]).to(torch.int16)


if __name__ == "__main__":
    run_benchmark(run, __doc__ or "")
