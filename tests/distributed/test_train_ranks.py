"""Training in several processes gives the weights of one, and one run folder."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from launching import Launch
from timesformer.config.io import dump_toml
from timesformer.config.run import AugmentConfig, DataConfig, OptimConfig, RunConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.training.train import train
from training_runs import quiet, weights_of


@pytest.fixture
def run(videos: Path, tmp_path: Path) -> RunConfig:
    """3 epochs of 4 steps of 2 micro-batches of 2 videos, without dropout; one of 11 videos is skipped."""
    return RunConfig(
        model=ModelConfig(
            num_frames=3, image_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, drop_path=0.0,
            initialization="scratch",
        ),
        clip=ClipConfig(sampling="segment", num_crops=1),
        data=DataConfig(train=str(videos), flip=True, num_workers=0, on_decode_error="skip"),
        optim=OptimConfig(optimizer="sgd", lr=0.03, warmup_fraction=0.2, clip_grad_norm=0.7, ema_decay=0.8),
        epochs=3,
        batch_size=4,
        device="cpu",
        output=str(tmp_path / "alone"),
    )  # fmt: skip


def launch_run(launch: Launch, run: RunConfig, *flags: str, ranks: int, **options: str):
    config = Path(run.output).with_suffix(".toml")
    config.write_text(dump_toml(run))
    return launch("train", "--config", config, *flags, ranks=ranks, **options)


def assert_same_run(found: str | Path, expected: str | Path) -> None:
    first, second = weights_of(found), weights_of(expected)
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(
            first[name], second[name], rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
    clock = {"seconds", "data_wait_fraction"}
    for row, wanted in zip(read_table(found), read_table(expected), strict=True):
        assert {key: row[key] for key in row.keys() - clock} == pytest.approx(
            {key: wanted[key] for key in wanted.keys() - clock}, abs=1e-5
        )


def read_table(output: str | Path) -> list[dict[str, float]]:
    with open(Path(output) / "metrics.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"accumulate": 2, "augment": AugmentConfig(repeats=1)},
        {"augment": AugmentConfig(mixup=0.8, cutmix=0.5)},
    ],
    ids=["plain", "accumulate", "mixing"],
)
def test_two_ranks_give_the_weights_of_one(launch: Launch, run: RunConfig, tmp_path: Path, changes: dict):
    run = replace(run, **changes)
    train(run, on_message=quiet)
    both = launch_run(launch, replace(run, output=str(tmp_path / "both")), ranks=2)
    assert [ended.status for ended in both] == [0, 0], both
    assert_same_run(tmp_path / "both", run.output)
