"""Classify videos with an ONNX file that `timesformer export --runner` wrote, as `timesformer predict` does.

    python run_NAME.py clip.mp4 more.mkv --top-k 3
    python run_NAME.py clip.mp4 --json

Needs numpy, av (PyAV, 18 or later) and onnxruntime, nothing else. The model is NAME.onnx and its preprocessing
NAME.json, both in the folder of this script. An unreadable video is one line on stderr, and the exit status is then 1.

Which frames are read, how they are turned, resized and cropped, and how several views become one answer, is the code of
the package timesformer, copied below. A video with a variable frame rate is sampled by its timestamps. Codecs besides
the common ones are decoded only if `--allow-codec` names them.
"""

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Int16, Int64, UInt8

from timesformer.data.clips.difference import color_difference
from timesformer.data.clips.region import moving_region
from timesformer.data.clips.sampling import eval_boxes, eval_clips
from timesformer.data.video.file_reader import VideoInfo, VideoReader
from timesformer.errors import TimeSformerError, WeightsError

MODEL = ""
"""Name of the ONNX file, next to this script; set when the script is written."""
FORMAT = "timesformer.preprocessing/1"
_MAX_PRECISION = 22
_FRAMES_PER_READ = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The sidecar of a model."""

    sampling: str
    num_frames: int
    frame_stride: int
    target_fps: float
    num_clips: int
    num_crops: int
    test_scale: float
    frames_per_channel_group: int
    min_region: float | None
    """Smallest region of motion; None crops the whole frame."""
    image_size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channel_order: str
    background: str
    fusion: str
    labels: tuple[str, ...]
    sha256: str

    @classmethod
    def of(cls, content: dict[str, Any]) -> "Settings":
        """The settings in the JSON of a sidecar."""
        sampling, crop, normalization = content["sampling"], content["crop"], content["normalization"]
        height, width = content["image_size"]
        return cls(
            sampling=sampling["mode"],
            num_frames=content["num_frames"],
            frame_stride=sampling["frame_stride"],
            target_fps=sampling["target_fps"],
            num_clips=sampling["num_clips"],
            num_crops=crop["num_crops"],
            test_scale=content["resize"]["scale"],
            frames_per_channel_group=sampling["num_frames"] // content["num_frames"],
            min_region=content.get("region", {}).get("min_region"),
            image_size=(height, width),
            mean=tuple(normalization["mean"]),
            std=tuple(normalization["std"]),
            channel_order=normalization["channel_order"],
            background=normalization["background"],
            fusion=content["fusion"],
            labels=tuple(content["labels"]),
            sha256=content["model"]["sha256"],
        )


@dataclass(frozen=True, slots=True)
class Model:
    """An ONNX Runtime session, and how a video becomes its input."""

    session: Any
    settings: Settings

    def predict(self, path: str, *, top_k: int, batch_size: int, allow_codecs: Sequence[str]) -> dict[str, Any]:
        """The most probable classes of a video, as `timesformer predict --json` prints them."""
        pixels, info = read_views(path, self.settings, allow_codecs=allow_codecs)
        clips = normalize(pixels, self.settings)
        batches = [clips[first : first + batch_size] for first in range(0, len(clips), batch_size)]
        logits = np.concatenate([self.session.run(None, {"clips": batch})[0] for batch in batches])
        if not np.isfinite(logits).all():
            raise TimeSformerError(f"{path}: the model outputs nan or inf: its weights are broken")
        probabilities = fuse(logits, self.settings.fusion)
        top = np.argsort(-probabilities, kind="stable")[:top_k]
        return {
            "path": path,
            "labels": [self.settings.labels[index] for index in top],
            "indices": top.tolist(),
            "probabilities": probabilities[top].tolist(),
            "num_classes": len(probabilities),
            "num_views": len(clips),
            "num_frames": info.num_frames,
            "fps": info.fps,
            "duration_s": info.duration_s,
            "timing": info.timing,
        }


def open_model(path: Path, *, threads: int) -> Model:
    """Open an ONNX file with its sidecar.

    Raises:
        WeightsError: One is missing or damaged, or they do not belong together.
    """
    sidecar = path.with_suffix(".json")
    try:
        content = path.read_bytes()
        settings = Settings.of(_checked(json.loads(sidecar.read_text("utf-8"))))
    except OSError as error:
        raise WeightsError(f"{error.filename}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{sidecar}: is not a sidecar of format {FORMAT} ({error})") from error
    if hashlib.sha256(content).hexdigest() != settings.sha256:
        raise WeightsError(f"{path}: is not the file that {sidecar.name} describes: its SHA-256 is another")
    return Model(_session(content, path, threads=threads), settings)


def _checked(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError("no or another `format`")
    return content


def _session(content: bytes, path: Path, *, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise WeightsError("onnxruntime is not installed: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no other base class
        raise WeightsError(f"{path}: ONNX Runtime cannot load it: {str(error).splitlines()[0][:200]}") from error


def read_views(
    path: str, settings: Settings, *, allow_codecs: Sequence[str]
) -> tuple[UInt8[np.ndarray, "views 3 t s1 s2"], VideoInfo]:
    """The views of a video: all crops of the first clip, then all of the second, and so on."""
    with VideoReader(path, allow_codecs=allow_codecs) as reader:
        clips = eval_clips(reader.info, cast(Any, settings), num_frames=settings.num_frames)
        step = max(1, _FRAMES_PER_READ // len(clips[0]))
        views = []
        for first in range(0, len(clips), step):
            group = clips[first : first + step]
            frames = reader.read([index for clip in group for index in clip])
            for clip in np.split(frames, len(group)):
                views += crops(clip, settings)
        return np.stack(views), reader.info


def crops(frames: UInt8[np.ndarray, "t h w 3"], settings: Settings) -> Iterator[UInt8[np.ndarray, "3 t2 s1 s2"]]:
    """The crops of a clip, channels first."""
    if settings.min_region is not None:
        top, left, rows, columns = moving_region(frames, crop=settings.image_size, least=settings.min_region)
        frames = frames[:, top : top + rows, left : left + columns]
    _, height, width, _ = frames.shape
    if settings.background == "difference":
        frames = np.repeat(color_difference(frames)[..., None], 3, axis=-1)
    if settings.channel_order == "time":  # every three frames become one, whose channels are their brightness
        red, green, blue = (frames[..., channel].astype(np.int32) for channel in range(3))
        luma = ((77 * red + 150 * green + 29 * blue + 128) >> 8).astype(np.uint8)
        frames = luma.reshape(-1, 3, height, width).transpose(0, 2, 3, 1)
    size, boxes = eval_boxes(height, width, cast(Any, settings), crop=settings.image_size)
    resized = resize(frames, size)
    for top, left, rows, columns in boxes:
        view = resized[:, top : top + rows, left : left + columns].transpose(3, 0, 1, 2)
        yield view[::-1] if settings.channel_order == "bgr" else view


def resize(frames: UInt8[np.ndarray, "t h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "t h2 w2 3"]:
    """Resize frames: bilinear with antialiasing on 8-bit pixels, equal to torch's bit by bit."""
    height, width = size
    return _resize_axis(_resize_axis(frames, width, axis=2), height, axis=1)


