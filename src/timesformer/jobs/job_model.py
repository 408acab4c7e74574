"""The model of a job: where its workers find it, and what of it decides the rows besides its weights."""

import os
from typing import Any

from timesformer.config.compute import ComputeOptions
from timesformer.config.io import to_dict
from timesformer.errors import ConfigError
from timesformer.inference.onnx_model import Classifier


def model_source(model: str) -> str:
    """A model as workers find it, whose working folder may be another: an absolute path, or a name as it is."""
    path = os.path.expanduser(model)
    return os.path.abspath(path) if os.path.exists(path) else model


def refuse_other_model(model: str, *, sha256: str, expected: str) -> None:
    """Refuse a model that is not that of the job any more.

    Raises:
        ConfigError: The hash of its weights differs.
    """
    if sha256 != expected:
        raise ConfigError(f"{model}: the model has changed since the job was started")


def model_settings(model: Classifier, options: ComputeOptions) -> dict[str, Any]:
    """What decides the rows besides the weights; what changes them by rounding only may differ at a restart."""
    return {
        "model": to_dict(model.config),
        "clip": to_dict(model.info.clip),
        "labels": [model.info.label(index) for index in range(model.config.num_classes)],
        "precision": options.precision,
        "allow_codecs": sorted(options.allow_codecs),
    }
