"""Trainings on 2 and 4 processes, by DDP and by FSDP2, compared with the same training in one process.

    OMP_NUM_THREADS=1 python benchmarks/distributed_equality.py [--folder DIR]

Every training is the real command line under torchrun, on tiny videos, with gradients clipped and accumulated and a
smaller last batch. Prints JSON: the largest absolute difference of a weight and of the loss of a step, for each case;
then for a training that 4 processes begin and 2 and 1 go on with; and for one that loses a process in the middle of an
epoch, with the videos of each epoch on stderr. The exit status is 1 if a difference exceeds 1e-5 or an epoch does not
have every video once.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from machine import describe_machine
from recorded_training import Step, epochs_of, read_steps
from timesformer.config.io import dump_toml
from timesformer.config.run import DataConfig, OptimConfig, RunConfig, Strategy
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.synthetic.dataset import write_motion_dataset
from timesformer.training.history import read_metrics
from timesformer.weights.load import load

BOUND = 1e-5
"""Largest difference that counts as equal."""
OPTIMIZERS = {
    "sgd": OptimConfig(optimizer="sgd", lr=0.05, clip_grad_norm=0.5),
    "adamw": OptimConfig(optimizer="adamw", lr=1e-3, clip_grad_norm=0.5),
}
CLASSES = ("move_left", "move_right", "grow")
NUM_VIDEOS = 45
EPOCHS = 9
"""6 steps each: 54 in all."""
NEVER = "never"


def tiny_run(videos: Path, optim: OptimConfig) -> RunConfig:
    """45 videos, 8 a step in two micro-batches of 4; the last step of an epoch has 5, in micro-batches of 4 and 1."""
    model = ModelConfig(
        num_frames=3, image_size=(16, 40), patch_size=8, embed_dim=24, depth=2, num_heads=3, mlp_ratio=2.5,
        drop_path=0.0, initialization="scratch",
    )  # fmt: skip
    return RunConfig(
        model=model,
        clip=ClipConfig(sampling="segment", num_crops=1),
        data=DataConfig(train=str(videos), num_workers=0, flip=True),
        optim=optim,
        epochs=EPOCHS,
        batch_size=8,
        accumulate=2,
        keep="last",
        device="cpu",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A start of torchrun."""

    processes: int
    kill: str = NEVER
    """`STEP:RANK` to kill."""
    restarts: int = 0
    """How often torchrun may start all processes again."""
    number: int = 0
    """Starts of the same run before this one, which it resumes."""

    def command(self, folder: Path) -> list[str]:
        """The command line: without torchrun for one process."""
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={self.processes}"]
        launcher = [*torchrun, f"--max-restarts={self.restarts}"] if self.processes > 1 else []
        program = [str(Path(__file__).with_name("recorded_training.py")), str(folder / "record"), self.kill]
        resume = ["--resume"] if self.number else []
        return [sys.executable, *launcher, *program, "train", "--config", str(folder / "run.toml"), *resume]


def perform(start: Start, run: RunConfig, folder: Path) -> list[Step]:
    """Run `timesformer train` in several processes; gives the steps of its weights, also those of earlier starts."""
    record = folder / "record"
    record.mkdir(parents=True, exist_ok=True)
    (folder / "run.toml").write_text(dump_toml(run))
    paths = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "RECORDED_START": str(start.number)}
    command = start.command(folder)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    is_lost = start.kill != NEVER and not start.restarts
    if (done.returncode != 0) != is_lost:
        raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
    return read_steps(record)


def weights_of(run: RunConfig) -> dict[str, torch.Tensor]:
    """The weights of the model that a run kept, which is that of its last epoch."""
    return load(run.output).state_dict()


def weight_difference(first: RunConfig, second: RunConfig) -> float:
    """Largest absolute difference of a weight."""
    weights, others = weights_of(first), weights_of(second)
    assert weights.keys() == others.keys()
    return max(float((weights[name] - others[name]).abs().max()) for name in weights)


def loss_difference(first: Sequence[Step], second: Sequence[Step]) -> float:
    """Largest absolute difference of the loss of a step; infinite if the steps differ in number or videos."""
    if [step[:2] + step[3:] for step in first] != [step[:2] + step[3:] for step in second]:
        return float("inf")
    return max(abs(one.loss - other.loss) for one, other in zip(first, second, strict=True))


def compare(run: RunConfig, folder: Path) -> Iterator[dict[str, Any]]:
    """All strategies and numbers of processes against one process."""
    steps = perform(Start(processes=1), run, folder / "alone")
    strategies: tuple[Strategy, ...] = ("ddp", "fsdp")
    for strategy, processes in product(strategies, (2, 4)):
        where = folder / f"{strategy}{processes}"
        other = replace(run, strategy=strategy, output=str(where / "run"))
        found = perform(Start(processes=processes), other, where)
        yield {"strategy": strategy, "processes": processes, **differences(run, other, steps, found)}