def _resize_axis(frames: UInt8[np.ndarray, "t h w 3"], new: int, *, axis: int) -> UInt8[np.ndarray, "t h2 w2 3"]:
    old = frames.shape[axis]
    if old == new:
        return frames
    first, weights, precision = resize_weights(old, new)
    pixels = np.moveaxis(frames, axis, 0)
    total = np.full((new, *pixels.shape[1:]), 1 << (precision - 1), dtype=np.int32)
    for tap in range(weights.shape[1]):
        factor = weights[:, tap].astype(np.int32).reshape(-1, 1, 1, 1)
        total += factor * pixels[np.minimum(first + tap, old - 1)]
    return np.moveaxis(np.clip(total >> precision, 0, 255).astype(np.uint8), 0, axis)


def resize_weights(old: int, new: int) -> tuple[Int64[np.ndarray, " n"], Int16[np.ndarray, "n taps"], int]:
    """First pixel and weights of each new pixel, and the bits after the point of the weights.

    A triangle as wide as a new pixel is, at least one old one to each side. Weights are whole numbers, because pixels
    are.
    """
    scale = old / new
    support = max(scale, 1.0)
    center = scale * (np.arange(new) + 0.5)
    first = np.maximum((center - support + 0.5).astype(np.int64), 0)
    count = np.minimum((center + support + 0.5).astype(np.int64), old) - first
    taps = np.arange(2 * math.ceil(support) + 1)
    weights = np.maximum(1 - np.abs((taps + first[:, None] - center[:, None] + 0.5) / support), 0)
    weights *= taps < count[:, None]
    weights /= weights.sum(axis=1, keepdims=True)
    largest, precision = weights.max(), 0
    while precision < _MAX_PRECISION and int(0.5 + largest * (1 << (precision + 1))) < 1 << 15:
        precision += 1
    return first, (weights * (1 << precision) + 0.5).astype(np.int16), precision


