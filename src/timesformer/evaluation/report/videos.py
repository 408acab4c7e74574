"""Film strips of the report: frames as the model sees them."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from einops import rearrange
from jaxtyping import UInt8

from timesformer.data.clips.pieces import read_piece
from timesformer.data.clips.transforms import denormalize, to_floats
from timesformer.data.video.reader import open_reader
from timesformer.data.video.segment import segment_name
from timesformer.errors import DecodeError
from timesformer.evaluation.result import VideoResult
from timesformer.html import data_url, encode, escape
from timesformer.inference.onnx_model import Classifier

_MIN_HEIGHT = 72
_FRAMES_OF_EXAMPLE = 8
_FRAMES_OF_MISTAKE = 3


def mistake_figure(video: VideoResult, model: Classifier, *, allow_codecs: Collection[str] = ()) -> str:
    """First, middle and last frame of a wrong prediction, with predicted and true class."""
    caption = (
        f"<span class=bad>predicted: {escape(video.predicted)} {video.probability:.0%}</span><br>"
        f"true: {escape(video.label)} {video.true_probability:.0%} (rank {video.rank})"
    )
    return _figure(video, model, num_frames=_FRAMES_OF_MISTAKE, caption=caption, allow_codecs=allow_codecs)


def example_figure(video: VideoResult, model: Classifier, *, allow_codecs: Collection[str] = ()) -> str:
    """Up to eight frames of a correct prediction."""
    caption = f"<span class=good>{escape(video.predicted)} {video.probability:.0%}</span>"
    return _figure(video, model, num_frames=_FRAMES_OF_EXAMPLE, caption=caption, allow_codecs=allow_codecs)


def film_strip(frames: UInt8[np.ndarray, "t h w 3"], *, num_frames: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Put up to `num_frames` frames side by side, evenly spaced from first to last and separated by white lines.

    Small frames are enlarged by a whole factor to a height of at least 72 pixels.
    """
    chosen = frames[np.linspace(0, len(frames) - 1, min(len(frames), num_frames)).round().astype(int)]
    gap = max(1, frames.shape[2] // 60)
    padded = np.pad(chosen, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
    strip = rearrange(padded, "t h w c -> h (t w) c")[:, :-gap]
    factor = _enlargement(frames)
    return strip.repeat(factor, axis=0).repeat(factor, axis=1)


def _enlargement(frames: UInt8[np.ndarray, "t h w 3"]) -> int:
    return max(1, -(-_MIN_HEIGHT // frames.shape[1]))


def _figure(
    video: VideoResult, model: Classifier, *, num_frames: int, caption: str, allow_codecs: Collection[str]
) -> str:
    try:
        reader = open_reader(video.path, segment=video.segment, allow_codecs=allow_codecs)
        views = read_piece(reader, model.config, model.info.clip, name=str(video.path)).views[:1]
    except DecodeError as error:  # the file has changed since the evaluation
        return f"<figure><figcaption class=bad>{escape(str(error))}</figcaption></figure>"
    frames = denormalize(to_floats(views, model.info.clip)[0], model.info.clip).numpy()
    enlarged = _enlargement(frames) > 1
    kind = "png" if enlarged else "jpeg"  # PNG keeps enlarged pixels sharp; JPEG keeps photos small
    address = data_url(encode(film_strip(frames, num_frames=num_frames), kind=kind), kind)
    name = escape(segment_name(Path(video.path).name, video.segment))
    return (
        f'<figure><img{" class=pixels" * enlarged} alt="{escape(video.label)}" src="{address}">'
        f"<figcaption>{caption}<br><span class='soft name'>{name}</span></figcaption>"
        "</figure>"
    )
