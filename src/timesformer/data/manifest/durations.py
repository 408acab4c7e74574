"""Lengths in seconds of the videos and segments of a manifest."""

from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from timesformer.data.manifest.manifest import Sample
from timesformer.data.video.reader import open_reader, probe
from timesformer.errors import DecodeError

_MOST_PROBED = 100


class FrameTimes(NamedTuple):
    """Times of a video, in seconds from the first frame."""

    starts: Float64[np.ndarray, " n"]
    """When each frame is shown."""
    end: float
    """When the last frame ends, by the usual frame interval."""


def frame_times(path: Path, *, allow_codecs: Collection[str] = ()) -> FrameTimes:
    """Times of the frames of a video: one pass over the file, one frame decoded.

    Raises:
        DecodeError: As `timesformer.data.video.reader.probe`.
    """
    with open_reader(path, allow_codecs=allow_codecs) as reader:
        starts = reader.times
        return FrameTimes(starts, float(starts[-1]) + 1 / reader.info.fps)


def median_seconds(
    samples: Sequence[Sample], *, allow_codecs: Collection[str] = (), most: int = _MOST_PROBED
) -> float | None:
    """Median length in seconds of up to `most` samples, evenly spaced in the list.

    A segment is as long as it says; a whole video is as long as its frames last, without gaps in the timestamps.

    Args:
        samples: Videos and segments.
        allow_codecs: As in `probe`.
        most: Largest number of samples to measure, at least 1: reading a whole video's length takes a pass over it.

    Returns:
        The median, to the microsecond; None if there are no samples, or none can be read.
    """
    chosen = [samples[number * len(samples) // most] for number in range(most)] if len(samples) > most else samples
    lengths = [_seconds(sample, allow_codecs=allow_codecs) for sample in chosen]
    known = [length for length in lengths if length is not None]
    return round(float(median(known)), 6) if known else None


def _seconds(sample: Sample, *, allow_codecs: Collection[str]) -> float | None:
    if sample.segment is not None:
        return sample.segment.end - sample.segment.start
    try:
        return probe(sample.path, allow_codecs=allow_codecs).duration_s
    except DecodeError:  # training raises or skips it
        return None
