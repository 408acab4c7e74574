"""`timesformer bench train`: equal gradients, and the numbers of each candidate."""

import dataclasses

import pytest
import torch

from timesformer.bench import train
from timesformer.bench.peak_memory import Peak
from timesformer.config.presets import PRESETS
from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError
from tiny import square_config


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(train, "config_of", _config)
    peaks = {train.OURS: 60, train.CHECKPOINTED: 20, train.BASELINE: 100, train.PLAIN: 80}
    monkeypatch.setattr(train, "peak_above", lambda target, candidate, **_: Peak(base=7, peak=7 + peaks[candidate]))


def _config(name: str) -> ModelConfig:
    return dataclasses.replace(PRESETS[name], head_norm="batch") if name == "tiny" else square_config(drop_path=0.3)


@pytest.mark.parametrize("preset", ["base", "tiny"])
def test_all_candidates_have_the_same_gradients(preset: str):
    pytest.importorskip("transformers")
    heard: list[tuple[int, int]] = []
    result = train.run(preset=preset, rounds=2, on_progress=lambda *counts: heard.append(counts)).to_dict()
    assert list(result["candidates"]) == ["ours", "ours, checkpointed", "transformers"]
    assert result["max_difference"]["ours, checkpointed"] == 0
    assert result["max_difference"]["transformers"] < 1e-4
    assert [candidate["fraction_of_transformers"] for candidate in result["candidates"].values()] == [0.6, 0.2, 1]
    assert heard[-1] == (12, 12)  # the matrix product counts, too
    assert result["settings"]["fraction_of_matmul"] > 0


def test_clips_and_precision_take_effect(monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    monkeypatch.setattr(train, "peak_above", lambda target, clips, **_: asked.append(clips) or Peak(1, 2))
    one, three = (train.run(preset="base", rounds=1, only=[train.CHECKPOINTED], clips=clips) for clips in (1, 3))
    assert asked == [1, 1, 3, 3]
    assert three.to_dict()["settings"]["gmac"] == 3 * one.to_dict()["settings"]["gmac"]
    half = train.run(preset="base", rounds=1, only=[train.CHECKPOINTED], precision="bf16").to_dict()
    assert half["settings"]["precision"] == "bf16"


def test_bf16_computes_in_bf16(monkeypatch: pytest.MonkeyPatch):
    exact = train._step(train.OURS, "base", device_dtype=train.DeviceAndDtype.of("cpu", "fp32"), clips=2).gradients()
    half = train._step(train.OURS, "base", device_dtype=train.DeviceAndDtype.of("cpu", "bf16"), clips=2).gradients()
    name = "blocks.0.mlp.fc1.weight"
    assert not exact[name].equal(half[name])
    torch.testing.assert_close(half[name], exact[name], rtol=0.1, atol=0.1 * float(exact[name].abs().max()))


def test_plain_layers_have_the_gradients_of_the_kernels_and_other_outputs_of_memory():
    result = train.run(preset="base", rounds=1, only=[train.PLAIN, train.SDPA])
    assert 0 < result.max_difference[train.PLAIN] < 1e-5
    assert "does not support attn_implementation='sdpa'" in result.unavailable[train.SDPA]


def test_more_clips_than_classes_have_labels():
    assert train.run(preset="base", rounds=1, only=[train.CHECKPOINTED], clips=8).settings["clips"] == 8


def test_only_the_requested_candidates_run():
    result = train.run(preset="base", rounds=1, only=["ours, checkpointed"]).to_dict()
    assert list(result["candidates"]) == ["ours", "ours, checkpointed"]


def test_prepared_work_is_a_step_that_changes_weights():
    work = train.prepare(candidate=train.CHECKPOINTED, preset="base")
    parameter = next(work.__self__.module.parameters())
    before = parameter.detach().clone()
    work()
    assert not before.equal(parameter)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"only": ["theirs"]}, r"only='theirs' is not one of 'ours', 'ours, checkpointed', 'transformers'"),
        ({"rounds": 0}, "rounds=0"),
        ({"clips": 0}, "clips=0"),
        ({"precision": "fp16"}, "precision='fp16' would need loss scaling"),
    ],
)
def test_unknown_candidates_counts_and_fp16_are_refused(changes: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=message):
        train.run(**{"preset": "base", "rounds": 1} | changes)
