"""`timesformer evaluate` as real processes, started as torchrun and SLURM start them."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from timesformer.cli.main import main

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
EVALUATE = ["-m", "timesformer", "evaluate"]
OPTIONS = ["--device", "cpu", "--num-workers", "0", "--batch-size", "2", "--json"]


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=100)
    return process.returncode, out, err


def test_two_processes_give_the_numbers_of_one(model_folder: Path, video_list: Path, tmp_path: Path, run_alone):
    data = [video_list, "--model", model_folder, "--on-error", "skip", *OPTIONS, "--csv"]
    two = start(*TORCHRUN, *EVALUATE, *data, tmp_path / "two.csv")
    status_of_one, expected, _ = run_alone("evaluate", *data, tmp_path / "one.csv")
    status, found, err = finish(two)
    assert (status_of_one, status) == (0, 0), err
    assert found == expected  # all of it, to the last digit, and printed once
    assert json.loads(found)["num_videos"] == 6
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    assert err.count("skipped") == 1


def test_error_in_one_process_stops_all(model_folder: Path, video_list: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    begun = time.monotonic()
    both = [
        start(*EVALUATE, video_list, "--model", model_folder, *OPTIONS, **rendezvous, **variables)
        for variables in (
            {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0"},
            {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "1"},
        )
    ]
    (status_0, out, err_0), (status_1, _, err_1) = map(finish, both)
    assert (status_0, status_1, out) == (1, 1, "")
    assert "3.mp4" in err_1  # the second batch, videos 2 and 3, belongs to rank 1
    assert "rank 1 of 2 stopped:" in err_0
    assert "Traceback" not in err_0 + err_1
    assert time.monotonic() - begun < 90


def test_several_processes_without_an_address_are_wrong_usage(
    model_folder: Path, video_list: Path, run_alone, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    status, _, err = run_alone("evaluate", video_list, "--model", model_folder)
    assert status == 2
    assert "MASTER_ADDR and MASTER_PORT are not both set" in err


def test_torchrun_trains_one_run(videos: Path, tmp_path: Path):
    sizes = {"num_frames": 2, "image_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    model = [word for name, size in sizes.items() for word in ("--set", f"model.{name}={size}")]
    data = ["--set", "data.on_decode_error=skip", "--set", "data.num_workers=0", "--device", "cpu", "--epochs", 1]
    command = ["-m", "timesformer", "train", videos, "--output", tmp_path / "run", "--batch-size", 4, *model, *data]
    status, out, err = finish(start(*TORCHRUN, *command))
    assert (status, out) == (0, f"{tmp_path / 'run'}\n"), err
    assert (
        err.count(
            "training: 11 videos of 3 classes, 5 for validation (no groups: persons and places may be in both)"
            "; 1 epochs of 3 steps on cpu, 2 processes"
        )
        == 1
    )
    assert err.count("best validation accuracy") == 1
    assert err.count("skipped: ") == 1


@pytest.fixture
def run_alone(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process; gives exit status, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        return int(caught.value.code or 0), *capsys.readouterr()

    return call
