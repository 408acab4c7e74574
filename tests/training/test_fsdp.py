"""Training with `strategy="fsdp"` in one process: the same weights, and checkpoints that any strategy reads."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from timesformer.config.run import OptimConfig, RunConfig
from timesformer.errors import ConfigError, TimeSformerError, WeightsError
from timesformer.model.timesformer import TimeSformer
from timesformer.training.run_folder import RunFolder
from timesformer.training.train import train
from timesformer.weights.load import load
from timesformer.weights.model_folder import save
from training_runs import Stopped, quiet, raise_at


@pytest.fixture(autouse=True)
def _plain_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip drawing the curve, which takes longer than a tiny run and is tested elsewhere."""
    monkeypatch.setattr("timesformer.training.callbacks.draw_curve", lambda history, path: path.touch())


@pytest.mark.parametrize(
    "changes",
    [
        {"optim": OptimConfig(optimizer="sgd", lr=0.1), "accumulate": 5, "checkpoint_activations": True},
        {"optim": OptimConfig(lr=3e-3, layer_decay=0.7, ema_decay=0.8, clip_grad_norm=0.3)},
        {"optim": OptimConfig(lr=3e-3, freeze="backbone")},
        {"optim": OptimConfig(lr=3e-3, freeze="blocks:1", pretrained_lr=0.5), "init_from": "image"},
    ],
    ids=["sgd", "adamw", "probe", "frozen"],
)
def test_sharded_run_has_the_weights_of_a_plain_one(run: RunConfig, tmp_path: Path, changes: dict[str, Any]):
    if changes.get("init_from"):
        changes = {**changes, "init_from": str(_image_model(run, tmp_path / "image"))}
    plain = replace(run, **changes)
    train(plain, on_message=quiet)
    sharded = replace(plain, strategy="fsdp", output=str(tmp_path / "sharded"))
    train(sharded, on_message=quiet)
    _assert_same_model(sharded, plain)
    assert not dist.is_initialized()


def test_sharded_run_computes_in_half_precision(run: RunConfig, tmp_path: Path):
    half = replace(run, precision="bf16", epochs=1)
    train(half, on_message=quiet)
    sharded = replace(half, strategy="fsdp", output=str(tmp_path / "sharded"))
    train(sharded, on_message=quiet)
    first, second = load(half.output).state_dict(), load(sharded.output).state_dict()
    for name in first:  # a rounding error of bf16 in the gradient, times the steps of AdamW
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=1e-3)


def test_checkpoint_of_shards_is_a_small_file_and_one_folder(run: RunConfig):
    train(replace(run, strategy="fsdp", checkpoint_every=1), on_message=quiet)
    folder = RunFolder(Path(run.output))
    states = [torch.load(path, weights_only=True) for path in (folder.last, folder.best)]
    assert folder.shards == sorted({folder.checkpoints / state["shards"] for state in states})
    assert all(state["state_dict"] == {} for state in states)
    assert {path.name for path in folder.shards[0].iterdir()} == {".metadata", "__0_0.distcp"}


@pytest.mark.parametrize(
    "strategies", [("fsdp", "fsdp"), ("fsdp", "auto"), ("auto", "fsdp")], ids=lambda pair: "-".join(pair)
)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_run_is_resumed_by_any_strategy(run: RunConfig, tmp_path: Path, strategies: Any, optimizer: Any):
    optim = OptimConfig(optimizer=optimizer, lr=3e-3, ema_decay=0.8)
    first = replace(run, optim=optim, strategy=strategies[0], checkpoint_every=1, output=str(tmp_path / "first"))
    train(replace(first, output=run.output), on_message=quiet)
    with pytest.raises(Stopped):
        train(first, on_message=raise_at("epoch 2", Stopped()))
    second = replace(first, strategy=strategies[1])
    train(second, resume=True, on_message=quiet)
    _assert_same_model(second, run)
    assert bool(RunFolder(Path(second.output)).shards) is (strategies[1] == "fsdp" or _best_is_sharded(second))


def test_full_disk_ends_a_sharded_run_and_keeps_its_last_checkpoint(run: RunConfig, monkeypatch: pytest.MonkeyPatch):
    sharded = replace(run, strategy="fsdp")
    with pytest.raises(Stopped):
        train(sharded, on_message=raise_at("epoch 2", Stopped()))
    folder = RunFolder(Path(run.output))
    kept = folder.last.read_bytes()

    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.distributed.checkpoint.filesystem._write_item", refuse)
    with pytest.raises(TimeSformerError, match=r"checkpoints/shards-\S+: cannot be written: No space left on device"):
        train(sharded, resume=True, on_message=quiet)
    monkeypatch.undo()
    assert folder.last.read_bytes() == kept
    assert len(folder.shards) > len(_used(folder))  # the half-written folder
    train(sharded, resume=True, on_message=quiet)
    assert folder.shards == _used(folder)


def test_missing_shards_are_reported_before_anything_is_trained(run: RunConfig):
    sharded = replace(run, strategy="fsdp")
    with pytest.raises(Stopped):
        train(sharded, on_message=raise_at("epoch 2", Stopped()))
    folder = RunFolder(Path(run.output))
    for shards in folder.shards:
        shards.rename(folder.root / shards.name)
    with pytest.raises(WeightsError, match=r"last\.ckpt: its tensors are missing: copy the folder shards-"):
        train(sharded, resume=True, on_message=quiet)


def test_overwriting_removes_the_shards_of_the_old_run(run: RunConfig):
    train(replace(run, strategy="fsdp", epochs=1), on_message=quiet)
    train(replace(run, epochs=1), overwrite=True, on_message=quiet)
    assert RunFolder(Path(run.output)).shards == []


def test_copies_need_several_processes(run: RunConfig):
    with pytest.raises(ConfigError, match="strategy='ddp' needs several processes: start with torchrun or srun"):
        train(replace(run, strategy="ddp"), on_message=quiet)


def test_scaled_loss_is_refused(run: RunConfig):
    with pytest.raises(
        ConfigError, match="strategy='fsdp' does not train with precision='fp16', which scales the loss"
    ):
        replace(run, strategy="fsdp", precision="fp16")


def test_device_without_a_backend_is_refused(run: RunConfig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("timesformer.training.sharding.resolve_device", lambda name: torch.device("mps"))
    with pytest.raises(ConfigError, match="strategy='fsdp' runs on the CPU and on CUDA GPUs, not on device='mps'"):
        train(replace(run, strategy="fsdp"), on_message=quiet)


def _image_model(run: RunConfig, folder: Path) -> Path:
    save(TimeSformer(replace(run.model, scheme="space_only", num_classes=7)), folder)
    return folder


def _assert_same_model(found: RunConfig, expected: RunConfig) -> None:
    first, second = load(found.output).state_dict(), load(expected.output).state_dict()
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=1e-5)


def _used(folder: RunFolder) -> list[Path]:
    states = [torch.load(path, weights_only=True) for path in (folder.last, folder.best)]
    return sorted({folder.checkpoints / state["shards"] for state in states if "shards" in state})


def _best_is_sharded(run: RunConfig) -> bool:
    return "shards" in torch.load(RunFolder(Path(run.output)).best, weights_only=True)
