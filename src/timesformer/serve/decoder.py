"""What runs in the decoding processes: a video is checked by its header, then read within the limits."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8

from timesformer.bounds import TOO_LITTLE_MEMORY
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips.center_view import read_center_view
from timesformer.data.clips.dataset import read_pixel_views
from timesformer.data.video.file_reader import VideoInfo
from timesformer.data.video.reader import open_reader
from timesformer.data.video.sequential import open_feed
from timesformer.data.video.stated import StatedSize, read_stated_size
from timesformer.errors import CodecError, DecodeError, TimeSformerError
from timesformer.explanation.explanation import Explanation
from timesformer.explanation.render import write_clip
from timesformer.serve.oip_request import BadRequestError, InferRequest, read_infer_request
from timesformer.serve.problems import ProblemError
from timesformer.timelines.reading import Read, WindowReader
from timesformer.timelines.windows import Windows

Views = tuple[UInt8[np.ndarray, "views 3 t s1 s2"], VideoInfo]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLimits:
    """The largest video that is decoded, and the codecs."""

    max_seconds: float
    max_pixels: int
    max_frames: int
    allow_codecs: tuple[str, ...] = ()


class RefusedError(TimeSformerError):
    """A video is not decoded.

    Args:
        detail: What is wrong with it.
        reason: One word, for metrics.
        fix: What the client can do about it.
        status: HTTP status.
    """

    def __init__(self, detail: str, reason: str = "", fix: str = "", status: int = 422) -> None:
        super().__init__(detail, reason, fix, status)
        self.detail = detail
        self.reason = reason
        self.fix = fix
        self.status = status

    def __str__(self) -> str:
        return self.detail

    def problem(self) -> ProblemError:
        """The answer."""
        return ProblemError(self.status, self.detail, fix=self.fix)


class VideoFacts(NamedTuple):
    """What is known of a video after its frames were read one after another."""

    read: Read
    size: tuple[int, int]
    sha256: str


def open_decoder(model: ModelConfig, clip: ClipConfig, limits: VideoLimits) -> Callable[..., Any]:
    """The function of a decoding process; it is called with the name of one of the functions below and a path.

    Its errors are `RefusedError`.
    """
    torch.set_num_threads(1)
    # the readers hold these bounds also against frames that the header does not tell
    os.environ["TIMESFORMER_MAX_PIXELS"] = str(limits.max_pixels)
    os.environ["TIMESFORMER_MAX_FRAMES"] = str(limits.max_frames)
    reader = _Reader(model, clip, limits)

    def call(name: str, path: str, *args: Any) -> Any:
        result = getattr(reader, name)(path, *args)
        return _refusing(result, path, limits) if name == "windows" else next(_refusing(result, path, limits))

    return call


@dataclass(frozen=True, slots=True)
class _Reader:
    """Functions of a decoding process: generators, so that all of their errors are told in the same way."""

    model: ModelConfig
    clip: ClipConfig
    limits: VideoLimits

    def views(self, path: str) -> Iterator[Views]:
        """All views of a video, 0 to 255."""
        self._check(path)
        reader = open_reader(path, allow_codecs=self.limits.allow_codecs)
        with reader:  # counts the frames, and keeps the count for the next opening
            _check_length(reader.info.num_frames, reader.info.duration_s, self.limits)
        views, info = read_pixel_views(reader, self.model, self.clip)
        yield views.numpy(), info

    def center_view(self, path: str) -> Iterator[dict[str, Any]]:
        """The view that is explained, as keywords of `CenterView` with arrays."""
        self._check(path)
        view = read_center_view(path, self.model, self.clip, allow_codecs=self.limits.allow_codecs)
        yield {**view._asdict(), "view": view.view.numpy()}

    def stated(self, path: str) -> Iterator[StatedSize]:
        """Size and length of a video by its header."""
        yield self._check(path)

    def windows(self, path: str, windows: Windows) -> Iterator[Any]:
        """The clock of a video, its windows with views as arrays, and at last `VideoFacts`."""
        self._check(path)
        with open_feed(path, allow_codecs=self.limits.allow_codecs) as feed:
            reader = WindowReader(feed, windows, config=self.model, clip=self.clip)
            yield feed.clock()
            for each in reader.windows():
                _check_length(len(reader.read.times), reader.read.times[-1], self.limits)
                yield each.piece, each.window, {number: views.numpy() for number, views in each.views.items()}
            yield VideoFacts(reader.read, feed.size(), feed.sha256())

    def infer_request(self, path: str, max_clips: int) -> Iterator[InferRequest]:
        """A request of the Open Inference Protocol in a file of JSON."""
        clip_shape = (3, self.model.num_frames, *self.model.image_size)
        try:
            yield read_infer_request(path, clip_shape=clip_shape, max_clips=max_clips)
        except BadRequestError as error:
            fix = "GET /v2/models/{name} has the inputs and outputs"
            raise RefusedError(str(error), "request", fix, 400) from error

    def overlay(self, path: str, explanation: Explanation, output: str) -> Iterator[None]:
        """Write the video of an explanation; only in a process that may write."""
        write_clip(explanation, Path(output), video=path, allow_codecs=self.limits.allow_codecs)
        yield None

    def _check(self, path: str) -> StatedSize:
        stated = read_stated_size(path, allow_codecs=self.limits.allow_codecs)
        if stated.width * stated.height > self.limits.max_pixels:
            raise _pixels(f"frames of {stated.width}x{stated.height} pixels", self.limits)
        _check_length(stated.num_frames, stated.duration_s, self.limits)
        return stated


def _refusing(values: Iterator[Any], path: str, limits: VideoLimits) -> Iterator[Any]:
    """The same values, with errors that name neither the path nor options of the command line."""
    try:
        yield from values
    except CodecError as error:
        detail = f"the codec {error.codec} is not decoded by this server"
        raise RefusedError(detail, "codec", "convert the video, for instance to H.264 in MP4") from error
    except DecodeError as error:
        raise _unreadable(path, error, limits) from error


def _check_length(num_frames: int, duration_s: float, limits: VideoLimits) -> None:
    if duration_s > limits.max_seconds:
        detail = f"the video lasts {duration_s:.4g} s, longer than {limits.max_seconds:g} s, the limit of this server"
        raise RefusedError(detail, "duration", f"send a part of at most {limits.max_seconds:g} s")
    if num_frames > limits.max_frames:
        detail = f"the video has {num_frames} frames, more than {limits.max_frames}, the limit of this server"
        raise RefusedError(detail, "frames", f"send a part of at most {limits.max_frames} frames")


def _pixels(found: str, limits: VideoLimits) -> RefusedError:
    detail = f"{found}: more than {limits.max_pixels} pixels, the limit of this server"
    return RefusedError(detail, "pixels", f"scale the video down to at most {limits.max_pixels} pixels a frame")


def _unreadable(path: str, error: DecodeError, limits: VideoLimits) -> RefusedError:
    text = str(error).removeprefix(f"{path}: ").replace(path, "the file").partition("; if you trust it")[0]
    if "TIMESFORMER_MAX_PIXELS" in str(error):
        return _pixels(text.partition(" have more")[0], limits)
    if "TIMESFORMER_MAX_FRAMES" in str(error):
        return RefusedError(text, "frames", f"send a part of at most {limits.max_frames} frames")
    if TOO_LITTLE_MEMORY in text:
        return RefusedError(text, "memory", "scale the video down or send a shorter part")
    return RefusedError(text, "unreadable", "send a video that plays in a media player, such as H.264 in MP4")
