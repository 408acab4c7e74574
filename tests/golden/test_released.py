"""The released schemes against stored values: logits, features, loss and gradients (see README.md)."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from timesformer.model import TimeSformer
from timesformer.weights.layouts import layout_for
from timesformer.weights.load import load
from tiny import RELEASED_SCHEMES

OFFICIAL = Path(__file__).parent / "official"
TOLERANCE = {"rtol": 0, "atol": 1e-5}  # fp32; the order of sums differs
CLIPS = [
    *[("divided_space_time", i) for i in range(4)],
    *[("joint_space_time", i) for i in range(4)],
    *[("space_only", i) for i in range(3)],
]


@functools.cache
def released(scheme: str) -> TimeSformer:
    return load(OFFICIAL / scheme / "checkpoint.pyth", num_heads=4, position_interpolation="nearest")


@functools.cache
def golden(scheme: str) -> dict[str, torch.Tensor]:
    with np.load(OFFICIAL / scheme / "golden.npz") as stored:
        return {name: torch.from_numpy(np.asarray(stored[name])) for name in stored.files}


@pytest.mark.parametrize(("scheme", "clip"), CLIPS)
def test_features_and_logits_are_the_released_ones_at_every_size(scheme: str, clip: int):
    want = golden(scheme)
    with torch.no_grad():
        features = released(scheme).features(want[f"video_{clip}"])
        logits = released(scheme)(want[f"video_{clip}"])
    torch.testing.assert_close(features, want[f"features_{clip}"], **TOLERANCE)
    torch.testing.assert_close(logits, want[f"logits_{clip}"], **TOLERANCE)


@pytest.mark.parametrize("scheme", RELEASED_SCHEMES)
def test_every_stored_clip_is_compared(scheme: str):
    stored = {name for name in golden(scheme) if name.startswith("video_")}
    assert stored == {f"video_{clip}" for name, clip in CLIPS if name == scheme}


@pytest.mark.parametrize("scheme", RELEASED_SCHEMES)
def test_loss_and_every_gradient_norm_are_the_released_ones(scheme: str):
    model, want = released(scheme), golden(scheme)
    model.zero_grad()
    loss = F.cross_entropy(model(want["video_0"]), want["labels_0"])
    loss.backward()
    names = layout_for("released", scheme).rename_all(name for name, _ in model.named_parameters())
    norms = {f"gradnorm_0/{names[name]}": p.grad.double().norm() for name, p in model.named_parameters()}
    torch.testing.assert_close(loss.double(), want["loss_0"], **TOLERANCE)
    torch.testing.assert_close(norms, {name: want[name] for name in want if name.startswith("gradnorm")}, **TOLERANCE)


@pytest.mark.parametrize("scheme", RELEASED_SCHEMES)
def test_config_read_from_shapes_is_the_stored_one(scheme: str):
    stored = json.loads((OFFICIAL / scheme / "config.json").read_text("utf-8"))
    config = released(scheme).config
    assert config.scheme == stored["attention_type"]
    assert config.image_size == (stored["img_size"], stored["img_size"])
    assert config.norm_eps == stored["layer_norm_eps"]
    for name in ("patch_size", "embed_dim", "depth", "num_heads", "num_frames", "num_classes", "qkv_bias"):
        assert getattr(config, name) == stored[name], name


@pytest.mark.parametrize("scheme", RELEASED_SCHEMES)
def test_every_tensor_of_the_checkpoint_is_loaded_as_it_is(scheme: str):
    report = released(scheme).load_report
    assert sorted(report.loaded) == sorted(released(scheme).state_dict())
    assert not (report.resized or report.copied or report.newly_initialized or report.dropped)
