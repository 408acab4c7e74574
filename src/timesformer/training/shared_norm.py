"""Batch statistics of `head_norm="batch"` over a micro-batch that ranks divide."""

from jaxtyping import Float
from torch import Tensor
from torch.distributed.nn.functional import all_reduce

from timesformer.model.layers import Moments
from timesformer.training.ranks import Ranks


class SharedMoments:
    """Number of clips, mean and variance of their features over all ranks, with gradients to the clips of each.

    Every rank calls it once in a micro-batch. While `is_idle` is set, this one has no clips, and its rows do not count.

    Args:
        ranks: The ranks.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.is_idle = False
        self._ranks = ranks

    def __call__(self, x: Float[Tensor, "b d"]) -> Moments:
        """The moments of the rows of all ranks."""
        weight = 0.0 if self.is_idle else 1.0
        count = self._ranks.total(0 if self.is_idle else len(x))
        mean = _total(weight * x.float().sum(dim=0)) / max(count, 1)
        variance = _total(weight * (x.float() - mean).square().sum(dim=0)) / max(count, 1)
        return Moments(count, mean, variance)


def _total(x: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    total: Tensor = all_reduce(x)
    return total
