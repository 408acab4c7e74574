"""Preview of a run's augmented training clips, as a PNG."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from timesformer.config.run import RunConfig
from timesformer.config.schema import ClipConfig
from timesformer.data.clips.dataset import TrainClips, read_eval_views
from timesformer.data.clips.transforms import denormalize, to_floats
from timesformer.data.manifest.inputs import list_files, video_files
from timesformer.data.manifest.manifest import Sample
from timesformer.data.video.reader import open_reader
from timesformer.data.video.segment import segment_name
from timesformer.files import replacing
from timesformer.outputs import refuse_inputs
from timesformer.training.dataloaders import load_data, validation_clip

Picture = UInt8[np.ndarray, "h w 3"]

_LONG_SIDE = 112
_GAP = 6
_LINE = 16
_TEXT, _BACKGROUND = "#1f2933", "white"


class _Tile(NamedTuple):
    """Frames of one clip side by side, and the title above them."""

    title: str
    picture: Picture


def write_preview(run: RunConfig, path: str | Path, *, num_videos: int = 6, num_draws: int = 4) -> Path:
    """Write a PNG with plain and augmented training clips, one row per video.

    A row shows the first, the middle and the last frame of one test view without augmentation, then of the clips that
    training uses in the first epochs. MixUp and CutMix are not shown: they apply to batches.

    Args:
        run: The run, whose seed is used.
        path: The file to write; an existing one is replaced.
        num_videos: Number of training videos, evenly spaced; fewer if the run has fewer.
        num_draws: Augmented clips per video.

    Returns:
        The path of the PNG.

    Raises:
        ConfigError: The file is one of the videos or lists that the run reads.
        ConfigError, DataError: The data cannot be used.
        DecodeError: One of the videos cannot be decoded.
        OSError: The file cannot be written.
    """
    path = Path(path).expanduser()
    split = load_data(run.data, seed=run.seed)
    refuse_inputs([path], (*list_files(run.data.train, run.data.val), *video_files(*split)))
    manifest = split.train
    data = replace(run.data, cache=False)  # a few videos are read quickly
    clips = TrainClips(manifest, model=run.model, clip=run.clip, data=data, seed=run.seed, augment=run.augment)
    indices = np.linspace(0, len(clips) - 1, min(num_videos, len(clips))).round().astype(int).tolist()
    rows = [
        [
            _plain_tile(manifest.samples[index], run, label=manifest.class_names[manifest.samples[index].label]),
            *_augmented_tiles(clips, index, clip=run.clip, num_draws=num_draws),
        ]
        for index in indices
    ]
    with replacing(path) as partial:
        _lay_out(rows).save(partial, format="PNG")
    return path


def _plain_tile(sample: Sample, run: RunConfig, *, label: str) -> _Tile:
    reader = open_reader(sample.path, segment=sample.segment, allow_codecs=run.data.allow_codecs)
    views, _ = read_eval_views(reader, run.model, validation_clip(run.clip))
    return _Tile(f"{label}: {segment_name(sample.path.name, sample.segment)}", _strip(views[0], run.clip))


def _augmented_tiles(clips: TrainClips, index: int, *, clip: ClipConfig, num_draws: int) -> list[_Tile]:
    tiles = []
    for epoch in range(num_draws):
        clips.set_epoch(epoch)
        views, _ = clips[index]
        tiles.append(_Tile(f"epoch {epoch + 1}", _strip(to_floats(views[0], clip), clip)))
    return tiles


def _strip(view: Tensor, clip: ClipConfig) -> Picture:
    """Thumbnails of the first, the middle and the last frame, side by side."""
    frames = denormalize(view, clip)
    chosen = frames[sorted({0, len(frames) // 2, len(frames) - 1})]
    strip = Image.fromarray(rearrange(chosen, "t h w c -> h (t w) c").numpy())
    scale = _LONG_SIDE / max(frames.shape[1:3])
    size = max(1, round(strip.width * scale)), max(1, round(strip.height * scale))
    return np.asarray(strip.resize(size, Image.Resampling.BILINEAR))


def _lay_out(rows: Sequence[Sequence[_Tile]]) -> Image.Image:
    height, width, _ = rows[0][0].picture.shape
    step_down, step_right = height + _LINE + _GAP, width + 2 * _GAP
    image = Image.new("RGB", (len(rows[0]) * step_right + _GAP, len(rows) * step_down + _GAP), _BACKGROUND)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=_LINE - 5)
    for down, row in enumerate(rows):
        for right, tile in enumerate(row):
            left, top = _GAP + right * step_right, _GAP + down * step_down
            draw.text((left, top), _shortened(tile.title, width, font), fill=_TEXT, font=font)
            image.paste(Image.fromarray(tile.picture), (left, top + _LINE))
    return image


def _shortened(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
