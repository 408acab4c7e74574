"""The check of a data set: decodes every file once, names every finding, changes nothing."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from timesformer.data.check.cache import FingerprintCache, cache_path, fingerprint_all
from timesformer.data.check.duplicates import Group, duplicate_faults, group_by_content
from timesformer.data.check.findings import KINDS, Finding, about_segments
from timesformer.data.check.fingerprint import Fingerprint
from timesformer.data.check.listing import ListedDataset, ListedVideo, read_listing
from timesformer.data.check.names import name_faults
from timesformer.data.check.origins import group_faults
from timesformer.data.check.segments import SegmentFault, labeled_seconds, read_frame_times, segment_faults
from timesformer.data.manifest.durations import FrameTimes
from timesformer.data.manifest.video_search import REASONS
from timesformer.data.video.file_stat import video_exists
from timesformer.errors import ConfigError, DecodeError

MAX_IMBALANCE = 10
"""Largest accepted ratio of the largest class to the smallest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataCheck:
    """A data set and its findings."""

    source: str
    """The checked folder or file, as given."""
    listing: ListedDataset
    """All videos as listed."""
    fingerprints: dict[Path, Fingerprint]
    """Result of decoding each existing file."""
    groups: tuple[tuple[int, ...], ...]
    """Groups of two or more videos with the same content, as indices into `listing.videos`."""
    findings: tuple[Finding, ...]
    """Findings in the order of `KINDS`."""
    segment_faults: tuple[SegmentFault, ...] = ()
    """Findings about segments, with the indices of their entries in `listing.videos`."""
    frame_times: Mapping[Path, FrameTimes] = field(default_factory=dict)
    """Times of the frames of each readable video with segments."""
    allow_codecs: tuple[str, ...] = ()
    """Codecs that were decoded in addition to the default ones."""

    @property
    def num_errors(self) -> int:
        """Findings that are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def num_warnings(self) -> int:
        """Findings that are warnings."""
        return len(self.findings) - self.num_errors

    @property
    def counts(self) -> dict[str, int]:
        """Number of findings of each kind that occurs."""
        return dict(Counter(finding.kind for finding in self.findings))

    @property
    def readable(self) -> list[Fingerprint]:
        """Fingerprint of each file with decodable frames."""
        return [found for found in self.fingerprints.values() if not found.error]

    def class_counts(self, split: str) -> list[int]:
        """Videos, or segments, of each class in one split."""
        counted = Counter(video.label for video in self.listing.videos if video.split == split)
        return [counted[label] for label in range(len(self.listing.class_names))]

    def num_videos(self, split: str) -> int:
        """Number of videos in a split; without segments, a video that is listed twice counts twice."""
        paths = [video.path for video in self.listing.videos if video.split == split]
        return len(set(paths)) if self.listing.has_segments else len(paths)

    def num_entries(self, split: str) -> int:
        """Number of entries of a split: videos and segments."""
        return sum(video.split == split for video in self.listing.videos)

    def num_groups(self, split: str) -> int:
        """Number of groups in a split."""
        return len({video.group for video in self.listing.videos if video.split == split and video.group})

    def to_dict(self) -> dict[str, Any]:
        """The check as JSON-compatible values."""
        return {
            "source": self.source,
            "num_videos": {split: self.num_videos(split) for split in ("train", "val")},
            "num_groups": {split: self.num_groups(split) for split in ("train", "val")},
            **(self._segments() if self.listing.has_segments else {}),
            "classes": {
                name: {"train": train, "val": val}
                for name, train, val in zip(
                    self.listing.class_names, self.class_counts("train"), self.class_counts("val"), strict=True
                )
            },
            "num_errors": self.num_errors,
            "num_warnings": self.num_warnings,
            "counts": self.counts,
            "other_files": dict(self.listing.others),
            "findings": [finding.to_dict() for finding in self.findings],
            "spread": {name: spread(values) for name, values in self.measures().items()},
            "sizes": dict(self.sizes()),
        }

    def _segments(self) -> dict[str, Any]:
        """Numbers of segments, and seconds with and without a label."""
        labeled, unlabeled = self.labeled_seconds()
        return {
            "num_segments": {split: self.num_entries(split) for split in ("train", "val")},
            "seconds": {"labeled": labeled, "unlabeled": unlabeled},
        }

    def labeled_seconds(self) -> tuple[float, float]:
        """Labeled and unlabeled seconds of the readable videos with segments."""
        return labeled_seconds(self.listing.videos, self.frame_times)

    def measures(self) -> dict[str, list[float]]:
        """Number of frames, frame rate and duration of each readable file."""
        return {
            "num_frames": [float(found.num_frames) for found in self.readable],
            "fps": [found.fps for found in self.readable],
            "duration_s": [found.duration_s for found in self.readable],
        }

    def sizes(self) -> list[tuple[str, int]]:
        """Frame sizes as `<width>x<height>`, in pixels, with their numbers of files, the most frequent first."""
        return Counter(f"{found.width}x{found.height}" for found in self.readable).most_common()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Minimum, median and maximum of numbers; empty if there are none."""
    if not values:
        return {}
    return {"min": float(min(values)), "median": float(np.median(values)), "max": float(max(values))}


