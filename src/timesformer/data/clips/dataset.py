"""Videos of a manifest as torch datasets: random clips of each for training, all views of each for evaluation.

A video that cannot be decoded raises a `DecodeError` that names it, also through the workers of a data loader; it is
never replaced by another.
"""

import logging
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from timesformer.config.run import AugmentConfig, DataConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips import sampling, transforms
from timesformer.data.clips.backdrop import FRAMES, draw_noise
from timesformer.data.clips.difference import background_of
from timesformer.data.clips.tempo import change_tempo
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.video.codecs import allowed_codecs
from timesformer.data.video.file_reader import VideoInfo
from timesformer.data.video.reader import Reader, open_reader
from timesformer.errors import ConfigError, DataError, DecodeError

logger = logging.getLogger(__name__)

FRAMES_PER_READ = 128
"""Frames decoded in one read: overlapping clips share the work, and memory stays bounded."""


class TrainClips(Dataset[tuple[Tensor, int]]):
    """Random clips and the label of each video: uint8 `[repeats, 3, T, H, W]`, for `transforms.to_floats`, and an int.

    The draws of a clip depend only on the seed, the epoch, the index of the video in the manifest and the index of the
    clip among the repeats: any number of workers, in any order, gives the same clips.

    Args:
        manifest: The videos and their labels.
        model: Frame count and image size of the clips.
        clip: Sampling of the clips, and the order of their channels.
        data: Scales, mirroring, codecs, and whether to cache the videos in memory (then call `preload` first).
        augment: Augmentation besides scale, crop and mirroring, and the number of clips per video.
        seed: Seed of all draws, 0 or more.

    Raises:
        ConfigError: The model does not read 3 channels, or one of `data.allow_codecs` is unknown.
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        model: ModelConfig,
        clip: ClipConfig,
        data: DataConfig,
        seed: int,
        augment: AugmentConfig = transforms.NO_AUGMENTATION,
    ) -> None:
        check_channels(model)
        allowed_codecs(data.allow_codecs)
        self._manifest = manifest
        self._model = model
        self._clip = clip
        self._data = data
        self._augment = augment
        self._seed = seed
        # in shared memory, so that persistent workers see it change
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._cache: list[_CachedVideo | DecodeError] = []
        self._warned = no_warnings(manifest)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, 0 or more, whose clips are drawn; call it before creating the iterator of the data loader."""
        self._epoch.fill_(epoch)

    def preload(
        self, *, on_progress: Callable[[int, int], None] = lambda done, total: None, num_threads: int = 4
    ) -> None:
        """Decode all frames of all videos, or of their segments, into memory; afterwards nothing is decoded.

        Frames keep their original size, and clips from memory equal clips from files. A video needs num_frames x height
        x width x 3 bytes: 78 MB for 10 s of 340 x 256 pixels at 30 frames a second, 1 MB for 16 frames of 128 x 160;
        a segment needs its own frames alone. Workers forked later share the memory; spawned workers get a copy each.

        Args:
            on_progress: Called in this thread after each video, with the number of videos decoded and their total.
            num_threads: Number of videos decoded at a time.

        Raises:
            DecodeError: A video cannot be decoded; nothing is cached then. With `data.on_decode_error="skip"` it is
                instead raised whenever a clip of that video is read.
        """
        decode = partial(
            _decode_or_error if self._data.on_decode_error == "skip" else _decode_all,
            allow_codecs=self._data.allow_codecs,
        )
        cache = []
        with ThreadPoolExecutor(num_threads) as pool:
            for video in pool.map(decode, self._manifest.samples):
                cache.append(video)
                on_progress(len(cache), len(self))
        self._cache = cache
        sizes = [video.frames.nbytes for video in cache if not isinstance(video, DecodeError)]
        unit = "segments" if self._manifest.has_segments else "videos"
        logger.info("decoded %d %s into memory: %.0f MB", len(sizes), unit, sum(sizes) / 1e6)

    def __len__(self) -> int:
        return len(self._manifest.samples)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "repeats 3 t s1 s2"], int]:
        index = range(len(self))[index]  # a negative index draws the same clip
        generators = [self._generator(index, repeat) for repeat in range(self._augment.repeats)]
        views = [
            transforms.train_view(
                frames,
                self._clip,
                self._data,
                image_size=self._model.image_size,
                generator=generator,
                augment=self._augment,
                backdrop=self._draw_backdrop(index, generator),
            )
            for frames, generator in zip(self._read(index, generators), generators, strict=True)
        ]
        return torch.stack(views), self._manifest.samples[index].label

    def _draw_backdrop(self, index: int, generator: np.random.Generator) -> UInt8[np.ndarray, "h w 3"] | None:
        """Noise, or the background of another video; one that cannot be decoded is reported at its own turn."""
        if not self._augment.background_swap or generator.random() >= self._augment.background_swap:
            return None
        other, noise = int(generator.integers(len(self))), draw_noise(generator)
        if other == index or generator.random() < 0.5:
            return noise
        try:
            return background_of(self._read_spread(other))
        except DecodeError:
            return noise

    def _read_spread(self, index: int) -> UInt8[np.ndarray, "t h w 3"]:
        """A few frames, from the first to the last of a video."""
        if self._cache:
            video = self._cache[index]
            if isinstance(video, DecodeError):
                raise DecodeError(str(video))
            return video.frames[sampling.uniform_indices(video.info.num_frames, num_frames=FRAMES)]
        sample = self._manifest.samples[index]
        with open_reader(sample.path, segment=sample.segment, allow_codecs=self._data.allow_codecs) as reader:
            return reader.read(sampling.uniform_indices(reader.info.num_frames, num_frames=FRAMES))

    def _generator(self, index: int, repeat: int) -> np.random.Generator:
        # the first clip does not depend on the number of repeats
        return np.random.default_rng([self._seed, int(self._epoch), index, *([repeat] if repeat else [])])

    def _read(self, index: int, generators: list[np.random.Generator]) -> UInt8[np.ndarray, "repeats t h w 3"]:
        """The frames of all clips, decoded in one read."""
        if self._cache:
            video = self._cache[index]
            if isinstance(video, DecodeError):
                raise DecodeError(str(video))  # a new one, because each raise would extend the traceback
            self._warn_of_timing(index, video.info)
            frames = video.frames[self._draw(video.info, generators)]
        elif self._data.cache:
            raise DataError("data.cache=True keeps videos in memory: call preload() before the first clip")
        else:
            sample = self._manifest.samples[index]
            with open_reader(sample.path, segment=sample.segment, allow_codecs=self._data.allow_codecs) as reader:
                self._warn_of_timing(index, reader.info)
                frames = reader.read(self._draw(reader.info, generators))
        return rearrange(frames, "(repeats t) h w c -> repeats t h w c", repeats=len(generators))

    def _warn_of_timing(self, index: int, info: VideoInfo) -> None:
        warn_of_timing(self._manifest.samples[index].name, info, self._clip, warned=self._warned[index])

    def _draw(self, info: VideoInfo, generators: list[np.random.Generator]) -> list[int]:
        return [frame for generator in generators for frame in self._draw_clip(info, generator)]

    def _draw_clip(self, info: VideoInfo, generator: np.random.Generator) -> list[int]:
        num_frames, jitter = self._model.num_frames, self._augment.temporal_jitter
        frames = sampling.train_clip(info, self._clip, num_frames=num_frames, generator=generator, jitter=jitter)
        return change_tempo(frames, factor=self._augment.tempo, generator=generator)


