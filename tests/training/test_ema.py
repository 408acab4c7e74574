"""The average of the weights against a recurrence written by hand, and what a run does with it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from timesformer.config.run import OptimConfig, RunConfig
from timesformer.training.ema import ema_copy, ema_decay_at, update_ema
from timesformer.training.lightning_module import ClipClassifier
from timesformer.training.train import train
from timesformer.weights.load import load
from tiny import random_model, tiny_config
from training_runs import are_equal, quiet


def _weights(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def test_decay_rises_to_its_value():
    assert [ema_decay_at(step, decay=0.5) for step in (1, 2, 7, 8, 999)] == [2 / 11, 3 / 12, 8 / 17, 0.5, 0.5]


def test_average_follows_the_recurrence():
    models = [random_model(tiny_config(), seed=seed) for seed in range(4)]
    average = ema_copy(models[0])
    expected = _weights(models[0])
    for step, (model, decay) in enumerate(zip(models[1:], (2 / 11, 3 / 12, 0.3), strict=True), start=1):
        update_ema(average, model, step=step, decay=0.3)
        expected = {name: decay * expected[name] + (1 - decay) * w for name, w in _weights(model).items()}
    torch.testing.assert_close(_weights(average), expected)


def test_running_statistics_of_head_norm_are_averaged_like_the_weights():
    first, second = (random_model(tiny_config(head_norm="batch"), seed=seed) for seed in range(2))
    average = ema_copy(first)
    update_ema(average, second, step=1, decay=0.3)
    mean = 2 / 11 * first.head_norm.running_mean + 9 / 11 * second.head_norm.running_mean
    torch.testing.assert_close(average.head_norm.running_mean, mean)
    assert not torch.allclose(mean, first.head_norm.running_mean)


def test_average_is_a_separate_model_in_eval_mode_without_gradients():
    model = random_model(tiny_config()).train()
    average = ema_copy(model)
    assert not any(module.training for module in average.modules())
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert not {id(p) for p in model.parameters()} & {id(p) for p in average.parameters()}
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_run_keeps_and_validates_the_average_of_the_weights_after_each_step(
    run: RunConfig, monkeypatch: pytest.MonkeyPatch
):
    after_steps: list[dict[str, Tensor]] = []
    validated: list[float] = []
    step, validate = ClipClassifier.optimizer_step, ClipClassifier.on_validation_epoch_end

    def follow(self: ClipClassifier, *arguments: object, **options: object) -> None:
        if not after_steps:
            after_steps.append(_weights(self.model))
        step(self, *arguments, **options)
        after_steps.append(_weights(self.model))

    def look(self: ClipClassifier) -> None:
        validated.append(self._val.loss)
        validate(self)

    monkeypatch.setattr(ClipClassifier, "optimizer_step", follow)
    monkeypatch.setattr(ClipClassifier, "on_validation_epoch_end", look)
    optim = OptimConfig(lr=0.03, warmup_fraction=0.0, ema_decay=0.25)
    averaged = replace(run, epochs=1, batch_size=4, accumulate=2, keep="last", optim=optim)
    train(averaged, on_message=quiet)
    assert len(after_steps) == 1 + 3
    expected = after_steps[0]
    for weights, decay in zip(after_steps[1:], (2 / 11, 0.25, 0.25), strict=True):
        expected = {name: decay * expected[name] + (1 - decay) * weight for name, weight in weights.items()}
    torch.testing.assert_close(_weights(load(run.output)), expected)
    plain = replace(averaged, optim=replace(optim, ema_decay=0.0), output=str(Path(run.output).parent / "plain"))
    train(plain, on_message=quiet)
    assert are_equal(_weights(load(plain.output)), after_steps[-4:][-1])
    assert validated[0] != validated[1]
