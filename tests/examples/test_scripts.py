"""The scripts for SLURM and for one machine with several GPUs: their syntax, and the commands that they run."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from timesformer.weights import save
from tiny import random_model, tiny_config
from videos import write_video

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted([*EXAMPLES.rglob("*.sh"), *EXAMPLES.rglob("*.sbatch")])
ARRAY = EXAMPLES / "slurm/predict_array.sbatch"
NODES = EXAMPLES / "slurm/train_nodes.sbatch"
ONE_MACHINE = EXAMPLES / "one_machine/train_8_gpus.sh"


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A folder of commands that stand in for those of a cluster; `timesformer` is the real one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {
        "timesformer": f'exec "{sys.executable}" -m timesformer "$@"',
        "scontrol": '[ "$1 $2" = "show hostnames" ] && printf "%s\\n" node07 node08',
        "srun": 'echo "$MASTER_ADDR:$MASTER_PORT, $OMP_NUM_THREADS threads, $*"',
        "torchrun": 'echo "$OMP_NUM_THREADS threads, $*"',
        "nproc": "echo 20",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


def run(script: Path, *arguments: object, commands: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "OMP_"))}
    environment = {**kept, "PATH": f"{commands}:{os.environ['PATH']}", **variables}
    command = ["bash", str(script), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_script_is_valid_and_can_be_started(script: Path):
    assert subprocess.run(["bash", "-n", script], capture_output=True, check=False).stderr == b""
    assert script.stat().st_mode & stat.S_IXUSR
    assert script.read_text("utf-8").startswith("#!/bin/bash\n")


def array(number: int, *, first: int = 100, last: int = 101, count: int = 2) -> dict[str, str]:
    names = {"ID": number, "MIN": first, "MAX": last, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}


@pytest.mark.slow  # two drivers one after the other, each with a worker that loads torch
def test_tasks_of_an_array_share_a_job(tmp_path: Path, commands: Path):
    model = save(random_model(tiny_config()), tmp_path / "model")
    videos = [write_video(tmp_path / f"{number}.mp4", num_frames=5 + number) for number in range(3)]
    (tmp_path / "videos.txt").write_text("".join(f"{video}\n" for video in videos))
    for number in (101, 100):
        done = run(
            ARRAY, tmp_path / "videos.txt", model, tmp_path / "job", "--top-k", 2, "--device", "cpu",
            commands=commands, OMP_NUM_THREADS="1", **array(number),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    rows = pq.read_table(tmp_path / "job/rows").to_pylist()
    assert [row["path"] for row in rows] == [str(video) for video in videos]


def test_array_with_gaps_is_refused(tmp_path: Path, commands: Path):
    done = run(ARRAY, "v.txt", "m", "job", commands=commands, **array(4, first=0, last=4, count=3))
    assert done.returncode == 2
    assert done.stderr == "the task numbers 0 to 4 have gaps: use --array=0-2\n"


def test_script_of_an_array_says_how_to_submit_it(commands: Path):
    done = run(ARRAY, "v.txt", "m", "job", commands=commands)
    assert done.returncode == 1
    assert "submit this script with sbatch --array" in done.stderr


def test_training_on_nodes_meets_at_the_first(commands: Path):
    job = {"SLURM_JOB_NODELIST": "node[07-08]", "SLURM_JOB_ID": "1234567", "SLURM_CPUS_PER_TASK": "12"}
    done = run(NODES, "videos", "runs/mine", "--epochs", 3, commands=commands, **job)
    expected = "--kill-on-bad-exit=1 timesformer train videos --output runs/mine --epochs 3"
    assert done.stdout == f"node07:24567, 12 threads, {expected}\n"


@pytest.mark.parametrize(("variables", "gpus", "threads"), [({}, 8, 2), ({"GPUS": "4"}, 4, 5), ({"GPUS": "40"}, 40, 1)])
def test_training_on_one_machine_has_a_process_for_each_gpu(
    commands: Path, variables: dict[str, str], gpus: int, threads: int
):
    done = run(ONE_MACHINE, "videos", "runs/mine", "--epochs", 3, commands=commands, **variables)
    options = f"--standalone --nproc-per-node={gpus} --max-restarts=3"
    command = "-m timesformer train videos --output runs/mine --epochs 3"
    assert done.stdout == f"{threads} threads, {options} {command}\n"


@pytest.mark.parametrize("script", [NODES, ONE_MACHINE], ids=lambda path: path.name)
def test_training_command_of_a_script_is_one_that_the_command_line_takes(script: Path, commands: Path, tmp_path: Path):
    job = {"SLURM_JOB_NODELIST": "node07", "SLURM_JOB_ID": "1"}
    printed = run(script, tmp_path / "videos", tmp_path / "run", "--dry-run", commands=commands, **job).stdout
    words = printed.split(" timesformer train ")[1].split()
    for label in "ab":
        (tmp_path / "videos" / label).mkdir(parents=True)
    for number in range(4):
        write_video(tmp_path / "videos" / "ab"[number % 2] / f"{number}.mp4", num_frames=9)
    timesformer = shutil.which("timesformer", path=str(commands))
    assert timesformer is not None
    done = subprocess.run([timesformer, "train", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
