"""Sums of an epoch over its samples: loss, hits, skipped videos."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxtyping import Float, Int
from torch import Tensor

from timesformer.errors import DataError


@dataclass(slots=True)
class Tally:
    """Sums over samples, so that means do not depend on the batching."""

    count: int = 0
    loss: float = 0.0
    top1: int = 0
    top5: int = 0
    skipped: list[str] = field(default_factory=list)
    """The error message of each skipped video, without duplicates."""

    def add(self, logits: Float[Tensor, "b k"], labels: Int[Tensor, " b"], *, loss: float) -> None:
        """Add a batch with mean loss `loss`. With fewer than five classes, top-5 counts every sample as correct."""
        best = logits.detach().topk(min(5, logits.shape[1])).indices
        hits = (best == labels[:, None]).sum(dim=0).tolist()
        self.count += len(labels)
        self.loss += loss * len(labels)
        self.top1 += hits[0]
        self.top5 += sum(hits)

    def merge(self, other: "Tally") -> None:
        """Add the sums of another tally."""
        self.count += other.count
        self.loss += other.loss
        self.top1 += other.top1
        self.top5 += other.top5
        self.skip(other.skipped)

    def skip(self, messages: Sequence[str]) -> None:
        """Add the messages of skipped videos."""
        self.skipped += [message for message in dict.fromkeys(messages) if message not in self.skipped]

    def check_not_empty(self, kind: str) -> None:
        """Refuse an epoch without samples.

        Raises:
            DataError: All videos were skipped.
        """
        if not self.count:
            first = f"; the first: {self.skipped[0]}" if self.skipped else ""
            raise DataError(f"no {kind} video of the epoch could be decoded, {len(self.skipped)} were skipped{first}")
