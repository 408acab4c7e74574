"""Which packets of a video to decode for a frame: integers only, no video library."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from timesformer.data.video.timing import FrameTiming, frame_timing, presentation_order

_NO_TIME = np.iinfo(np.int64).min
_MAX_REORDER = 32
"""Places that decoding may move a packet: no codec moves frames by more than 16, and a packet may hold half a frame.
Timestamps beyond this are not an order."""
_MAX_REORDER_AFTER_RESET = 16
"""The same where the clock is set back, so that two parts of which one is short are not mixed."""
_SEEK_COST = 8
"""Packets that are decoded rather than jumped over: a seek costs about as much."""


class PacketRecord(NamedTuple):
    """What is kept of a packet; times are in units of the stream's time base."""

    pts: int | None
    """When its frame is shown."""
    dts: int | None
    """When it is decoded."""
    size: int
    """Bytes."""
    offset: int | None
    """Where it is in the file, in bytes."""
    is_key: bool
    """Whether decoding can start here, as the container says."""
    is_shown: bool
    """False where an edit list cuts its frame, which may still be needed to decode others."""

    def is_same(self, other: "PacketRecord") -> bool:
        """Whether two readings are of one packet; `dts` is often made up, and differently after a seek."""
        return (self.pts, self.size, self.offset) == (other.pts, other.size, other.offset)


@dataclass(frozen=True, slots=True, eq=False)
class PacketIndex:
    """The packets of a video stream, numbered in two ways.

    A *position* counts packets as the file gives them from its start, which is the order of decoding. A *rank* counts
    shown frames in the order of presentation: a frame's number to everybody else.
    """

    packets: Sequence[PacketRecord]
    """By position."""
    pts: Int64[np.ndarray, " packets"]
    is_timed: bool
    """Whether the timestamps tell the order of presentation; where not, the decoder's output does."""
    positions: Int64[np.ndarray, " frames"]
    """Position of each rank."""
    times: Int64[np.ndarray, " frames"]
    """Timestamp of each rank."""
    key_positions: Int64[np.ndarray, " keys"]
    """Shown key frames, in the order of presentation."""

    @property
    def num_frames(self) -> int:
        """Frames that are shown."""
        return len(self.times)

    def rank(self, pts: int | None) -> int | None:
        """Number of the frame that is shown at a time; None where no frame is."""
        if pts is None:
            return None
        rank = int(np.searchsorted(self.times, pts))
        return rank if rank < self.num_frames and self.times[rank] == pts else None

    def position(self, packet: PacketRecord) -> int | None:
        """Where in the file a packet is; None where that is not certain."""
        found = [i for i in np.flatnonzero(self.pts == packet.pts).tolist() if self.matches(i, packet)]
        return found[0] if len(found) == 1 else None

    def matches(self, position: int, packet: PacketRecord) -> bool:
        """Whether a packet is the one at a position."""
        return position < len(self.packets) and self.packets[position].is_same(packet)

    def segments(self, ranks: Int64[np.ndarray, " t"]) -> Iterator[tuple[int, slice]]:
        """Part rising ranks into runs that are best decoded in one go.

        Yields:
            The position to start decoding from, and which of the ranks it serves.
        """
        starts = self._starts(ranks)
        gaps = starts[1:] - self.positions[ranks[:-1]]
        edges = [0, *(np.flatnonzero(gaps > _SEEK_COST) + 1).tolist(), len(ranks)]
        for begin, end in pairwise(edges):
            yield int(starts[begin]), slice(begin, end)

    def _starts(self, ranks: Int64[np.ndarray, " t"]) -> Int64[np.ndarray, " t"]:
        """Position of the last packet from which decoding gives each frame.

        It is the last key frame *shown* at the frame's time or before. A later one may be decoded before the frame: in
        an open group of pictures, whose first shown frames need the group before too.
        """
        keys = np.searchsorted(self.pts[self.key_positions], self.times[ranks], side="right") - 1
        starts = self.key_positions[keys] if len(self.key_positions) else np.zeros_like(ranks)
        return np.where((keys >= 0) & (starts <= self.positions[ranks]), starts, 0)

    def cut(self, num_frames: int) -> "PacketIndex":
        """The index of the first frames only."""
        return replace(self, positions=self.positions[:num_frames], times=self.times[:num_frames])

    def timing(
        self, time_base: Fraction, *, average: Fraction | None, guessed: Fraction | None, has_timestamps: bool
    ) -> FrameTiming:
        """The rate by the timestamps of shown frames, and what is odd about them.

        Args:
            time_base: Unit of the timestamps, in seconds.
            average: As for `timesformer.data.video.timing.frame_timing`.
            guessed: As for `timesformer.data.video.timing.frame_timing`.
            has_timestamps: As for `build_index`.
        """
        times: list[int | None] = []
        if self.is_timed:
            times += self.times.tolist()
        shown = [packet.pts for packet in self.packets if packet.is_shown]
        if has_timestamps and not self.is_timed and len(shown) == self.num_frames:  # else packets are not frames
            known = [pts for pts in shown if pts is not None]
            times += [*presentation_order(known), *[None] * (len(shown) - len(known))]
        return frame_timing(times, time_base=time_base, average=average, guessed=guessed)


def build_index(packets: Sequence[PacketRecord], *, has_timestamps: bool) -> PacketIndex:
    """Number the frames of a stream.

    Args:
        packets: All packets, as the file gives them from its start.
        has_timestamps: False where it is known that `pts` does not tell when a frame is shown.
    """
    pts = np.array([_NO_TIME if packet.pts is None else packet.pts for packet in packets], dtype=np.int64)
    is_shown = np.array([packet.is_shown for packet in packets], dtype=bool)
    is_key = np.array([packet.is_key for packet in packets], dtype=bool)
    order = np.argsort(pts, kind="stable")
    is_timed = has_timestamps and _is_presentation_order(
        pts, order, max_moved=_MAX_REORDER_AFTER_RESET if _has_clock_reset(packets) else _MAX_REORDER
    )
    if not is_timed:
        order = np.arange(len(pts))
    positions = order[is_shown[order]]
    return PacketIndex(
        packets=packets,
        pts=pts,
        is_timed=is_timed,
        positions=positions,
        times=pts[positions],
        key_positions=positions[is_key[positions]],
    )


def _is_presentation_order(
    pts: Int64[np.ndarray, " packets"], order: Int64[np.ndarray, " packets"], *, max_moved: int
) -> bool:
    """Whether timestamps exist, differ, and are no further from the order of decoding than a decoder moves frames."""
    moved = np.abs(order - np.arange(len(order)))
    return bool(_NO_TIME not in pts and np.all(np.diff(pts[order]) > 0) and np.max(moved, initial=0) <= max_moved)


def _has_clock_reset(packets: Sequence[PacketRecord]) -> bool:
    """Whether the clock is set back, as where recordings were joined byte by byte: timestamps of two parts mix then."""
    known = [packet.dts for packet in packets if packet.dts is not None]
    return any(after < before for before, after in pairwise(known))
