"""What runs in the decoding processes: a video is checked by its header, then decoded within the limits."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from timesformer.bounds import TOO_LITTLE_MEMORY
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips.dataset import read_pixel_views
from timesformer.data.video.file_reader import VideoInfo
from timesformer.data.video.reader import open_reader
from timesformer.data.video.stated import read_stated_size
from timesformer.errors import CodecError, DecodeError

Views = tuple[UInt8[np.ndarray, "views 3 t s1 s2"], VideoInfo]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLimits:
    """The largest video that is decoded, and the codecs."""

    max_seconds: float
    max_pixels: int
    max_frames: int
    allow_codecs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a video is not decoded."""

    reason: str
    """One word, for metrics."""
    detail: str
    fix: str


def open_decoder(model: ModelConfig, clip: ClipConfig, limits: VideoLimits) -> Callable[[str], Views | Refusal]:
    """The function of a decoding process: views of a video, 0 to 255, or why there are none."""
    torch.set_num_threads(1)
    # the readers hold these bounds also against frames that the header does not tell
    os.environ["TIMESFORMER_MAX_PIXELS"] = str(limits.max_pixels)
    os.environ["TIMESFORMER_MAX_FRAMES"] = str(limits.max_frames)

    def decode(path: str) -> Views | Refusal:
        try:
            refused = _check_header(path, limits)
            return refused or _decode(path, model, clip, limits)
        except CodecError as error:
            return _codec(error.codec)
        except DecodeError as error:
            return _unreadable(path, error, limits)

    return decode


def _check_header(path: str, limits: VideoLimits) -> Refusal | None:
    stated = read_stated_size(path, allow_codecs=limits.allow_codecs)
    if stated.width * stated.height > limits.max_pixels:
        return _pixels(f"frames of {stated.width}x{stated.height} pixels", limits)
    return _length(stated.num_frames, stated.duration_s, limits)


def _decode(path: str, model: ModelConfig, clip: ClipConfig, limits: VideoLimits) -> Views | Refusal:
    reader = open_reader(path, allow_codecs=limits.allow_codecs)
    with reader:
        info = reader.info
    if refused := _length(info.num_frames, info.duration_s, limits):
        return refused
    views, info = read_pixel_views(reader, model, clip)  # the first pass over the packets is kept
    return views.numpy(), info


def _length(num_frames: int, duration_s: float, limits: VideoLimits) -> Refusal | None:
    if duration_s > limits.max_seconds:
        detail = f"the video lasts {duration_s:.4g} s, longer than {limits.max_seconds:g} s, the limit of this server"
        return Refusal("duration", detail, f"send a part of at most {limits.max_seconds:g} s")
    if num_frames > limits.max_frames:
        detail = f"the video has {num_frames} frames, more than {limits.max_frames}, the limit of this server"
        return Refusal("frames", detail, f"send a part of at most {limits.max_frames} frames")
    return None


def _pixels(found: str, limits: VideoLimits) -> Refusal:
    detail = f"{found}: more than {limits.max_pixels} pixels, the limit of this server"
    return Refusal("pixels", detail, f"scale the video down to at most {limits.max_pixels} pixels a frame")


def _codec(codec: str) -> Refusal:
    detail = f"the codec {codec} is not decoded by this server"
    return Refusal("codec", detail, "convert the video, for instance to H.264 in MP4")


def _unreadable(path: str, error: DecodeError, limits: VideoLimits) -> Refusal:
    text = str(error).removeprefix(f"{path}: ").replace(path, "the file").partition("; if you trust it")[0]
    if "TIMESFORMER_MAX_PIXELS" in str(error):
        return _pixels(text.partition(" have more")[0], limits)
    if "TIMESFORMER_MAX_FRAMES" in str(error):
        return Refusal("frames", text, f"send a part of at most {limits.max_frames} frames")
    if TOO_LITTLE_MEMORY in text:
        return Refusal("memory", text, "scale the video down or send a shorter part")
    return Refusal("unreadable", text, "send a video that plays in a media player, such as H.264 in MP4")
