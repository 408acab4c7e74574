"""The hash of a model's weights."""

import hashlib
from pathlib import Path

import torch

from timesformer.inference.onnx_model import Classifier, OnnxModel


def weights_sha256(model: Classifier) -> str:
    """Hash of a model's weights by name, type, shape and value, in whatever file they are; of an ONNX file its own."""
    if isinstance(model, OnnxModel):
        return hashlib.sha256(Path(model.path).read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
