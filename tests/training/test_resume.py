"""The same run gives the same weights, bit for bit, wherever it was cut off."""

import logging
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from timesformer.config.run import OptimConfig, RunConfig
from timesformer.training.fit import is_finished, train
from timesformer.training.history import read_metrics
from timesformer.training.module import _step_seed
from training_runs import Stopped, are_equal, quiet, raise_at, weights_of


def test_same_run_gives_the_same_weights_whatever_was_drawn_before(finished: RunConfig, tmp_path: Path):
    torch.rand(5)
    again = replace(finished, output=str(tmp_path / "again"))
    train(again, on_message=quiet)
    assert are_equal(weights_of(again.output), weights_of(finished.output))


def test_other_seed_gives_other_weights(finished: RunConfig, tmp_path: Path):
    other = replace(finished, seed=1, output=str(tmp_path / "other"))
    train(other, on_message=quiet)
    assert not are_equal(weights_of(other.output), weights_of(finished.output))


def test_workers_and_cache_change_no_weight(finished: RunConfig, tmp_path: Path):
    data = replace(finished.data, num_workers=1, cache=True)
    other = replace(finished, data=data, output=str(tmp_path / "other"))
    train(other, on_message=quiet)
    assert are_equal(weights_of(other.output), weights_of(finished.output))


def test_caller_keeps_random_state_log_levels_and_interrupt_handler(run: RunConfig):
    state, handler = torch.get_rng_state(), signal.getsignal(signal.SIGINT)
    levels = [logging.getLogger(name).level for name in ("lightning.pytorch", "lightning.fabric")]
    train(replace(run, epochs=1), on_message=quiet)
    torch.testing.assert_close(torch.get_rng_state(), state)
    assert signal.getsignal(signal.SIGINT) is handler
    assert [logging.getLogger(name).level for name in ("lightning.pytorch", "lightning.fabric")] == levels


@pytest.mark.parametrize(
    "optim",
    [OptimConfig(lr=3e-3, warmup_fraction=0.2), OptimConfig(optimizer="sgd", lr=0.1, schedule="steps")],
    ids=["adamw", "sgd"],
)
def test_resumed_run_has_the_weights_of_an_uninterrupted_one(run: RunConfig, tmp_path: Path, optim: OptimConfig):
    whole = replace(run, optim=optim)
    train(whole, on_message=quiet)
    parts = replace(whole, output=str(tmp_path / "parts"))
    with pytest.raises(Stopped):
        train(parts, on_message=raise_at("epoch 2", Stopped()))
    train(parts, resume=True, on_message=quiet)
    assert are_equal(weights_of(parts.output), weights_of(whole.output))
    assert are_equal(weights_of(parts.output, "best"), weights_of(whole.output, "best"))
    measures = [
        [replace(record, seconds=0.0) for record in read_metrics(Path(each.output) / "metrics.csv")]
        for each in (parts, whole)
    ]
    assert measures[0] == measures[1]


def test_epoch_that_was_cut_off_is_done_again(finished: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    parts = replace(finished, output=str(tmp_path / "parts"))
    with monkeypatch.context() as patch:
        patch.setattr("timesformer.training.module._step_seed", _seed_until(step=4))
        with pytest.raises(Stopped):
            train(parts, on_message=quiet)
    assert len(read_metrics(Path(parts.output) / "metrics.csv")) == 1
    train(parts, resume=True, on_message=quiet)
    assert are_equal(weights_of(parts.output), weights_of(finished.output))


def _seed_until(step: int) -> Callable[[int, int], int]:
    def seed_or_stop(seed: int, now: int) -> int:
        if now == step:
            raise Stopped
        return _step_seed(seed, now)

    return seed_or_stop


def test_run_that_finished_no_epoch_starts_anew(finished: RunConfig, tmp_path: Path):
    parts = replace(finished, output=str(tmp_path / "parts"))
    with pytest.raises(Stopped):
        train(parts, on_message=raise_at("training", Stopped()))
    train(parts, resume=True, on_message=quiet)
    assert are_equal(weights_of(parts.output), weights_of(finished.output))


def test_resuming_a_finished_run_changes_nothing(finished: RunConfig):
    before = weights_of(finished.output)
    lines: list[str] = []
    train(finished, resume=True, on_message=lines.append)
    assert are_equal(weights_of(finished.output), before)
    assert [line.split(":")[0] for line in lines] == ["going on after epoch 3", "best validation accuracy"]


def test_run_is_finished_with_its_last_epoch_and_only_for_its_own_config(run: RunConfig):
    assert not is_finished(run)
    with pytest.raises(Stopped):
        train(run, on_message=raise_at("epoch 2", Stopped()))
    assert not is_finished(run)
    train(run, resume=True, on_message=quiet)
    assert is_finished(run)
    assert is_finished(replace(run, device="auto"))
    assert not is_finished(replace(run, seed=1))
