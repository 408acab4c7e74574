"""The model card of a server as JSON."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from timesformer.config.io import to_dict
from timesformer.inference.onnx_model import Classifier
from timesformer.inference.weights_hash import weights_sha256
from timesformer.serve.limits import ServeLimits


def model_card(model: Classifier, *, name: str, limits: ServeLimits) -> dict[str, Any]:
    """What clients may know of a model and of the limits of its server.

    Args:
        model: The model.
        name: Its name.
        limits: The limits.
    """
    config, info = model.config, model.info
    clip = to_dict(info.clip)
    return {
        "name": name,
        "scheme": config.scheme_text,
        "labels": [info.label(index) for index in range(config.num_classes)],
        "num_classes": config.num_classes,
        "num_frames": config.num_frames,
        "frame_stride": info.clip.frame_stride,
        "image_size": list(config.image_size),
        "sampling": info.clip.sampling,
        "clip": clip,
        "license": info.license,
        "source": info.source,
        "weights_sha256": weights_sha256(model),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "metrics": {},
        "limits": asdict(limits),
    }


def model_name(source: str) -> str:
    """Name of a model for clients: the last part of its path, or its hub id or preset."""
    path = Path(source).expanduser()
    return path.resolve().name if path.exists() else source
