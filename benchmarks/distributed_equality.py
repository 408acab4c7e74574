"""Trainings on 2 and 4 processes, by DDP and by FSDP2, compared with the same training in one process.

    OMP_NUM_THREADS=1 python benchmarks/distributed_equality.py [--folder DIR]

Every training is the real command line under torchrun, on tiny videos, with gradients clipped and accumulated and a
smaller last batch. Prints JSON: the largest absolute difference of a weight and of the loss of a step, for each case;
then a training that 4 processes begin and 2 and 1 go on with; and one that loses a process in the middle of an epoch,
with the videos of each epoch. The exit status is 1 if a difference exceeds 1e-5 or a video was not seen once.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from machine import describe_machine
from recorded_training import Step, epochs_of, read_steps
from timesformer.config.io import dump_toml
from timesformer.config.run import DataConfig, OptimConfig, RunConfig, Strategy
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.synthetic.dataset import write_motion_dataset
from timesformer.weights.load import load

BOUND = 1e-5
"""Largest difference that counts as equal."""
OPTIMIZERS = {
    "sgd": OptimConfig(optimizer="sgd", lr=0.05, clip_grad_norm=0.5),
    "adamw": OptimConfig(optimizer="adamw", lr=1e-3, clip_grad_norm=0.5),
}
CLASSES = ("move_left", "move_right", "grow")
EPOCHS = 9
"""6 steps each: 54 in all."""
STOP = "20:1"
"""Rank 1 is killed in step 20, the third of the fourth epoch."""


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


def start(run: RunConfig, folder: Path, *, processes: int, kill: str = "never", resume: bool = False) -> list[Step]:
    """Run `timesformer train` in several processes; gives the steps, those before a resumption included."""
    record = folder / "record"
    record.mkdir(parents=True, exist_ok=True)
    (folder / "run.toml").write_text(dump_toml(run))
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--max-restarts=3"]
    program = [str(Path(__file__).with_name("recorded_training.py")), str(record), kill]
    arguments = ["train", "--config", str(folder / "run.toml"), *(["--resume"] if resume else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, *(torchrun if processes > 1 else []), *program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")
    return read_steps(record)


def weights_of(run: RunConfig) -> dict[str, torch.Tensor]:
    """The weights of the model that a run kept, which is that of its last epoch."""
    return load(run.output).state_dict()


def difference(first: RunConfig, second: RunConfig) -> float:
    """Largest absolute difference of a weight."""
    weights, others = weights_of(first), weights_of(second)
    assert weights.keys() == others.keys()
    return max(float((weights[name] - others[name]).abs().max()) for name in weights)


def loss_difference(first: Sequence[Step], second: Sequence[Step]) -> float:
    """Largest absolute difference of the loss of a step; infinite if the steps differ in number or videos."""
    if [step[:2] + step[3:] for step in first] != [step[:2] + step[3:] for step in second]:
        return float("inf")
    return max(abs(one.loss - other.loss) for one, other in zip(first, second, strict=True))


def compare(run: RunConfig, folder: Path, *, alone: RunConfig, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """All strategies and numbers of processes against one process."""
    rows = []
    strategies: tuple[Strategy, ...] = ("ddp", "fsdp")
    for strategy in strategies:
        for processes in (2, 4):
            where = folder / f"{strategy}{processes}"
            other = replace(run, strategy=strategy, output=str(where / "run"))
            found = start(other, where, processes=processes)
            rows.append(
                {
                    "optimizer": run.optim.optimizer,
                    "strategy": strategy,
                    "processes": processes,
                    "steps": len(found),
                    "max_weight_difference": difference(alone, other),
                    "max_loss_difference": loss_difference(steps, found),
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def resume_on_fewer(run: RunConfig, folder: Path, *, alone: RunConfig, steps: Sequence[Step]) -> dict[str, Any]:
    """4 processes for 3 epochs, 2 for 3, 1 for the rest."""
    stages = [("fsdp", 4, 3), ("fsdp", 2, 6), ("auto", 1, EPOCHS)]
    other, found = run, []
    for number, (strategy, processes, _) in enumerate(stages):
        other = replace(run, strategy=strategy, output=str(folder / "run"))
        # a run is stopped by the failure of its processes, which start no more often than three times
        found = start(other, folder, processes=processes, resume=number > 0)
    return {
        "processes": [processes for _, processes, _ in stages],
        "max_weight_difference": difference(alone, other),
        "max_loss_difference": loss_difference(steps, found),
    }


def main() -> None:
    """Run all cases and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="folder for runs and videos; a temporary one by default")
    folder = parser.parse_args().folder
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        sys.exit(_run_all(folder))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(_run_all(Path(temporary)))
