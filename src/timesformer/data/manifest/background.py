"""Segments of background: time of the same videos that no segment labels.

Each video gets background in proportion to the seconds that its segments label, where segments overlap only once. The
lengths are drawn from those of the labeled segments of the list, the positions uniformly from the free time. Background
overlaps neither a labeled segment nor other background. The draws of a video depend only on the seed, the name of its
file and the list, so equal lists give equal background on every machine.
"""

import hashlib
import logging
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from timesformer.config.checks import check_positive
from timesformer.data.manifest.durations import FrameTimes, frame_times
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.video.segment import Segment
from timesformer.errors import DataError, DecodeError

logger = logging.getLogger(__name__)

BACKGROUND = "background"
"""Name of the class, which stands for none of the others and gives no segments in a timeline."""

_EPSILON = 1e-9  # s: free time that rounding leaves between labels that meet


def with_background(
    manifest: Manifest,
    *,
    ratio: float,
    seed: int,
    source: str = "background",
    allow_codecs: Collection[str] = (),
    skips_unreadable: bool = False,
) -> Manifest:
    """Add segments of background, with the class `background`.

    Args:
        manifest: The labeled segments. If none of its classes is called `background`, the class comes after the others.
        ratio: Seconds of background per labeled second, greater than 0 and finite. Less is added where a video has no
            room for it, with a warning if that is noticeable.
        seed: Seed of the draws, 0 or more.
        source: What asks for background and for which list, for messages.
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`.
        skips_unreadable: Give a video that cannot be read no background, instead of raising its error.

    Returns:
        The labeled segments, then the background, video by video.

    Raises:
        ConfigError: `ratio` is out of range.
        DataError: A sample is a whole video, the list itself labels background, or no video has unlabeled time.
        DecodeError: A video cannot be read, and `skips_unreadable` is False.
    """
    check_positive("background", ratio)
    _check(manifest, source=source)
    names = manifest.class_names if BACKGROUND in manifest.class_names else (*manifest.class_names, BACKGROUND)
    labeled = _by_video(manifest)
    lengths = np.array([segment.end - segment.start for own in labeled.values() for segment in own], dtype=np.float64)
    groups = {sample.path: sample.group for sample in manifest.samples}
    added: list[Sample] = []
    for path, own in labeled.items():
        times = _frame_times(path, allow_codecs=allow_codecs, skips_unreadable=skips_unreadable)
        drawn = [] if times is None else _draw(times, own, lengths, ratio=ratio, seed=_seed(seed, path))
        added += [Sample(path, names.index(BACKGROUND), groups[path], segment) for segment in drawn]
    _report(labeled, added, ratio=ratio, source=source)
    return Manifest((*manifest.samples, *added), names)


def _check(manifest: Manifest, *, source: str) -> None:
    used = {manifest.class_names[sample.label] for sample in manifest.samples}
    by_hand = next((name for name in used if name.casefold() == BACKGROUND), None)
    if by_hand is not None:
        raise DataError(
            f"{source}: unlabeled time would become the class {BACKGROUND!r}, but {by_hand!r} is labeled in the list: "
            "set background to 0 to use the labeled segments alone, or rename that class"
        )
    whole = next((sample for sample in manifest.samples if sample.segment is None), None)
    if whole is not None:
        raise DataError(
            f"{source}: {whole.path} is labeled as a whole, so no time is left for background: give every line a start "
            "and an end, or set background to 0"
        )


def _by_video(manifest: Manifest) -> dict[Path, list[Segment]]:
    labeled: dict[Path, list[Segment]] = {}
    for sample in manifest.samples:
        if sample.segment is not None:
            labeled.setdefault(sample.path, []).append(sample.segment)
    return labeled


def _frame_times(path: Path, *, allow_codecs: Collection[str], skips_unreadable: bool) -> FrameTimes | None:
    try:
        return frame_times(path, allow_codecs=allow_codecs)
    except DecodeError:
        if skips_unreadable:  # its labeled segments are skipped too, and counted
            return None
        raise


def _seed(seed: int, path: Path) -> list[int]:
    """Seed of a video; the name of the file alone, since folders differ between machines."""
    return [seed, int.from_bytes(hashlib.blake2b(path.name.encode("utf-8", "surrogateescape"), digest_size=8).digest())]


def _draw(
    times: FrameTimes,
    labeled: Sequence[Segment],
    lengths: Float64[np.ndarray, " m"],
    *,
    ratio: float,
    seed: Sequence[int],
) -> list[Segment]:
    """Background of one video, in order of time."""
    generator = np.random.default_rng(seed)
    covered = merged(labeled)
    wanted = ratio * sum(segment.end - segment.start for segment in covered)
    free, drawn, total = list(_gaps(covered, end=times.end)), [], 0.0
    while free:
        room = max(gap.end - gap.start for gap in free)
        # one more as long as it brings the total closer to what is wanted
        fitting = lengths[(lengths <= room) & (total + lengths / 2 <= wanted)]
        if not len(fitting):
            break
        length = float(generator.choice(fitting))
        segment, free = _place(free, length, generator)
        if segment.frames(times.starts):
            drawn.append(segment)
        total += length  # time between frames that lie far apart counts too, so that the loop ends
    return sorted(drawn)


def _place(free: Sequence[Segment], length: float, generator: np.random.Generator) -> tuple[Segment, list[Segment]]:
    """A segment of a length at a random place, uniform over all places, and what is still free."""
    wide = [gap for gap in free if gap.end - gap.start >= length]
    slack = np.array([gap.end - gap.start - length for gap in wide]) + _EPSILON
    gap = wide[generator.choice(len(wide), p=slack / slack.sum())]
    start = min(gap.start + generator.random() * (gap.end - gap.start - length), gap.end - length)
    segment = Segment(max(start, gap.start), min(start + length, gap.end))
    rest = [Segment(gap.start, segment.start), Segment(segment.end, gap.end)]
    others = [other for other in free if other is not gap]
    return segment, others + [part for part in rest if part.end - part.start > _EPSILON]


def merged(segments: Sequence[Segment]) -> list[Segment]:
    """The time that segments cover, as segments that neither overlap nor touch, in order of time."""
    parts: list[Segment] = []
    for segment in sorted(segments):
        if parts and segment.start <= parts[-1].end:
            parts[-1] = Segment(parts[-1].start, max(parts[-1].end, segment.end))
        else:
            parts.append(Segment(*segment))
    return parts


def _gaps(covered: Sequence[Segment], *, end: float) -> Iterator[Segment]:
    edges = [0.0, *(time for segment in covered for time in segment), end]
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if min(stop, end) - start > _EPSILON:
            yield Segment(start, min(stop, end))


def _report(labeled: dict[Path, list[Segment]], added: Sequence[Sample], *, ratio: float, source: str) -> None:
    wanted = ratio * sum(segment.end - segment.start for own in labeled.values() for segment in merged(own))
    found = sum(sample.segment.end - sample.segment.start for sample in added if sample.segment is not None)
    if not added:
        raise DataError(
            f"{source}: no video has unlabeled time for a segment as long as the labeled ones: set background to 0"
        )
    num_videos = len({sample.path for sample in added})
    say = logger.warning if found < 0.9 * wanted else logger.info
    say("%s: %d segments of %d videos, %.1f s of %.1f s", source, len(added), num_videos, found, wanted)
