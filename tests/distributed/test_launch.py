"""`python -m timesformer.launch`: a training whose processes Ray Train starts."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from timesformer.config.io import dump_toml
from timesformer.config.run import DataConfig, OptimConfig, RunConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.launch import main
from timesformer.training.train import train
from training_runs import quiet, weights_of


def launch(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the launcher as a user does, in a folder."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "timesformer.launch", *map(str, arguments)],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow  # Ray starts a cluster and six processes
def test_two_processes_of_ray_train_give_the_weights_of_one(videos: Path, tmp_path: Path):
    run = RunConfig(
        model=ModelConfig(
            num_frames=3, image_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, drop_path=0.0,
            initialization="scratch",
        ),
        clip=ClipConfig(sampling="segment", num_crops=1),
        data=DataConfig(train=str(videos), flip=True, num_workers=0, on_decode_error="skip"),
        optim=OptimConfig(optimizer="sgd", lr=0.03, warmup_fraction=0.2, clip_grad_norm=0.7),
        epochs=2,
        batch_size=4,
        device="cpu",
        output=str(tmp_path / "alone"),
    )  # fmt: skip
    train(run, on_message=quiet)
    (tmp_path / "run.toml").write_text(dump_toml(replace(run, output="both")))
    ended = launch("--workers", 2, "--cpus", 1, "train", "--config", "run.toml", "--json", folder=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, '{"run": "both", "model": "both/model"}\n'), ended
    expected, found = weights_of(tmp_path / "alone"), weights_of(tmp_path / "both")
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=1e-5)
    assert {path.name for path in tmp_path.iterdir()} == {"alone", "both", "run.toml"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which command? Give train or evaluate, and its arguments"),
        (["predict", "a.mp4"], "which command? Give train or evaluate, and its arguments"),
        (["--workers", "0", "train"], "workers=0"),
        (["--restarts", "-1", "train"], "restarts=-1"),
        (["--cpus", "-1", "train"], "cpus=-1"),
    ],
)
def test_wrong_usage_is_refused_before_a_cluster_starts(capsys, arguments, message):
    assert main(["--workers", "2", *arguments]) == 2
    assert message in capsys.readouterr().err
