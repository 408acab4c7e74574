"""The share of each rank in the work: the videos of every micro-batch."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from torch.utils.data import BatchSampler, Sampler, SequentialSampler

from timesformer.config.run import RunConfig
from timesformer.errors import ConfigError, DataError
from timesformer.training.ranks import Ranks

if TYPE_CHECKING:
    from timesformer.training.dataloaders import Split


class Shares(Sampler[list[int]]):
    """The share of one rank in each micro-batch; empty if a smaller last one has no video left for it.

    Every rank has as many micro-batches, and together they have each video once.

    Args:
        order: Order of the videos of all ranks.
        batch_size: Videos in a micro-batch of all ranks.
        divide: Choice of a rank's positions in a micro-batch, from its number of videos, the rank and the number of
            ranks: `consecutive_share` or `paired_share`.
        rank: The rank, from 0.
        num_ranks: Number of ranks.
    """

    def __init__(
        self,
        order: Sampler[int] | SequentialSampler,
        *,
        batch_size: int,
        divide: Callable[[int, int, int], list[int]],
        rank: int,
        num_ranks: int,
    ) -> None:
        self.sampler = order  # by this name the trainer finds it and sets its epoch
        self._batches = BatchSampler(order, batch_size, drop_last=False)
        self._divide = divide
        self._rank = rank
        self._num_ranks = num_ranks

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._batches:
            yield [batch[position] for position in self._divide(len(batch), self._rank, self._num_ranks)]


def consecutive_share(count: int, rank: int, num_ranks: int) -> list[int]:
    """Positions of a rank among `count`: consecutive, and equally many for each rank, or one more."""
    return list(range(count * rank // num_ranks, count * (rank + 1) // num_ranks))


def paired_share(count: int, rank: int, num_ranks: int) -> list[int]:
    """The same for pairs of the first and the last position, the second and the last but one, and so on.

    They keep their order, so that a rank's own positions pair up in the same way. The middle one of an odd number has
    no partner.
    """
    pairs = consecutive_share((count + 1) // 2, rank, num_ranks)
    return sorted({*pairs, *(count - 1 - position for position in pairs)})


def check_shares(run: RunConfig, *, num_ranks: int) -> None:
    """Refuse a run whose micro-batches cannot be divided equally among ranks.

    Raises:
        ConfigError: The batch does not divide.
    """
    mixes = run.augment.mixup > 0 or run.augment.cutmix > 0
    unit = num_ranks * (2 if mixes else 1)
    if run.videos_per_micro_batch % unit == 0:
        return
    step = unit * run.accumulate * run.augment.repeats
    below = run.batch_size // step * step
    sizes = " or ".join(str(size) for size in (below, below + step) if size)
    raise ConfigError(
        f"batch_size={run.batch_size} with accumulate={run.accumulate}{_repeats(run)} has micro-batches of "
        f"{run.videos_per_micro_batch} videos, which {num_ranks} processes cannot divide equally"
        f"{' into pairs for mixup and cutmix' if mixes else ''}: use batch_size={sizes}"
    )


def _repeats(run: RunConfig) -> str:
    return f" and augment.repeats={run.augment.repeats}" if run.augment.repeats > 1 else ""


def check_same_task(run: RunConfig, split: "Split", ranks: Ranks) -> None:
    """Refuse ranks that were started with another config or found other videos.

    Raises:
        DataError: They differ.
    """
    hashes = ranks.gather(_fingerprint(run, split))
    for rank, found in enumerate(hashes):
        if found != hashes[0]:
            raise DataError(f"rank {rank} has another config or other videos than rank 0: start all ranks alike")


def _fingerprint(run: RunConfig, split: "Split") -> str:
    """Hash of all that must be equal in all ranks; folder names may differ between machines."""
    samples = [[(sample.path.name, sample.label, sample.segment) for sample in part.samples] for part in split]
    data = replace(run.data, train="", val="", num_workers=0)
    start, teachers = "-" if run.init_from else "", ("-",) * len(run.distill_from)
    task = replace(run, data=data, device="cpu", output="-", init_from=start, distill_from=teachers)
    return hashlib.sha256(repr((task, samples, split.train.class_names)).encode()).hexdigest()
