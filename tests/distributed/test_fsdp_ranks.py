"""Sharded training in several processes gives the weights of one, and goes on in any number of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from launching import Launch
from timesformer.config.io import dump_toml
from timesformer.config.run import DataConfig, OptimConfig, RunConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.training.train import train
from timesformer.weights.load import load
from training_runs import quiet

LAST = {"keep": "last"}


@pytest.fixture
def run(videos: Path, tmp_path: Path) -> RunConfig:
    """3 epochs of 3 steps of 2 micro-batches of 2; the last has 2 and 1; one of 11 videos is skipped."""
    return RunConfig(
        model=ModelConfig(
            num_frames=3, image_size=(8, 16), patch_size=4, embed_dim=24, depth=2, num_heads=3, mlp_ratio=2.5,
            drop_path=0.0, initialization="scratch",
        ),
        clip=ClipConfig(sampling="segment", num_crops=1),
        data=DataConfig(train=str(videos), flip=True, num_workers=0, on_decode_error="skip"),
        optim=OptimConfig(lr=3e-3, warmup_fraction=0.2, clip_grad_norm=0.5, ema_decay=0.8),
        epochs=3,
        batch_size=4,
        accumulate=1,
        keep="last",
        device="cpu",
        output=str(tmp_path / "alone"),
    )  # fmt: skip


def start(launch: Launch, run: RunConfig, *flags: str, ranks: int, plant: str = "nothing()", **environment: str):
    config = Path(run.output).with_suffix(".toml")
    config.write_text(dump_toml(run))
    return launch("train", "--config", config, *flags, ranks=ranks, plant=plant, **environment)


def assert_same_model(found: RunConfig, expected: RunConfig) -> None:
    first, second = load(found.output).state_dict(), load(expected.output).state_dict()
    for name in first:
        torch.testing.assert_close(
            first[name], second[name], rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2}], ids=["plain", "accumulate"])
def test_two_sharded_ranks_give_the_weights_of_one(
    launch: Launch, run: RunConfig, tmp_path: Path, changes: dict[str, Any]
):
    run = replace(run, **changes)
    train(run, on_message=quiet)
    both = replace(run, strategy="fsdp", output=str(tmp_path / "both"))
    ended = start(launch, both, ranks=2)
    assert [rank.status for rank in ended] == [0, 0], ended
    assert_same_model(both, run)
