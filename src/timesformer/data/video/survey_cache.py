"""What the first pass over long videos found, kept in the process for the next reader of the same file.

Reading a segment of an hour of video takes a tenth of a second, the pass over all its packets two. Only the pass is
saved: a reader still compares every packet that it reads with the index, so that a changed file is noticed.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from timesformer.data.video.file_stat import video_stamp
from timesformer.data.video.packet_index import PacketIndex, PacketRecord
from timesformer.data.video.timing import FrameTiming

MIN_PACKETS = 1000
"""Shorter videos are not kept: their pass takes a hundredth of a second."""
MAX_PACKETS = 2**21
"""Packets kept in a process: 19 hours at 30 frames a second, 130 MB."""

_NO_NUMBER = np.iinfo(np.int64).min

Key = tuple[str, tuple[int, int]]


class Survey(NamedTuple):
    """Result of the first pass over a file."""

    index: PacketIndex
    timing: FrameTiming


@dataclass(frozen=True, slots=True)
class SurveyCache:
    """The surveys of the videos that were read last; those of forked processes start with the same ones.

    Every operation on the dictionary is a single one, so that threads may share the cache without a lock, which a fork
    could leave locked.
    """

    _surveys: dict[Key, Survey] = field(default_factory=dict)

    def get(self, key: Key | None) -> Survey | None:
        """The survey of a file, which becomes the last to be dropped; None if it is not kept."""
        if key is None:
            return None
        found = self._surveys.pop(key, None)
        if found is not None:
            self._surveys[key] = found
        return found

    def add(self, key: Key | None, survey: Survey) -> None:
        """Keep the survey of a long video, and drop those that were not used for longest if there are too many."""
        if key is None or not MIN_PACKETS <= len(survey.index.packets) <= MAX_PACKETS:
            return
        self._surveys[key] = survey._replace(index=_packed(survey.index))
        excess = sum(len(survey.index.packets) for survey in list(self._surveys.values())) - MAX_PACKETS
        for oldest in list(self._surveys):
            if excess <= 0:
                break
            dropped = self._surveys.pop(oldest, None)
            excess -= 0 if dropped is None else len(dropped.index.packets)


@cache
def shared_surveys() -> SurveyCache:
    """The cache of this process."""
    return SurveyCache()


def survey_key(path: str | os.PathLike[str]) -> Key | None:
    """Key of a file in its present state; None if there is no such file."""
    stamp = video_stamp(Path(path))
    return None if stamp is None else (os.path.abspath(path), stamp)


@dataclass(frozen=True, slots=True, eq=False)
class _PackedRecords(Sequence[PacketRecord]):
    """Packet records as arrays: 34 bytes instead of 250 for each."""

    numbers: Int64[np.ndarray, "packets 4"]
    flags: Bool[np.ndarray, "packets 2"]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, position: int) -> PacketRecord:  # ty: ignore[incompatible-method-override]
        pts, dts, size, offset = self.numbers[position].tolist()
        known = (None if number == _NO_NUMBER else number for number in (pts, dts, offset))
        pts, dts, offset = known
        is_key, is_shown = self.flags[position].tolist()
        return PacketRecord(pts, dts, size, offset, is_key, is_shown)


def _packed(index: PacketIndex) -> PacketIndex:
    rows = [
        [_NO_NUMBER if number is None else number for number in (packet.pts, packet.dts, packet.size, packet.offset)]
        for packet in index.packets
    ]
    flags = [(packet.is_key, packet.is_shown) for packet in index.packets]
    return replace(index, packets=_PackedRecords(np.array(rows, dtype=np.int64), np.array(flags, dtype=bool)))
