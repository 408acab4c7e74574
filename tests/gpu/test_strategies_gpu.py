"""Copied and sharded training on one GPU, in a group of one process, gives the weights of a plain training."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.distributed import HashStore

from timesformer.config.run import DataConfig, OptimConfig, RunConfig, Strategy
from timesformer.config.schema import ClipConfig, Precision
from timesformer.data.synthetic.dataset import write_motion_dataset
from timesformer.evaluation.process_group import ProcessGroup
from timesformer.processes import ProcessInfo
from timesformer.training.run_folder import RunFolder
from timesformer.training.train import train
from timesformer.weights.load import load
from tiny import tiny_config
from training_runs import Stopped, quiet, raise_at

DEVICE = "cuda"
CLASSES = ("move_left", "move_right", "grow")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motion") / "data"
    return write_motion_dataset(
        folder, clips_per_class=4, val_clips_per_class=2, classes=CLASSES, num_frames=5, size=(16, 32)
    )


@pytest.fixture
def run(videos: Path, tmp_path: Path) -> RunConfig:
    """2 epochs of 2 steps of 2 micro-batches; the last step is smaller."""
    return RunConfig(
        model=tiny_config(initialization="scratch"),
        clip=ClipConfig(sampling="segment", num_crops=1),
        data=DataConfig(train=str(videos), num_workers=0),
        optim=OptimConfig(optimizer="sgd", lr=0.05, clip_grad_norm=0.5, ema_decay=0.8),
        epochs=2,
        batch_size=8,
        accumulate=2,
        keep="last",
        device=DEVICE,
        output=str(tmp_path / "plain"),
    )


def group_of_one() -> ProcessGroup:
    return ProcessGroup(process=ProcessInfo(), store=HashStore())


def assert_close(found: RunConfig, expected: RunConfig, *, bound: float) -> None:
    first, second = load(found.output).state_dict(), load(expected.output).state_dict()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=bound)


# bf16 rounds to 3 digits, and the order of sums on a GPU differs from run to run
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-4), ("bf16", 5e-3)])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_strategy_gives_the_weights_of_a_plain_training(
    run: RunConfig, tmp_path: Path, strategy: Strategy, precision: Precision, bound: float
):
    plain = replace(run, precision=precision)
    train(plain, on_message=quiet)
    other = replace(plain, strategy=strategy, output=str(tmp_path / strategy))
    train(other, group=group_of_one(), on_message=quiet)
    assert_close(other, plain, bound=bound)


@pytest.mark.parametrize("strategies", [("fsdp", "fsdp"), ("fsdp", "auto"), ("auto", "fsdp")], ids="-".join)
def test_run_is_resumed_by_any_strategy(run: RunConfig, tmp_path: Path, strategies: tuple[Strategy, Strategy]):
    train(run, on_message=quiet)
    first = replace(run, strategy=strategies[0], output=str(tmp_path / "resumed"))
    with pytest.raises(Stopped):
        train(first, on_message=raise_at("epoch 1", Stopped()))
    second = replace(first, strategy=strategies[1])
    train(second, resume=True, on_message=quiet)
    assert_close(second, run, bound=1e-4)
    assert bool(RunFolder(Path(second.output)).shards) is (strategies[1] == "fsdp")
