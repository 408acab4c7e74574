"""Every training option has an effect: changing it changes the weights of the run."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from timesformer.config.run import AugmentConfig, DataConfig, OptimConfig, RunConfig
from timesformer.training.train import train
from training_runs import quiet, weights_of

KNOBS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("optim", {}, {"optimizer": "sgd"}),
    ("optim", {}, {"lr": 1e-4}),
    ("optim", {}, {"weight_decay": 0.0}),
    ("optim", {}, {"schedule": "steps"}),
    ("optim", {}, {"warmup_fraction": 0.7}),
    ("optim", {"schedule": "steps"}, {"milestones": (0.5,)}),
    ("optim", {}, {"label_smoothing": 0.3}),
    ("optim", {}, {"clip_grad_norm": 1e-2}),
    ("optim", {}, {"layer_decay": 0.5}),
    ("optim", {}, {"freeze": "blocks:1"}),
    ("data", {}, {"scale_range": (1.0, 1.0)}),
    ("data", {"scale_range": (1.5, 1.5)}, {"crop_jitter": 0.2}),
    ("data", {}, {"flip": False}),
    ("augment", {}, {"repeats": 5}),
    ("augment", {}, {"temporal_jitter": 0.9}),
    ("augment", {}, {"tempo": 3.0}),
    ("augment", {}, {"rotation": 20.0}),
    ("augment", {}, {"aspect": 1.5}),
    ("augment", {}, {"rand_augment": 2}),
    ("augment", {"rand_augment": 2}, {"rand_magnitude": 2.0}),
    ("augment", {"rand_augment": 2}, {"rand_operations": "photometric"}),
    ("augment", {}, {"color_jitter": 0.4}),
    ("augment", {}, {"hue_jitter": 0.2}),
    ("augment", {}, {"grayscale": 0.5}),
    ("augment", {}, {"erase": 0.5}),
    ("augment", {}, {"background_swap": 1.0}),
    ("augment", {}, {"mixup": 0.8}),
    ("augment", {}, {"cutmix": 1.0}),
    ("augment", {"mixup": 0.8}, {"mix_probability": 0.3}),
    ("", {}, {"batch_size": 4}),
    ("", {}, {"accumulate": 5}),
    ("", {}, {"precision": "bf16"}),
    ("", {}, {"seed": 3}),
]
"""Section, base values, and the option to change."""

ELSEWHERE = {
    "model": "tests/model/test_config_effects.py",
    "clip": "tests/data",
    "output": "every test",
    "epochs": "test_train.py",
    "device": "test_train.py",
    "strategy": "changes memory and the format of checkpoints: test_fsdp.py",
    "init_from": "test_init_weights.py",
    "init_scale": "test_init_weights.py",
    "init_head": "test_init_weights.py",
    "probe_views": "refused by train: tests/fine_tuning",
    "probe_inputs": "refused without probe_views: tests/fine_tuning",
    "distill_from": "test_distillation.py",
    "optim.distill_weight": "test_distillation.py",
    "optim.distill_temperature": "test_distillation.py",
    "optim.pretrained_lr": "test_optim.py",
    "keep": "test_train.py",
    "patience": "test_train.py",
    "checkpoint_every": "test_resume.py",
    "checkpoint_activations": "changes memory alone: test_lightning_module.py, test_memory.py",
    "trackers": "test_loggers.py",
    "optim.ema_decay": "changes what is kept, not the weights that are trained: test_ema.py",
    "data.train": "test_dataloaders.py",
    "data.val": "test_dataloaders.py",
    "data.val_fraction": "test_dataloaders.py",
    "data.num_folds": "tests/data/test_folds.py",
    "data.fold": "tests/data/test_folds.py",
    "data.val_from": "tests/data/test_folds.py",
    "data.train_fraction": "tests/data/test_folds.py",
    "data.background": "test_segments.py",
    "data.on_decode_error": "test_train.py",
    "data.allow_codecs": "changes no weight: test_dataloaders.py",
    "data.num_workers": "changes no weight: test_resume.py",
    "data.cache": "changes no weight: test_resume.py",
}
"""Tests of the other options."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[RunConfig], dict[str, Tensor]]:
    """The weights after one epoch of a run; equal runs are trained once."""
    known: dict[RunConfig, dict[str, Tensor]] = {}

    def weights(run: RunConfig) -> dict[str, Tensor]:
        if run not in known:
            output = tmp_path_factory.mktemp("effects") / "run"
            train(replace(run, epochs=1, output=str(output)), on_message=quiet)
            known[run] = weights_of(output)
        return known[run]

    return weights


def _turn(run: RunConfig, section: str, values: dict[str, Any]) -> RunConfig:
    return replace(run, **{section: replace(getattr(run, section), **values)}) if section else replace(run, **values)


@pytest.mark.parametrize(("section", "base", "turned"), KNOBS, ids=[next(iter(knob[2])) for knob in KNOBS])
def test_option_changes_the_weights(
    trained: Callable[[RunConfig], dict[str, Tensor]],
    finished: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
    section: str,
    base: dict[str, Any],
    turned: dict[str, Any],
):
    monkeypatch.setattr("timesformer.training.callbacks.draw_curve", lambda history, path: path.touch())
    run = _turn(finished, section, base)
    plain, other = trained(run), trained(_turn(run, section, turned))
    assert any(not torch.equal(plain[name], other[name]) for name in plain)


@pytest.mark.parametrize(
    "turned",
    [{"channel_order": "time"}, {"background": "remove"}, {"background": "difference"}, {"region": "motion"}],
    ids=str,
)
def test_clip_options_change_the_weights(
    trained: Callable[[RunConfig], dict[str, Tensor]],
    finished: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
    turned: dict[str, Any],
):
    monkeypatch.setattr("timesformer.training.callbacks.draw_curve", lambda history, path: path.touch())
    plain, other = trained(finished), trained(_turn(finished, "clip", turned))
    assert any(not torch.equal(plain[name], other[name]) for name in plain)


def test_every_option_is_tested_here_or_elsewhere():
    sections = {"optim": OptimConfig, "data": DataConfig, "augment": AugmentConfig}
    names = {field.name for field in fields(RunConfig)} - sections.keys()
    names |= {f"{section}.{field.name}" for section, kind in sections.items() for field in fields(kind)}
    here = {f"{section}.{name}".lstrip(".") for section, _, turned in KNOBS for name in turned}
    assert here | ELSEWHERE.keys() == names
    assert not here & ELSEWHERE.keys()