class EvalViews(Dataset[tuple[Tensor, int, int]]):
    """All views of each video, its label and its index in the manifest: uint8 `[views, 3, T, H, W]`, int, int.

    Normalize the views on the model's device, with `transforms.to_floats`. Videos may differ in their number of views
    (`coverage`): load them with `batch_size=None` or a custom `collate_fn`.

    Args:
        manifest: The videos and their labels.
        model: Frame count and image size of the views.
        clip: Sampling of the views, and the order of their channels.
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`.

    Raises:
        ConfigError: The model does not read 3 channels, or a codec is unknown.
    """

    def __init__(
        self, manifest: Manifest, *, model: ModelConfig, clip: ClipConfig, allow_codecs: Collection[str] = ()
    ) -> None:
        check_channels(model)
        allowed_codecs(allow_codecs)
        self._allow_codecs = tuple(allow_codecs)
        self._manifest = manifest
        self._model = model
        self._clip = clip
        self._warned = no_warnings(manifest)

    def __len__(self) -> int:
        return len(self._manifest.samples)

    def __getitem__(self, index: int) -> tuple[UInt8[Tensor, "views 3 t s1 s2"], int, int]:
        index = range(len(self))[index]
        sample = self._manifest.samples[index]
        reader = open_reader(sample.path, segment=sample.segment, allow_codecs=self._allow_codecs)
        views, info = read_pixel_views(reader, self._model, self._clip)
        warn_of_timing(sample.name, info, self._clip, warned=self._warned[index])
        return views, sample.label, index