def normalize(views: UInt8[np.ndarray, "views 3 t s1 s2"], settings: Settings) -> Float[np.ndarray, "views 3 t s1 s2"]:
    """Model input: (value / 255 - mean) / std per channel."""
    values = views.astype(np.float32)
    if settings.background == "remove":
        axes = (1, 2) if settings.channel_order == "time" else (2,)
        values += np.float32(127.5) - values.mean(axis=axes, keepdims=True)
    mean, std = (np.array(each, dtype=np.float32).reshape(3, 1, 1, 1) for each in (settings.mean, settings.std))
    return np.ascontiguousarray((values / np.float32(255) - mean) / std)


def fuse(logits: Float[np.ndarray, "views k"], fusion: str) -> Float[np.ndarray, " k"]:
    """Probabilities of a video's classes from the logits of its views."""
    if fusion == "logits":
        return _softmax(logits.mean(axis=0))
    return _softmax(logits).mean(axis=0)


def _softmax(logits: Float[np.ndarray, "*views k"]) -> Float[np.ndarray, "*views k"]:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    given = _parser().parse_args(arguments)
    try:
        model = open_model(Path(given.model), threads=given.threads)
    except TimeSformerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failures = 0
    for path in given.videos:
        try:
            found = model.predict(
                path, top_k=given.top_k, batch_size=given.batch_size, allow_codecs=tuple(given.allow_codec)
            )
        except TimeSformerError as error:
            failures += 1
            print(f"error: {error}", file=sys.stderr)
            found = {"path": path, "error": str(error)}
        _show(found, model.settings, as_json=given.json)
    if failures:
        print(f"{failures} of {len(given.videos)} videos could not be read", file=sys.stderr)
    return 1 if failures else 0


def _show(found: dict[str, Any], settings: Settings, *, as_json: bool) -> None:
    if found.get("timing") and settings.sampling not in ("segment", "uniform"):
        print(f"warning: {found['path']}: {found['timing']}", file=sys.stderr)
    if as_json:
        print(json.dumps(found), flush=True)
    elif "error" not in found:
        print(found["path"])
        for label, probability in zip(found["labels"], found["probabilities"], strict=True):
            print(f"  {probability:6.1%}  {label}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=f"Classify videos with {MODEL}.")
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="video files, or videos in tar files")
    default = Path(__file__).resolve().parent / MODEL
    parser.add_argument("--model", default=default, help=f"ONNX file next to its JSON (default: {MODEL})")
    parser.add_argument("--top-k", type=_count, default=5, metavar="K", help="classes to show (default: 5)")
    parser.add_argument("--batch-size", type=_count, default=8, metavar="N", help="views at a time (default: 8)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="0 is one for each core (default: 0)")
    parser.add_argument("--allow-codec", action="append", default=[], metavar="NAME", help="another codec to decode")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each video")
    return parser


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
