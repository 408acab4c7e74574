"""The model card of a server as JSON."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from timesformer.config.io import to_dict
from timesformer.explanation.explanation import Method
from timesformer.inference.onnx_model import Classifier, OnnxModel
from timesformer.inference.weights_hash import weights_sha256
from timesformer.serve.limits import ServeLimits
from timesformer.training.history import best_epoch, read_metrics


def model_card(model: Classifier, *, name: str, metrics: Mapping[str, float], limits: ServeLimits) -> dict[str, Any]:
    """What clients may know of a model and of the limits of its server.

    Args:
        model: The model.
        name: Its name.
        metrics: Its accuracies.
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
        "clip_seconds": info.clip_seconds,
        "explain_methods": [] if isinstance(model, OnnxModel) else list(get_args(Method)),
        "license": info.license,
        "source": info.source,
        "weights_sha256": weights_sha256(model),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "metrics": dict(metrics),
        "limits": asdict(limits),
    }


def model_name(source: str) -> str:
    """Name of a model for clients: the last part of its path, or its hub id or preset."""
    path = Path(source).expanduser()
    return path.resolve().name if path.exists() else source


def run_metrics(source: str) -> dict[str, float]:
    """Accuracies of the best epoch of a run folder, from 0 to 1; empty for anything else."""
    path = Path(source).expanduser() / "metrics.csv"
    if not path.is_file():
        return {}
    history = read_metrics(path)
    if not history:
        return {}
    best = best_epoch(history)
    return {"val_accuracy": best.val_accuracy, "val_top5_accuracy": best.val_top5_accuracy}
