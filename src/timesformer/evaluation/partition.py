"""Partition of the videos among processes, and its inverse, as pure functions.

The unit is a batch of consecutive videos: a video has the same neighbors in its batch for any number of processes, so
its probabilities are equal to the last bit.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from timesformer.config.schema import ClipConfig
from timesformer.errors import ConfigError, DataError
from timesformer.evaluation.predictions import Outcome
from timesformer.inference.videos import videos_per_batch


def plan_batches(num_videos: int, *, clip: ClipConfig, batch_size: int) -> list[range]:
    """Divide videos into consecutive batches of at most `batch_size` views, but at least one video.

    With `coverage` the number of views is unknown until a video is opened, so each video is a batch.

    Args:
        num_videos: Number of videos.
        clip: Views of a video.
        batch_size: Views per forward pass.

    Returns:
        Indices of the videos, 0 to `num_videos - 1`, each once and in order.
    """
    size = videos_per_batch(clip, batch_size=batch_size)
    return [range(first, min(first + size, num_videos)) for first in range(0, num_videos, size)]


def partition(batches: Sequence[range], *, rank: int, num_processes: int) -> list[range]:
    """Batches of one process: every `num_processes`-th, from index `rank` on.

    Raises:
        ConfigError: No process has this rank.
    """
    if not 0 <= rank < num_processes:
        raise ConfigError(f"rank={rank} must lie between 0 and {num_processes - 1} with num_processes={num_processes}")
    return list(batches[rank::num_processes])


def merge(outcomes: Iterable[Outcome], *, num_videos: int) -> list[Outcome]:
    """Sort the outcomes of all processes into the order of the manifest.

    Raises:
        DataError: A video is missing, repeated or not in the manifest.
    """
    by_index = sorted(outcomes, key=lambda outcome: outcome.index)
    counts = Counter(outcome.index for outcome in by_index)
    missing = [index for index in range(num_videos) if not counts[index]]
    repeated = [index for index, count in counts.items() if count > 1]
    unknown = [index for index in counts if not 0 <= index < num_videos]
    if missing or repeated or unknown:
        raise DataError(
            f"the outcomes do not match the {num_videos} videos: missing {missing[:5]}, more than once {repeated[:5]}, "
            f"out of range {unknown[:5]}"
        )
    return by_index
