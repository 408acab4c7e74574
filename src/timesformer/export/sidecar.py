"""The sidecar of an exported file: all that another program needs to classify videos with it, as JSON.

The file lies next to the export: `mine.json` for `mine.onnx`. `SIDECAR_FORMAT` changes if a key changes its meaning.
Numbers follow `ClipConfig` and `timesformer.data.clips.sampling`; `docs/guides/export.md` states the rules in words.
"""

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from timesformer._version import __version__
from timesformer.config.info import ModelInfo
from timesformer.config.io import to_dict
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.video.timing import MAX_FPS, MIN_FPS

SIDECAR_FORMAT = "timesformer.preprocessing/1"

_DENSE = {
    "span": "L = max(1, num_frames of the input * frame_stride * fps / target_fps); fps = target_fps if implausible",
    "frames": "floor(start + i * (L - 1) / (T - 1) + 1e-9)",
    "short_videos": "frames past the end are the last frame, n - 1",
}
_SPREAD = {"short_videos": "frames repeat"}
_RULES = {
    "dense": {"placement": "clip i of num_clips starts at max(n - L, 0) * i / num_clips", **_DENSE},
    "center": {"placement": "one clip, which starts at max(n - L, 0) / 2", **_DENSE},
    "coverage": {"placement": "clips start at 0, L, 2 L and so on, while the start is at most n - 1", **_DENSE},
    "segment": {
        "placement": "frame a + (b - a) * (2 j + 1) // (2 num_clips) of clip j, with a = round(s * i), "
        "b = round(s * (i + 1)) and s = (n - 1) / T; round takes ties to even",
        **_SPREAD,
    },
    "uniform": {
        "placement": "frame round((num_clips * i + j) * (n - 1) / (num_clips * T - 1)) of clip j, halves up; "
        "frame (n - 1) // 2 if T and num_clips are 1",
        **_SPREAD,
    },
}
"""Frame i of a clip, for a video of n frames and `num_frames`, T, of them to read; L is the span of a dense clip."""

_REGIONS = {
    "frame": "the whole frame",
    "motion": "the rectangle in which something moves, with the aspect ratio of the crop, takes the place of the "
    "frame: `moving_region` in the script that `timesformer export --runner` writes",
}


def sidecar_path(path: Path) -> Path:
    """The sidecar of an exported file: `mine.json` for `mine.onnx`, `mine.pt2.json` for `mine.pt2`."""
    return path.with_suffix(".json") if path.suffix.lower() == ".onnx" else path.with_name(f"{path.name}.json")


def sidecar(
    config: ModelConfig, info: ModelInfo, *, file: str, content: bytes, export: Mapping[str, Any], weights_sha256: str
) -> dict[str, Any]:
    """The sidecar of an exported model.

    Args:
        config: Architecture of the model.
        info: Its preprocessing, labels, license and source.
        file: Name of the exported file.
        content: Its bytes.
        export: Properties of the export, added to `model`: `kind`, `precision`, `dynamic_frames` and `least_frames`.
        weights_sha256: Hash of the weights that were exported, as `timesformer.inference.weights_hash` computes it.
    """
    frames = "frames" if export["dynamic_frames"] else config.num_frames
    return {
        "format": SIDECAR_FORMAT,
        "model": {
            "file": file,
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            **export,
            "weights_sha256": weights_sha256,
            "config": to_dict(config),
        },
        "license": info.license,
        "source": info.source,
        "versions": versions(),
        "input": {
            "name": "clips",
            "dtype": "float32",
            "axes": ["batch", "channels", "frames", "height", "width"],
            "shape": ["batch", config.in_channels, frames, *config.image_size],
        },
        "output": {"name": "logits", "dtype": "float32", "shape": ["batch", config.num_classes]},
        "labels": [info.label(index) for index in range(config.num_classes)],
        "num_frames": config.num_frames,
        "image_size": list(config.image_size),
        **_preprocessing(config, info.clip),
        "fusion": info.clip.fusion,
    }


def embedded(content: Mapping[str, Any]) -> dict[str, Any]:
    """A sidecar for inside the exported file, which cannot hold its own hash."""
    model = {key: value for key, value in content["model"].items() if key not in ("file", "sha256", "bytes")}
    return {**content, "model": model}


def _preprocessing(config: ModelConfig, clip: ClipConfig) -> dict[str, Any]:
    """The rules from frames of a video to model input, in the order in which they apply."""
    height, width = config.image_size
    scale = clip.test_scale if clip.num_crops == 1 else 1.0
    return {
        "sampling": {
            "mode": clip.sampling,
            "num_frames": config.num_frames * clip.frames_per_channel_group,
            "frame_stride": clip.frame_stride,
            "target_fps": clip.target_fps,
            "plausible_fps": [MIN_FPS / 1.01, MAX_FPS * 1.01],
            "num_clips": clip.num_clips,
            **_RULES[clip.sampling],
        },
        "region": {
            "mode": clip.region,
            "rule": _REGIONS[clip.region],
            **({"min_region": clip.min_region} if clip.region == "motion" else {}),
        },
        "resize": {
            "rule": "the smallest frame that covers the crop, times scale, with the aspect ratio of the video",
            "scale": scale,
            "short_side": round(scale * height) if height == width else None,
            "long_side": "rounded down",
            "interpolation": "bilinear",
            "antialias": True,
            "dtype": "uint8",
        },
        "crop": {
            "size": [height, width],
            "num_crops": clip.num_crops,
            "position": "center; offset ceil(room / 2)" if clip.num_crops == 1 else "ends and center of the long side",
        },
        "normalization": {
            "range": [0, 1],
            "mean": list(clip.mean),
            "std": list(clip.std),
            "channel_order": clip.channel_order,
            "background": clip.background,
        },
    }


def versions() -> dict[str, str]:
    """Versions of the packages that write and run exports."""
    found = {"timesformer": __version__}
    for name in ("torch", "onnx", "onnxscript", "onnxruntime"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def to_text(content: Mapping[str, Any]) -> str:
    """The sidecar as text."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
