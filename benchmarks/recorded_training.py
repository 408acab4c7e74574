"""`timesformer train` that lists, for each optimizer step, the videos and the loss that went into it.

    torchrun ... recorded_training.py FOLDER KILL ARGUMENTS...

Each process appends to a file of its own in FOLDER, one for each start: RECORDED_START in the environment counts those
of torchrun, which counts its restarts. KILL is `never`, or `STEP:RANK`: this rank is killed (-9) in the last
micro-batch of this step, counted from 0, unless torchrun has started the processes again.
"""

import json
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

_MANY = 1_000_000
"""More than the number of classes: a label carries the number of its video above that."""


class Step(NamedTuple):
    """An optimizer step as its processes saw it."""

    epoch: int
    """From 0."""
    step: int
    """From 0, over all epochs."""
    loss: float
    """Mean over the clips."""
    videos: tuple[int, ...]
    """Numbers of the videos, sorted."""


def read_steps(folder: Path) -> list[Step]:
    """The steps that led to the final weights: those that a restart did again replace those lost with a process."""
    starts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(folder.glob("start*_rank*.jsonl")):
        starts[path.name.split("_")[0]] += map(json.loads, path.read_text().splitlines())
    steps: dict[int, list[dict[str, Any]]] = {}
    for parts in starts.values():
        first = min(part["step"] for part in parts)
        steps = {step: kept for step, kept in steps.items() if step < first}
        for part in parts:
            steps.setdefault(part["step"], []).append(part)
    return [_merged(step, parts) for step, parts in sorted(steps.items())]


def epochs_of(steps: Iterable[Step]) -> list[list[int]]:
    """The videos of each epoch, sorted."""
    epochs: dict[int, list[int]] = defaultdict(list)
    for step in steps:
        epochs[step.epoch] += step.videos
    return [sorted(videos) for _, videos in sorted(epochs.items())]


def _merged(step: int, parts: list[dict[str, Any]]) -> Step:
    clips = sum(part["clips"] for part in parts)
    loss = sum(part["loss"] for part in parts) / clips
    return Step(parts[0]["epoch"], step, loss, tuple(sorted(video for part in parts for video in part["videos"])))


def record(folder: Path, *, kill: str) -> None:
    """Record the steps of this process from now on."""
    from timesformer.data.clips.dataset import TrainClips
    from timesformer.training.lightning_module import ClipClassifier

    names = ("RECORDED_START", "TORCHELASTIC_RESTART_COUNT", "RANK")
    start, restarts, rank = (os.environ.get(name, "0") for name in names)
    path = folder / f"start{start}.{restarts}_rank{rank}.jsonl"
    pending: dict[str, Any] = {"clips": 0, "loss": 0.0, "videos": []}
    classifier: Any = ClipClassifier  # whose methods are replaced
    read, transfer = TrainClips.__getitem__, classifier.on_after_batch_transfer
    train, update = classifier.training_step, classifier.optimizer_step

    def numbered(self: TrainClips, index: int) -> Any:
        clips, label = read(self, index)
        return clips, label + _MANY * (index + 1)

    def transferred(self: ClipClassifier, batch: Any, loader: int) -> Any:
        batch = transfer(self, batch, loader)
        pending["videos"] += [int(label) // _MANY - 1 for label in batch.labels if label >= _MANY]
        return batch._replace(labels=batch.labels % _MANY)

    def trained(self: ClipClassifier, batch: Any, number: int) -> Any:
        is_last = (number + 1) % self._run.accumulate == 0
        if restarts == "0" and is_last and kill == f"{self.global_step}:{rank}":
            os.kill(os.getpid(), signal.SIGKILL)
        clips, loss = self._train.count, self._train.loss
        result = train(self, batch, number)
        pending["clips"] += self._train.count - clips
        pending["loss"] += self._train.loss - loss
        return result

    def updated(self: ClipClassifier, *arguments: Any, **options: Any) -> None:
        step = self.global_step
        update(self, *arguments, **options)
        with path.open("a") as file:
            print(json.dumps({"epoch": self.current_epoch, "step": step, **pending}), file=file)
        pending.update(clips=0, loss=0.0, videos=[])

    TrainClips.__getitem__ = numbered
    classifier.on_after_batch_transfer = transferred
    classifier.training_step = trained
    classifier.optimizer_step = updated


if __name__ == "__main__":
    from timesformer.cli.main import main

    record(Path(sys.argv[1]), kill=sys.argv[2])
    main(sys.argv[3:])
