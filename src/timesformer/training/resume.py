"""The state of a run in its last checkpoint, for `resume`."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import torch

from timesformer.errors import ConfigError, TimeSformerError, WeightsError
from timesformer.training.history import EpochRecord, read_record
from timesformer.training.shards import check_shards
from timesformer.weights.pickles import DAMAGED


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSize:
    """Number of videos of a run; it must not change when the run is resumed."""

    train: int
    val: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeState:
    """Progress of a run when its checkpoint was written; the default is a run that has not begun."""

    history: tuple[EpochRecord, ...] = ()
    """Completed epochs."""
    batches: int = 0
    """Micro-batches of the next epoch that are already done."""

    @property
    def epochs(self) -> int:
        """Number of completed epochs."""
        return len(self.history)

    @property
    def has_begun(self) -> bool:
        """Whether at least one micro-batch is done."""
        return self.epochs > 0 or self.batches > 0


def read_resume_state(checkpoint: Path, *, size: DataSize) -> ResumeState:
    """Read the progress of a run from its checkpoint.

    Raises:
        WeightsError: The file is damaged, be it in a single byte.
        ConfigError: The run had another number of videos when the checkpoint was written.
    """
    try:
        check_bytes(checkpoint)
        state = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        check_shards(state, checkpoint)
        recorder = state["callbacks"]["Recorder"]
        history = tuple(read_record(record) for record in recorder["history"])
        resumed = ResumeState(history=history, batches=recorder.get("batches", 0))
        saved = DataSize(**recorder["size"])
    except TimeSformerError:
        raise
    except (*DAMAGED, OSError) as error:
        raise WeightsError(
            f"{checkpoint}: is not a checkpoint of a run, or damaged: {error}{_other_start(checkpoint)}"
        ) from error
    if saved != size:
        raise ConfigError(
            f"{checkpoint}: the run had {saved.train} training and {saved.val} validation videos, now there are "
            f"{size.train} and {size.val}; resume it with the same videos"
        )
    return resumed


def _other_start(checkpoint: Path) -> str:
    """What to do without a checkpoint."""
    best = checkpoint.with_name("best.ckpt")
    if checkpoint.name == best.name or not best.exists():
        return "; restore it, or start again with overwrite=True (--overwrite)"
    return f"; restore it, or delete it to resume from {best.name}, the end of the best epoch, with equal results"


def check_bytes(checkpoint: Path) -> None:
    """Compare the bytes of a checkpoint with the CRC-32 that `torch.save` stores for each tensor and never checks.

    Raises:
        OSError: The file cannot be read.
        BadZipFile: It is damaged.
    """
    with ZipFile(checkpoint) as file:
        damaged = file.testzip()
    if damaged is not None:
        raise BadZipFile(f"the checksum of {damaged!r} is wrong")
