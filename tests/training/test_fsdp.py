"""Training with `strategy="fsdp"` in one process: shards, checkpoints of shards, and the same weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from timesformer.config.run import OptimConfig, RunConfig
from timesformer.errors import ConfigError
from timesformer.training.train import train
from timesformer.weights.load import load
from training_runs import Stopped, quiet, raise_at


def test_sharded_run_has_the_weights_of_a_plain_one(run: RunConfig, tmp_path: Path):
    train(run, on_message=quiet)
    sharded = replace(run, strategy="fsdp", output=str(tmp_path / "sharded"))
    train(sharded, on_message=quiet)
    first, second = load(run.output).state_dict(), load(sharded.output).state_dict()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=1e-5)
