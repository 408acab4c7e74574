"""`timesformer train` that lists, for each optimizer step, the videos and the loss that went into it.

    torchrun ... recorded_training.py FOLDER KILL ARGUMENTS...

Each process appends to a file of its own in FOLDER. KILL is `never`, or `STEP:RANK`: this rank is killed (-9) in the
second micro-batch of this step, counted from 0, unless the processes were started again.
"""

import json
import os
import signal
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
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
    """The steps that led to the final weights; those that were lost with a killed process are left out.

    Steps done again after a restart replace the first ones.
    """
    starts: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for path in folder.glob("start*_rank*.jsonl"):
        starts[int(path.name.removeprefix("start").split("_")[0])] += _lines(path)
    parts: dict[int, list[dict[str, Any]]] = {}
    for _, found in sorted(starts.items()):
        first = min((part["step"] for part in found), default=0)
        kept = {step: listed for step, listed in parts.items() if step < first}
        parts = kept | {step: [part for part in found if part["step"] == step] for step in {p["step"] for p in found}}
    return [_merged(step, listed) for step, listed in sorted(parts.items())]


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


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        yield json.loads(line)


def record(folder: Path, *, kill: str) -> None:
    """Record the steps of this process from now on."""
    from timesformer.data.clips.dataset import TrainClips
    from timesformer.training.lightning_module import ClipClassifier

    start, rank = (os.environ.get(name, "0") for name in ("TORCHELASTIC_RESTART_COUNT", "RANK"))
    path = folder / f"start{start}_rank{rank}.jsonl"
    pending: dict[str, Any] = {"clips": 0, "loss": 0.0, "videos": []}
    read, transfer = TrainClips.__getitem__, ClipClassifier.on_after_batch_transfer
    train, update = ClipClassifier.training_step, ClipClassifier.optimizer_step

    def numbered(self: TrainClips, index: int) -> Any:
        clips, label = read(self, index)
        return clips, label + _MANY * (index + 1)

    def transferred(self: ClipClassifier, batch: Any, loader: int) -> Any:
        batch = transfer(self, batch, loader)
        pending["videos"] += [int(label) // _MANY - 1 for label in batch.labels if label >= _MANY]
        return batch._replace(labels=batch.labels % _MANY)

    def trained(self: ClipClassifier, batch: Any, number: int) -> Any:
        is_second = number % self._run.accumulate == min(1, self._run.accumulate - 1)
        if start == "0" and is_second and kill == f"{self.global_step}:{rank}":
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
    ClipClassifier.on_after_batch_transfer = transferred
    ClipClassifier.training_step = trained
    ClipClassifier.optimizer_step = updated


if __name__ == "__main__":
    from timesformer.cli.main import main

    record(Path(sys.argv[1]), kill=sys.argv[2])
    main(sys.argv[3:])
