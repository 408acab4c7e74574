"""The same run gives the same weights, bit for bit, wherever it is interrupted."""

import logging
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from timesformer.config.io import read_config
from timesformer.config.run import AugmentConfig, OptimConfig, RunConfig
from timesformer.data.manifest.manifest import load_split
from timesformer.data.manifest.shard_writer import write_shards
from timesformer.errors import ConfigError
from timesformer.model.timesformer import TimeSformer
from timesformer.training.history import EpochRecord, read_metrics
from timesformer.training.lightning_module import ClipClassifier
from timesformer.training.resume import DataSize, read_resume_state
from timesformer.training.train import is_finished, train
from timesformer.weights.load import load
from timesformer.weights.model_folder import save
from training_runs import Stopped, are_equal, content_of, quiet, raise_at, weights_of


@pytest.fixture(autouse=True)
def _plain_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip drawing the curve, which takes longer than a tiny run and is tested elsewhere."""
    monkeypatch.setattr("timesformer.training.callbacks.draw_curve", lambda history, path: path.touch())


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
    interrupted = replace(whole, output=str(tmp_path / "interrupted"))
    with pytest.raises(Stopped):
        train(interrupted, on_message=raise_at("epoch 2", Stopped()))
    train(interrupted, resume=True, on_message=quiet)
    assert are_equal(weights_of(interrupted.output), weights_of(whole.output))
    assert are_equal(weights_of(interrupted.output, "best"), weights_of(whole.output, "best"))
    assert _measures(interrupted) == _measures(whole)


def test_resumed_run_with_the_settings_for_few_videos_has_the_weights_of_an_uninterrupted_one(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    save(TimeSformer(replace(run.model, scheme="space_only", num_classes=7)), tmp_path / "image")
    whole = replace(
        run,
        init_from=str(tmp_path / "image"),
        init_scale=3.0,
        model=replace(run.model, head_norm="batch"),
        clip=replace(run.clip, channel_order="time", background="remove"),
        data=replace(run.data, crop_jitter=0.3),
        optim=replace(run.optim, freeze="blocks:1", layer_decay=0.8, pretrained_lr=0.5, ema_decay=0.9),
        checkpoint_every=1,
    )
    train(whole, on_message=quiet)
    interrupted = replace(whole, output=str(tmp_path / "interrupted"))
    _train_until(5, interrupted, monkeypatch)
    train(interrupted, resume=True, on_message=quiet)
    assert content_of(interrupted.output) == content_of(whole.output)
    model = load(whole.output)
    assert model.head_norm.running_mean.any()
    assert model.info.clip == whole.clip


def test_resumed_run_on_shards_has_the_weights_of_an_uninterrupted_one(run: RunConfig, tmp_path: Path):
    training, validation = load_split(run.data.train, "train"), load_split(run.data.train, "val")
    assert training is not None
    write_shards(training, validation, tmp_path / "shards", max_clips=5)
    whole = replace(run, data=replace(run.data, train=str(tmp_path / "shards")))
    train(whole, on_message=quiet)
    stopped = replace(whole, output=str(tmp_path / "stopped"))
    with pytest.raises(Stopped):
        train(stopped, on_message=raise_at("epoch 2", Stopped()))
    train(stopped, resume=True, on_message=quiet)
    assert are_equal(weights_of(stopped.output), weights_of(whole.output))


def test_interrupted_epoch_is_repeated(finished: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    interrupted = replace(finished, output=str(tmp_path / "interrupted"))
    _train_until(5, interrupted, monkeypatch)
    assert len(read_metrics(Path(interrupted.output) / "metrics.csv")) == 1
    train(interrupted, resume=True, on_message=quiet)
    assert are_equal(weights_of(interrupted.output), weights_of(finished.output))


def _train_until(batch: int, run: RunConfig, monkeypatch: pytest.MonkeyPatch, *, resume: bool = False) -> None:
    """Train, and stop before a micro-batch, counted from 1 at this start."""
    step, count = ClipClassifier.training_step, 0

    def step_or_stop(self: ClipClassifier, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == batch:
            raise Stopped
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ClipClassifier, "training_step", step_or_stop)
        with pytest.raises(Stopped):
            train(run, resume=resume, on_message=quiet)


# --- Within an epoch ------------------------------------------------------------------------------------------------

LONG = {
    "plain": {"batch_size": 2},
    "in micro-batches": {"batch_size": 4, "accumulate": 2},
    "micro-batches with a remainder": {"batch_size": 6, "accumulate": 3},
    "averaged": {"batch_size": 2, "optim": OptimConfig(lr=3e-3, warmup_fraction=0.2, ema_decay=0.7)},
    "mixed, repeated": {"batch_size": 4, "augment": AugmentConfig(mixup=0.8, repeats=2, rand_augment=1)},
}


@pytest.mark.parametrize("changes", LONG.values(), ids=LONG)
def test_run_resumed_within_an_epoch_equals_an_uninterrupted_one(
    run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
):
    whole = replace(run, epochs=2, **changes)
    train(whole, on_message=quiet)
    interrupted = replace(whole, checkpoint_every=1, output=str(tmp_path / "interrupted"))
    _train_until(6, interrupted, monkeypatch)  # in the first epoch
    _train_until(3, interrupted, monkeypatch, resume=True)
    train(interrupted, resume=True, on_message=quiet)
    assert _content(interrupted, "last") == _content(whole, "last")
    assert _content(interrupted, "best") == _content(whole, "best")
    assert are_equal(load(interrupted.output).state_dict(), load(whole.output).state_dict())
    assert _measures(interrupted) == _measures(whole)


def test_checkpoints_within_an_epoch_come_after_whole_steps_only(run: RunConfig, monkeypatch: pytest.MonkeyPatch):
    every = replace(run, batch_size=4, accumulate=2, checkpoint_every=2)  # 6 batches, 3 steps an epoch
    seen = []
    for batch in (4, 5, 6):
        _train_until(batch, replace(every, output=f"{every.output}{batch}"), monkeypatch)
        last = Path(f"{every.output}{batch}") / "checkpoints" / "last.ckpt"
        seen.append(read_resume_state(last, size=DataSize(train=12, val=6)).batches if last.exists() else None)
    assert seen == [None, 4, 4]


def test_checkpoint_interval_changes_no_weight_and_may_change(
    finished: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    interrupted = replace(finished, checkpoint_every=1, output=str(tmp_path / "interrupted"))
    _train_until(6, interrupted, monkeypatch)
    train(replace(interrupted, checkpoint_every=0), resume=True, on_message=quiet)
    assert are_equal(weights_of(interrupted.output), weights_of(finished.output))


def _content(run: RunConfig, name: str) -> list[tuple[str, Any]]:
    return content_of(run.output, name)


def _measures(run: RunConfig) -> list[EpochRecord]:
    return [
        replace(record, seconds=0.0, data_wait_fraction=0.0)
        for record in read_metrics(Path(run.output) / "metrics.csv")
    ]


# --- Around the end of an epoch -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def last_kept(finished: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """Like `finished`, but keeping the last model, so that every epoch writes everything."""
    run = replace(finished, keep="last", seed=2, output=str(tmp_path_factory.mktemp("last") / "run"))
    train(run, on_message=quiet)
    return run


@pytest.mark.parametrize(
    ("epoch", "name"), [(2, "model"), (2, "best.ckpt"), (2, "last.ckpt"), (3, "model"), (3, "metrics.csv")]
)
def test_run_killed_while_writing_is_resumed(
    last_kept: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, name: str
):
    interrupted = replace(last_kept, output=str(tmp_path / "interrupted"))
    _train_killed_at(epoch, name, interrupted, monkeypatch)
    assert list(Path(interrupted.output).rglob(".*"))  # partial files of the killed process
    train(interrupted, resume=True, on_message=quiet)
    assert _content(interrupted, "last") == _content(last_kept, "last")
    assert _content(interrupted, "best") == _content(last_kept, "best")
    assert are_equal(load(interrupted.output).state_dict(), load(last_kept.output).state_dict())
    assert _measures(interrupted) == _measures(last_kept)
    assert is_finished(interrupted)
    assert not list(Path(interrupted.output).rglob(".*"))


def _train_killed_at(epoch: int, name: str, run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train until the new version of a file or folder is complete but not yet renamed.

    Nothing is cleaned up then, as in a killed process.
    """
    rename, replace_path = os.rename, Path.replace

    def check(target: Any) -> None:
        if Path(target).name == name and len(_epochs_in(run)) == epoch - 1:
            patch.setattr(Path, "unlink", lambda *_, **__: None)
            patch.setattr("shutil.rmtree", lambda *_, **__: None)
            raise Stopped

    def rename_or_die(source: Any, target: Any) -> None:
        if ".model-old" not in str(target):
            check(target)
        rename(source, target)

    def replace_or_die(self: Path, target: Path) -> Path:
        check(target)
        return replace_path(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", rename_or_die)
        patch.setattr(Path, "replace", replace_or_die)
        with pytest.raises(Stopped):
            train(run, on_message=quiet)


def _epochs_in(run: RunConfig) -> list[EpochRecord]:
    path = Path(run.output) / "metrics.csv"
    return read_metrics(path) if path.exists() else []


def test_run_without_a_completed_epoch_starts_from_the_beginning(finished: RunConfig, tmp_path: Path):
    interrupted = replace(finished, output=str(tmp_path / "interrupted"))
    with pytest.raises(Stopped):
        train(interrupted, on_message=raise_at("training", Stopped()))
    train(interrupted, resume=True, on_message=quiet)
    assert are_equal(weights_of(interrupted.output), weights_of(finished.output))


def test_resuming_a_finished_run_changes_nothing(finished: RunConfig):
    before = weights_of(finished.output)
    lines: list[str] = []
    train(finished, resume=True, on_message=lines.append)
    assert are_equal(weights_of(finished.output), before)
    assert [line.split(":")[0] for line in lines] == ["nothing left to do", "best validation accuracy"]


def test_run_is_finished_with_its_last_epoch_and_only_for_its_own_config(run: RunConfig):
    assert not is_finished(run)
    with pytest.raises(Stopped):
        train(run, on_message=raise_at("epoch 2", Stopped()))
    assert not is_finished(run)
    train(run, resume=True, on_message=quiet)
    assert is_finished(run)
    assert is_finished(replace(run, device="auto"))
    assert not is_finished(replace(run, seed=1))


# --- From another working folder ------------------------------------------------------------------------------------


@pytest.fixture
def relative(run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A run with relative paths, interrupted in its second epoch, in its working folder."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here/videos").symlink_to(Path(run.data.train).absolute())
    monkeypatch.chdir(tmp_path / "here")
    cut = replace(run, data=replace(run.data, train="videos"), output="runs/cut")
    with pytest.raises(Stopped):
        train(cut, on_message=raise_at("epoch 2", Stopped()))
    return cut


@pytest.mark.parametrize("how", ["config", "arguments"])
def test_run_is_resumed_from_another_working_folder(
    relative: RunConfig, run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
):
    (tmp_path / "there/below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "there/below")
    folder = tmp_path / "here/runs/cut"
    if how == "config":
        again = read_config(folder / "config.toml", kind=RunConfig)
    else:
        data = replace(relative.data, train="../../here/videos")
        again = replace(relative, data=data, output="../../here/runs/cut")
    train(again, resume=True, on_message=quiet)
    train(replace(run, output=str(tmp_path / "whole")), on_message=quiet)
    assert are_equal(weights_of(folder), weights_of(tmp_path / "whole"))


def test_run_of_relative_paths_is_resumed_where_it_was_started(relative: RunConfig):
    config = Path("runs/cut/config.toml")
    text = config.read_text("utf-8")
    config.write_text(text.replace(f"{Path.cwd()}/", ""), "utf-8")  # as earlier releases wrote it
    assert 'train = "videos"' in config.read_text("utf-8")
    train(relative, resume=True, on_message=quiet)
    assert is_finished(relative)


def test_other_videos_are_still_told_apart(relative: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree("here/videos", "videos")
    with pytest.raises(ConfigError, match=r"data\.train was '.*/here/videos' and is 'videos'"):
        train(replace(relative, output="here/runs/cut"), resume=True, on_message=quiet)
