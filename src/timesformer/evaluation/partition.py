"""How videos are divided among processes, and how what comes back becomes one answer: pure functions.

The unit that is dealt is a batch of neighboring videos, not a video: then a video shares its batch with the same
others whatever the number of processes, and rounding gives its answer the same last bit.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from timesformer.config.schema import ClipConfig
from timesformer.errors import ConfigError, DataError
from timesformer.evaluation.predictions import Outcome


def plan_batches(num_videos: int, *, clip: ClipConfig, batch_size: int) -> list[range]:
    """Divide videos into batches of neighbors that have `batch_size` views at most, but one video at least.

    With `coverage` the number of views is not known before a video is opened: every video is a batch then.

    Args:
        num_videos: Videos in all.
        clip: Which views a video has.
        batch_size: Views that go through the model at once.

    Returns:
        Places of the videos in their manifest, 0 to `num_videos - 1`, each once and in order.
    """
    views = clip.num_clips * clip.num_crops
    size = 1 if clip.sampling == "coverage" else max(1, batch_size // views)
    return [range(first, min(first + size, num_videos)) for first in range(0, num_videos, size)]


def deal(batches: Sequence[range], *, rank: int, num_processes: int) -> list[range]:
    """Take the batches of one process: every `num_processes`-th, from number `rank` on. Nothing is dealt twice.

    Raises:
        ConfigError: There is no process of this rank.
    """
    if not 0 <= rank < num_processes:
        raise ConfigError(f"rank={rank} must lie between 0 and {num_processes - 1}, there being {num_processes}")
    return list(batches[rank::num_processes])


def merge(outcomes: Iterable[Outcome], *, num_videos: int) -> list[Outcome]:
    """Put what processes found back into the order of the manifest.

    Raises:
        DataError: A video is missing, there twice, or none of the manifest's.
    """
    by_place = sorted(outcomes, key=lambda outcome: outcome.index)
    counts = Counter(outcome.index for outcome in by_place)
    missing = [index for index in range(num_videos) if not counts[index]]
    repeated = [index for index, count in counts.items() if count > 1]
    foreign = [index for index in counts if not 0 <= index < num_videos]
    if missing or repeated or foreign:
        raise DataError(
            f"the parts do not make up the {num_videos} videos: missing {missing[:5]}, more than once {repeated[:5]}, "
            f"beyond the last {foreign[:5]}"
        )
    return by_place