def check_dataset(
    source: str | Path,
    *,
    val: str | Path = "",
    num_frames: int = 8,
    num_workers: int = 0,
    allow_codecs: Collection[str] = (),
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> DataCheck:
    """Decode every file of a data set and report what is wrong.

    Results are cached next to the data, or in the user's cache, and reused for files that did not change.

    Of videos with segments, the times of all frames are read once more, which is not cached.

    Args:
        source: Data for training: a folder of class folders, one with `train` and `val`, or an annotation file.
        val: Validation videos; if empty, the validation split of `source`, if it has one.
        num_frames: Smallest accepted number of frames of a video or segment, at least 1.
        num_workers: Decoding processes; 0 decodes in this process, which a file that kills the decoder then ends.
        allow_codecs: Codecs to decode in addition to `timesformer.data.video.codecs.DEFAULT_CODECS`, by FFmpeg's names.
        on_progress: Called after each file with the numbers of finished and of all files.

    Raises:
        ConfigError: `num_frames` is less than 1, `num_workers` negative, or a codec unknown.
        DataError: A source is missing, empty or cannot be read at all.
        ProcessError: No decoding process can be started.
    """
    if num_frames < 1:
        raise ConfigError(f"num_frames={num_frames} must be at least 1")
    listing = read_listing(source, val=val)
    with FingerprintCache(cache_path(source)) as cache:
        fingerprints = fingerprint_all(
            present_files(listing),
            cache=cache,
            num_workers=num_workers,
            allow_codecs=allow_codecs,
            on_progress=on_progress,
        )
    times = read_frame_times(listing.videos, fingerprints, allow_codecs=allow_codecs)
    return assess(
        source, listing, fingerprints=fingerprints, frame_times=times, num_frames=num_frames, allow_codecs=allow_codecs
    )


def present_files(listing: ListedDataset) -> list[Path]:
    """The listed files that exist, each once."""
    return [path for path in dict.fromkeys(video.path for video in listing.videos) if _exists(path)]


def assess(
    source: str | Path,
    listing: ListedDataset,
    *,
    fingerprints: dict[Path, Fingerprint],
    frame_times: Mapping[Path, FrameTimes],
    num_frames: int,
    allow_codecs: Collection[str] = (),
) -> DataCheck:
    """The findings about a data set whose files were decoded.

    Args:
        source: The checked folder or file, as given.
        listing: Its videos.
        fingerprints: Result of decoding each existing file.
        frame_times: Times of the frames of each readable video with segments.
        num_frames: Smallest accepted number of frames of a video or segment.
        allow_codecs: Codecs that were decoded in addition to the default ones.
    """
    groups = group_by_content(listing.videos, fingerprints)
    of_segments = segment_faults(listing.videos, frame_times, num_frames=num_frames)
    findings = _findings(listing, fingerprints, groups, of_segments, num_frames=num_frames)
    order = list(KINDS)
    return DataCheck(
        source=str(source),
        listing=listing,
        fingerprints=fingerprints,
        groups=groups,
        segment_faults=of_segments,
        frame_times=frame_times,
        findings=tuple(sorted(findings, key=lambda finding: order.index(finding.kind))),
        allow_codecs=tuple(allow_codecs),
    )


def _findings(
    listing: ListedDataset,
    fingerprints: dict[Path, Fingerprint],
    groups: Sequence[Group],
    of_segments: Sequence[SegmentFault],
    *,
    num_frames: int,
) -> list[Finding]:
    return [
        *_faulty_files(listing.videos, fingerprints, num_frames=num_frames),
        *_bad_labels(listing.videos),
        *(about_segments(fault, listing.videos) for fault in of_segments),
        *(Finding(*fault) for group in groups for fault in duplicate_faults(group, listing, fingerprints)),
        *(Finding(*fault) for fault in group_faults(listing.videos, fingerprints)),
        *_class_faults(listing),
        *(Finding(*fault) for fault in name_faults(listing)),
        *_passed_over(listing),
    ]


def _exists(path: Path) -> bool:
    """Whether a video exists; one in a damaged tar file counts, so that the damage is reported."""
    try:
        return path.exists() or video_exists(path)
    except DecodeError:
        return True


def _faulty_files(
    videos: Sequence[ListedVideo], fingerprints: dict[Path, Fingerprint], *, num_frames: int
) -> Iterator[Finding]:
    for path in dict.fromkeys(video.path for video in videos):
        found = fingerprints.get(path)
        if found is None:
            yield Finding("missing", (path,), "there is no such file")
        elif found.error:
            yield Finding("unreadable", (path,), found.error)
        else:
            if found.num_missing or found.num_damaged:
                yield Finding("truncated", (path,), _damage(found))
            if found.timing:
                yield Finding("timing", (path,), found.timing)
            if found.num_frames < num_frames:
                yield Finding("too_short", (path,), f"frames: {found.num_frames}, needed: at least {num_frames}")


def _damage(found: Fingerprint) -> str:
    missing = f"frames missing: {found.num_missing} of {found.num_frames + found.num_missing}"
    damaged = f"damaged: {found.num_damaged}"
    return ", ".join([missing] * bool(found.num_missing) + [damaged] * bool(found.num_damaged))


def _bad_labels(videos: Iterable[ListedVideo]) -> Iterator[Finding]:
    return (Finding("bad_label", (video.path,), video.problem) for video in videos if video.problem)


def _class_faults(listing: ListedDataset) -> Iterator[Finding]:
    videos_in = Counter(video.label for video in listing.videos if video.split == "train")
    counts = {name: videos_in[label] for label, name in enumerate(listing.class_names)}
    is_numbered = all(name == str(label) for label, name in enumerate(listing.class_names))
    for name, count in counts.items():
        if count == 0:
            hint = "; labels must count from 0" if name == "0" and is_numbered else ""
            yield Finding("empty_class", (), f"no training {listing.unit[:-1]} has class {name!r}{hint}")
    used = {name: count for name, count in counts.items() if count > 0}
    if used and max(used.values()) > MAX_IMBALANCE * min(used.values()):
        large, small = max(used, key=lambda name: used[name]), min(used, key=lambda name: used[name])
        yield Finding(
            "imbalance", (), f"{used[large]} training {listing.unit} of {large!r}, {used[small]} of {small!r}"
        )


def _passed_over(listing: ListedDataset) -> Iterator[Finding]:
    for reason, meaning in REASONS.items():
        paths = [passed.path for passed in listing.passed_over if passed.reason == reason]
        if paths:
            yield Finding("passed_over", tuple(dict.fromkeys(paths)), f"{meaning}: {len(paths)}")
