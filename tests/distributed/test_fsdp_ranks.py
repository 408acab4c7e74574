"""Sharded training in several processes gives the weights of one, and goes on in any number of them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from launching import Launch
from recorded_training import epochs_of, read_steps
from timesformer.config.io import dump_toml
from timesformer.config.run import DataConfig, OptimConfig, RunConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.training.run_folder import RunFolder
from timesformer.training.train import train
from timesformer.weights.load import load
from training_runs import quiet

pytestmark = pytest.mark.slow  # trainings of several processes, up to 10 seconds each

READABLE = [0, 1, 2, 3, 4, 5, 7, 8, 9, 10]
"""Training videos; that with number 6 is not a video."""


@pytest.fixture
def run(videos: Path, tmp_path: Path) -> RunConfig:
    """3 epochs of 3 steps of 2 micro-batches of 2 videos; one of 11 is skipped."""
    return RunConfig(
        model=ModelConfig(
            num_frames=3, image_size=(8, 16), patch_size=4, embed_dim=24, depth=2, num_heads=3, mlp_ratio=2.5,
            drop_path=0.0, initialization="scratch",
        ),
        clip=ClipConfig(sampling="segment", num_crops=1),
        data=DataConfig(train=str(videos), flip=True, num_workers=0, on_decode_error="skip"),
        optim=OptimConfig(optimizer="sgd", lr=0.05, warmup_fraction=0.2, clip_grad_norm=0.5, ema_decay=0.8),
        epochs=3,
        batch_size=4,
        accumulate=2,
        keep="last",
        device="cpu",
        output=str(tmp_path / "alone"),
    )  # fmt: skip


def start(launch: Launch, run: RunConfig, *flags: str, ranks: int, plant: str = "nothing()"):
    config = Path(run.output).with_suffix(".toml")
    config.write_text(dump_toml(run))
    return launch("train", "--config", config, *flags, ranks=ranks, plant=plant)


def assert_same_model(found: RunConfig, expected: RunConfig) -> None:
    first, second = load(found.output).state_dict(), load(expected.output).state_dict()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=1e-5)


@pytest.fixture
def alone(run: RunConfig) -> RunConfig:
    """The run, done in one process."""
    train(run, on_message=quiet)
    return run


@pytest.fixture
def shared(run: RunConfig, tmp_path: Path) -> RunConfig:
    """The same, to be sharded, with a checkpoint every other step."""
    return replace(run, strategy="fsdp", checkpoint_every=2, output=str(tmp_path / "shared"))


def test_two_sharded_ranks_give_the_weights_of_one(launch: Launch, alone: RunConfig, shared: RunConfig):
    ended = start(launch, shared, ranks=2)
    assert [rank.status for rank in ended] == [0, 0], ended
    assert_same_model(shared, alone)


def test_sharded_run_that_loses_a_rank_goes_on_in_one_process_with_each_video_once(
    launch: Launch, alone: RunConfig, shared: RunConfig, tmp_path: Path
):
    ended = start(launch, shared, ranks=2, plant=f"recorded({str(tmp_path / 'steps')!r}, kill='5:1')")
    assert [rank.status for rank in ended] == [1, -9], ended
    plain = replace(shared, strategy="auto")
    ended = start(launch, plain, "--resume", ranks=1, plant=f"recorded({str(tmp_path / 'steps')!r}, start=1)")
    assert [rank.status for rank in ended] == [0], ended
    assert_same_model(plain, alone)
    assert epochs_of(read_steps(tmp_path / "steps")) == [READABLE] * 3


def test_ranks_that_are_started_again_go_on_without_being_told(
    launch: Launch, alone: RunConfig, shared: RunConfig, tmp_path: Path
):
    folder = str(tmp_path / "steps")
    ended = start(launch, shared, ranks=2, plant=f"recorded({folder!r}, kill='5:0', job='a')")
    assert [rank.status for rank in ended] == [-9, 1], ended
    ended = start(launch, shared, ranks=2, plant=f"recorded({folder!r}, job='a', restarts=1)")
    assert [rank.status for rank in ended] == [0, 0], ended
    assert "resuming in epoch 2 after 2 of 3 steps" in ended[0].err
    assert_same_model(shared, alone)
    assert epochs_of(read_steps(tmp_path / "steps")) == [READABLE] * 3
    other = start(launch, shared, ranks=2, plant=f"recorded({folder!r}, job='b', restarts=1)")
    assert "already holds a run" in other[0].err


@pytest.mark.parametrize("rank", [0, 1])
def test_rank_killed_while_it_writes_leaves_the_last_complete_checkpoint(
    launch: Launch, alone: RunConfig, shared: RunConfig, rank: int
):
    ended = start(launch, shared, ranks=2, plant=f"amid_shards(2, {rank}, die)")
    assert ended[rank].status == -9, ended
    folder = RunFolder(Path(shared.output))
    assert len(folder.shards) > len({torch.load(path, weights_only=True)["shards"] for path in folder.files[-2:]})
    ended = start(launch, shared, "--resume", ranks=2)
    assert [each.status for each in ended] == [0, 0], ended
    assert_same_model(shared, alone)


def test_full_disk_of_one_rank_ends_all_with_its_error(launch: Launch, shared: RunConfig):
    ended = start(launch, shared, ranks=2, plant="amid_shards(1, 1, refuse)")
    assert [rank.status for rank in ended] == [1, 1], ended
    assert re.search(r"error: .*checkpoints/shards-\S+: cannot be written: No space left on device\n", ended[0].err)
    assert RunFolder(Path(shared.output)).last.exists()


@pytest.mark.parametrize("fault", ["spoil_loss", "spoil_gradient"])
def test_number_that_is_not_finite_in_one_rank_ends_all(launch: Launch, shared: RunConfig, fault: str):
    ended = start(launch, shared, ranks=2, plant=f"at_step(4, 1, {fault})")
    assert [rank.status for rank in ended] == [1, 1], ended
    assert "at step 5 (epoch 2): training has diverged" in ended[0].err