def go_on_with_fewer(run: RunConfig, folder: Path) -> dict[str, Any]:
    """A sharded run that loses one of 4 processes goes on with 2, loses one of these and goes on with 1."""
    stages: list[tuple[Strategy, Start]] = [
        ("fsdp", Start(processes=4, kill="15:2")),
        ("fsdp", Start(processes=2, kill="33:1", number=1)),
        ("auto", Start(processes=1, number=2)),
    ]
    steps = read_steps(Path(run.output).parent / "record")
    found: list[Step] = []
    other = run
    for strategy, start in stages:
        other = replace(run, strategy=strategy, checkpoint_every=2, output=str(folder / "run"))
        found = perform(start, other, folder)
    return {"processes": [start.processes for _, start in stages], **differences(run, other, steps, found)}


def restart(run: RunConfig, folder: Path, *, strategy: Strategy) -> dict[str, Any]:
    """A run whose rank 1 of 2 is killed in the middle of an epoch, which torchrun then starts again."""
    steps = read_steps(Path(run.output).parent / "record")
    other = replace(run, strategy=strategy, checkpoint_every=2, output=str(folder / "run"))
    found = perform(Start(processes=2, kill="21:1", restarts=3), other, folder)
    videos, expected = epochs_of(found), epochs_of(steps)
    for number, seen in enumerate(videos, start=1):
        print(f"{strategy}, epoch {number}: {' '.join(map(str, seen))}", file=sys.stderr)
    starts = len({path.name.split("_")[0] for path in (folder / "record").iterdir()})
    return {
        "strategy": strategy,
        "starts": starts,
        "videos_of_epoch_4": videos[3],
        "each_video_once_per_epoch": videos == expected == [list(range(NUM_VIDEOS))] * EPOCHS,
        **differences(run, other, steps, found),
    }


def metric_difference(first: RunConfig, second: RunConfig) -> float:
    """Largest absolute difference in the tables of epochs, without the times."""
    tables = [read_metrics(Path(run.output) / "metrics.csv") for run in (first, second)]
    timeless = [[replace(row, seconds=0.0, data_wait_fraction=0.0) for row in table] for table in tables]
    values = [[value for row in table for value in asdict(row).values()] for table in timeless]
    return max(abs(one - other) for one, other in zip(*values, strict=True))


def differences(run: RunConfig, other: RunConfig, steps: Sequence[Step], found: Sequence[Step]) -> dict[str, Any]:
    """Largest absolute differences of weights, losses of steps and metrics of epochs, of another training."""
    return {
        "optimizer": run.optim.optimizer,
        "steps": len(found),
        "max_weight_difference": weight_difference(run, other),
        "max_loss_difference": loss_difference(steps, found),
        "max_metric_difference": metric_difference(run, other),
    }


def measure(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All cases."""
    videos = write_motion_dataset(
        folder / "videos", clips_per_class=NUM_VIDEOS // 3, val_clips_per_class=3, classes=CLASSES, num_frames=5,
        size=(16, 40),
    )  # fmt: skip
    results: dict[str, list[dict[str, Any]]] = {"equality": [], "fewer_processes": [], "restart": []}

    def add(kind: str, row: dict[str, Any]) -> None:
        results[kind].append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)

    for name, optim in OPTIMIZERS.items():
        where = folder / name
        run = replace(tiny_run(videos, optim), output=str(where / "alone" / "run"))
        for row in compare(run, where):
            add("equality", row)
        add("fewer_processes", go_on_with_fewer(run, where / "fewer"))
    for strategy in ("ddp", "fsdp"):
        add("restart", restart(run, folder / f"restart_{strategy}", strategy=strategy))
    return results


def main() -> None:
    """Run all cases and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="new folder for runs and videos; a temporary one by default")
    chosen = parser.parse_args().folder
    with nullcontext(chosen) if chosen else tempfile.TemporaryDirectory() as folder:
        results = measure(Path(folder))
    rows = [row for kind in results.values() for row in kind]
    worst = max(value for row in rows for key, value in row.items() if key.startswith("max_"))
    are_equal = worst <= BOUND and all(row["each_video_once_per_epoch"] for row in results["restart"])
    print(
        json.dumps({"machine": describe_machine() | {"torch": torch.__version__}, "bound": BOUND, **results}, indent=2)
    )
    sys.exit(0 if are_equal else 1)


if __name__ == "__main__":
    main()