def read_eval_views(
    video: str | Path | Reader, model: ModelConfig, clip: ClipConfig, *, allow_codecs: Collection[str] = ()
) -> tuple[Float[Tensor, "views 3 t s1 s2"], VideoInfo]:
    """Read all views of a video for evaluation.

    Args:
        video: A file, a folder of frames, a video in a tar file, or a reader.
        model: Frame count and image size of the views.
        clip: Sampling, crops and normalization.
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`.

    Returns:
        Normalized views (all crops of the first clip, then all of the second, and so on), and `VideoInfo`.

    Raises:
        DecodeError: The video cannot be decoded.
    """
    reader = open_reader(video, allow_codecs=allow_codecs) if isinstance(video, str | Path) else video
    views, info = read_pixel_views(reader, model, clip)
    return transforms.to_floats(views, clip), info


def warn_of_timing(
    path: str | Path, info: VideoInfo, clip: ClipConfig, *, warned: Bool[Tensor, ""] | None = None
) -> None:
    """Log a warning if the timestamps of a video are implausible and its clips follow them.

    Args:
        path: The video.
        info: Timing of the video.
        clip: Sampling of the clips.
        warned: True if the warning was given before, which suppresses it; set when it is given.
    """
    is_followed = clip.sampling not in ("segment", "uniform")
    if info.timing and is_followed and not (warned is not None and warned):
        logger.warning("%s: %s", path, info.timing)
        if warned is not None:
            warned.fill_(True)


class _CachedVideo(NamedTuple):
    info: VideoInfo
    frames: UInt8[np.ndarray, "n h w 3"]


def _decode_all(sample: Sample, *, allow_codecs: Collection[str]) -> _CachedVideo:
    with open_reader(sample.path, segment=sample.segment, allow_codecs=allow_codecs) as reader:
        return _CachedVideo(reader.info, reader.read(range(reader.info.num_frames)))


def _decode_or_error(sample: Sample, *, allow_codecs: Collection[str]) -> _CachedVideo | DecodeError:
    try:
        return _decode_all(sample, allow_codecs=allow_codecs)
    except DecodeError as error:
        return DecodeError(str(error))  # without its traceback, which would keep the reader alive when workers fork


def read_pixel_views(
    reader: Reader, model: ModelConfig, clip: ClipConfig
) -> tuple[UInt8[Tensor, "views 3 t s1 s2"], VideoInfo]:
    """The views of `read_eval_views` before normalization, 0 to 255.

    Raises:
        DecodeError: The video cannot be decoded.
    """
    with reader:
        clips = sampling.eval_clips(reader.info, clip, num_frames=model.num_frames)
        return views_of(reader, clips, model, clip), reader.info


def views_of(
    reader: Reader, clips: list[list[int]], model: ModelConfig, clip: ClipConfig
) -> UInt8[Tensor, "views 3 t s1 s2"]:
    """All crops of clips, which are lists of frame numbers, clip after clip, 0 to 255."""
    frames_of_clips = _read_clips(reader, clips)
    return torch.cat([transforms.eval_views(each, clip, image_size=model.image_size) for each in frames_of_clips])


def _read_clips(reader: Reader, clips: list[list[int]]) -> Iterator[UInt8[np.ndarray, "t h w 3"]]:
    """The frames of clips, which are lists of frame numbers; those of several clips are decoded in one read."""
    step = max(1, FRAMES_PER_READ // len(clips[0]))
    for first in range(0, len(clips), step):
        group = clips[first : first + step]
        frames = reader.read([index for clip in group for index in clip])
        yield from rearrange(frames, "(clips t) h w c -> clips t h w c", clips=len(group))


def no_warnings(manifest: Manifest) -> Bool[Tensor, " videos"]:
    """A flag per video, set once its warning is given; in shared memory, so that workers do not repeat it."""
    return torch.zeros(len(manifest.samples), dtype=torch.bool).share_memory_()


def check_channels(model: ModelConfig) -> None:
    """Refuse a model that cannot read videos.

    Raises:
        ConfigError: It does not read 3 channels.
    """
    if model.in_channels != 3:
        raise ConfigError(f"in_channels={model.in_channels} must be 3, the number of channels of a video")
