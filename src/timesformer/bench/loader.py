"""`timesformer bench loader`: batches of training clips through worker processes, as `timesformer train` draws them."""

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

from timesformer.bench.result import Bench
from timesformer.bench.scenes import Scene, write_scene
from timesformer.bench.timing import OnRound, Timing, interleave
from timesformer.bench.video_readers import OURS, Read, readers
from timesformer.config.presets import clip_preset
from timesformer.config.presets import preset as model_preset
from timesformer.config.run import DataConfig, RunConfig
from timesformer.data.clips import sampling, transforms
from timesformer.data.clips.worker_errors import ErrorsAsValues
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.video.reader import probe
from timesformer.errors import TimeSformerError
from timesformer.training.dataloaders import Batch, EpochOrder, Loader, Split, collate, make_feed

GOP = 250
"""x264's default."""
NUM_SCENES = 2
NUM_CLIPS = 32
"""In an epoch: each worker of two makes eight batches, so that the last ones, which end alone, weigh little."""
BATCH_SIZE = 2
SCENE = Scene()
_RIVAL_WORKERS = 2


def run(
    *,
    preset: str,
    rounds: int,
    only: Sequence[str] = (),
    on_round: OnRound = lambda done, total: None,
    scene: Scene = SCENE,
    num_clips: int = NUM_CLIPS,
) -> Bench:
    """Draw epochs of training clips: ours with one worker, two, four and on up to the cores, all others with two.

    Args:
        preset: Whose clips and image size.
        rounds: Rounds that count; in each, every way draws one epoch, the same clips.
        only: Names of readers to run beside ours; all of them by default.
        on_round: Hears of every run.
        scene: The first video that is drawn; the others have other seeds.
        num_clips: Clips of an epoch.

    Raises:
        ConfigError: There is no such preset or reader, or `rounds` is less than 1.
    """
    model, clip = model_preset(preset), clip_preset(preset)
    settings = RunConfig(model=model, clip=clip, batch_size=BATCH_SIZE, data=DataConfig(num_workers=_RIVAL_WORKERS))
    present, absent = readers(only)
    with tempfile.TemporaryDirectory() as folder:
        videos = _videos(Path(folder), scene, num_clips=num_clips)
        ours = {_name(OURS, count): _our_loader(videos, settings, num_workers=count) for count in worker_counts()}
        others = {
            _name(reader, _RIVAL_WORKERS): _their_loader(videos, settings, read)
            for reader, read in present.items()
            if reader != OURS
        }
        loaders = {**ours, **others}
        agreement = _agreement(loaders, ours=_name(OURS, _RIVAL_WORKERS))
        ways = {name: partial(_epoch, loader) for name, loader in loaders.items()}
        # the comparison has started the workers and warmed them up
        timings = interleave(ways, rounds=rounds, warmup=0, on_round=on_round)
    return Bench(
        name="loader",
        title=f"Training clips of {model.num_frames} frames out of {scene.num_frames} of {scene.height}p",
        setting={"preset": preset, "clips": num_clips, "batch_size": BATCH_SIZE, "scene": asdict(scene), "gop": GOP},
        timings=timings,
        ours=_name(OURS, _RIVAL_WORKERS),
        details={name: {"clips_per_s": num_clips / timing.median} for name, timing in timings.items()},
        agreement=agreement,
        absent=absent,
        notes=(_advice(timings), "differs by: largest difference of a clip's levels, of 255"),
    )


def worker_counts() -> list[int]:
    """One worker, two, four and on, as far as there are cores; two at least."""
    cores = os.cpu_count() or 1
    return [1, 2, *(2**power for power in range(2, cores.bit_length()) if 2**power <= cores)]


def _advice(timings: Mapping[str, Timing]) -> str:
    """The smallest number of workers within a twentieth of the fastest."""
    medians = {count: timings[_name(OURS, count)].median for count in worker_counts()}
    best = min(count for count, median in medians.items() if median <= 1.05 * min(medians.values()))
    return f"fastest here, for videos like these: data.num_workers={best}"


def _name(reader: str, num_workers: int) -> str:
    return f"{reader}, {num_workers} worker{'s' * (num_workers != 1)}"


def _videos(folder: Path, scene: Scene, *, num_clips: int) -> Manifest:
    paths = [folder / f"{number}.mp4" for number in range(NUM_SCENES)]
    for number, path in enumerate(paths):
        write_scene(replace(scene, seed=scene.seed + number), {GOP: path})
    samples = tuple(Sample(paths[number % NUM_SCENES], number % NUM_SCENES) for number in range(num_clips))
    return Manifest(samples, class_names=tuple(str(number) for number in range(NUM_SCENES)))


def _our_loader(videos: Manifest, settings: RunConfig, *, num_workers: int) -> Loader:
    settings = replace(settings, data=replace(settings.data, num_workers=num_workers))
    return make_feed(Split(videos, videos), run=settings, device=torch.device("cpu"), first_epoch=0).train


def _their_loader(videos: Manifest, settings: RunConfig, read: Read) -> Loader:
    shape = (3, settings.model.num_frames, *settings.model.image_size)
    return DataLoader(
        ErrorsAsValues(_Clips(videos, settings, read)),
        batch_size=settings.videos_per_micro_batch,
        sampler=EpochOrder(len(videos.samples), seed=settings.seed),
        num_workers=settings.data.num_workers,
        persistent_workers=True,
        collate_fn=partial(collate, on_decode_error="raise", clip_shape=shape),
        generator=torch.Generator(),
    )


class _Clips(Dataset[tuple[Tensor, int]]):
    """The clips of `TrainClips` in its first epoch, read in another way, which is told the number of frames."""

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
        chosen = sampling.train_clip(self._info, run.clip, num_frames=run.model.num_frames, generator=generator)
        frames = self._read(sample.path, chosen)
        view = transforms.train_view(frames, run.clip, run.data, image_size=run.model.image_size, generator=generator)
        return view[None], sample.label


def _epoch(loader: Loader) -> list[Batch | TimeSformerError]:
    return list(loader)


def _agreement(loaders: Mapping[str, Loader], *, ours: str) -> dict[str, float]:
    """Largest difference of each way's first epoch from ours; this starts the workers, too."""
    epochs = {name: _clips(_epoch(loader)) for name, loader in loaders.items()}
    return {name: float((clips - epochs[ours]).abs().max()) for name, clips in epochs.items() if name != ours}


def _clips(batches: Sequence[Any]) -> Tensor:
    for batch in batches:
        if isinstance(batch, TimeSformerError):
            raise batch
    return torch.cat([batch.clips for batch in batches]).to(torch.int16)
