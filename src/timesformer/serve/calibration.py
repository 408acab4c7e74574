"""Number of requests that a server may take at a time so that none takes much longer than one alone, measured."""

import time
from collections.abc import Callable
from statistics import median

import torch

from timesformer.inference.predictor import Predictor
from timesformer.serve.limits import ServeLimits

_REPEATS = 3


def measured_places(predictor: Predictor, limits: ServeLimits) -> int:
    """Number of requests to take at a time; the model has computed once afterwards.

    A request that arrives waits at worst for the batch that is computed, and then for its own. So an answer takes at
    most `max_slowdown` times as long as alone if a batch takes at most half of that. One batch that is computed, one
    that waits and one video that is decoded make the places.

    Args:
        predictor: The model.
        limits: `max_slowdown` is the limit; 0 means none, and the places are `queue`, which is the most in any case.
    """
    config, clip = predictor.model.config, predictor.model.info.clip
    views = clip.num_clips * clip.num_crops

    def seconds(num_videos: int) -> float:
        clips = torch.zeros(num_videos * views, 3, config.num_frames, *config.image_size, dtype=torch.uint8)
        return _median_seconds(lambda: predictor.logits(clips))

    predictor.logits(torch.zeros(1, 3, config.num_frames, *config.image_size, dtype=torch.uint8))
    if not limits.max_slowdown:
        return limits.queue
    return min(limits.queue, places(seconds, max_batch=limits.max_batch // views, max_slowdown=limits.max_slowdown))


def places(seconds: Callable[[int], float], *, max_batch: int, max_slowdown: float) -> int:
    """See `measured_places`.

    Args:
        seconds: Time of a batch in seconds, by its number of videos.
        max_batch: Largest number of videos in a batch.
        max_slowdown: The limit.
    """
    alone_s, batch = seconds(1), 1
    while 2 * batch <= max_batch and seconds(2 * batch) <= max_slowdown / 2 * alone_s:
        batch *= 2
    return 2 * batch + 1


def _median_seconds(compute: Callable[[], object]) -> float:
    times = []
    for _ in range(_REPEATS):
        start_s = time.perf_counter()
        compute()
        times.append(time.perf_counter() - start_s)
    return median(times)
