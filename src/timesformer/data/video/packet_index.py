"""Index of a video's packets, which says what to decode for a frame: integers only, no video library."""

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
"""Positions by which reordering may move a packet: no codec moves a frame by more than 16, and a packet may hold half a
frame. Timestamps that imply more are not an order."""
_MAX_REORDER_AFTER_RESET = 16
"""The same in a file whose clock is set back: joined recordings must not mix, even if one is short."""
_SEEK_COST = 8
"""Gaps of up to this many packets are decoded: a seek costs about as much."""


class PacketRecord(NamedTuple):
    """One packet; times are in units of the stream's time base."""

    pts: int | None
    """Presentation time."""
    dts: int | None
    """Decoding time."""
    size: int
    """Bytes."""
    offset: int | None
    """Offset in the file, in bytes."""
    is_key: bool
    """Key frame, according to the container."""
    is_shown: bool
    """False if an edit list cuts its frame, which others may still need."""

    def is_same(self, other: "PacketRecord") -> bool:
        """True for two reads of one packet. `dts` is ignored: it is often estimated, and differently after a seek."""
        return (self.pts, self.size, self.offset) == (other.pts, other.size, other.offset)


@dataclass(frozen=True, slots=True, eq=False)
class PacketIndex:
    """The packets of a video stream by position and by rank.

    A *position* counts packets in file order, which is decoding order. A *rank* counts shown frames in presentation
    order: it is the frame number of the public interface.
    """

    packets: Sequence[PacketRecord]
    """By position."""
    pts: Int64[np.ndarray, " packets"]
    is_timed: bool
    """True if the timestamps give the presentation order; otherwise the decoder's output order does."""
    positions: Int64[np.ndarray, " frames"]
    """Position of each rank."""
    times: Int64[np.ndarray, " frames"]
    """Timestamp of each rank."""
    key_positions: Int64[np.ndarray, " keys"]
    """Positions of the shown key frames, in presentation order."""

    @property
    def num_frames(self) -> int:
        """Number of frames shown."""
        return len(self.times)

    def rank(self, pts: int | None) -> int | None:
        """Rank of the frame shown at a time; None if there is none."""
        if pts is None:
            return None
        rank = int(np.searchsorted(self.times, pts))
        return rank if rank < self.num_frames and self.times[rank] == pts else None

    def position(self, packet: PacketRecord) -> int | None:
        """Position of a packet; None if it is unknown or ambiguous."""
        found = [i for i in np.flatnonzero(self.pts == packet.pts).tolist() if self.matches(i, packet)]
        return found[0] if len(found) == 1 else None

    def matches(self, position: int, packet: PacketRecord) -> bool:
        """True if a packet is the one at a position."""
        return position < len(self.packets) and self.packets[position].is_same(packet)

    def segments(self, ranks: Int64[np.ndarray, " t"]) -> Iterator[tuple[int, slice]]:
        """Split ascending ranks into runs that are decoded without a seek.

        Yields:
            Position at which decoding starts, and slice of `ranks` that it serves.
        """
        starts = self._starts(ranks)
        gaps = starts[1:] - self.positions[ranks[:-1]]
        edges = [0, *(np.flatnonzero(gaps > _SEEK_COST) + 1).tolist(), len(ranks)]
        for begin, end in pairwise(edges):
            yield int(starts[begin]), slice(begin, end)

    def _starts(self, ranks: Int64[np.ndarray, " t"]) -> Int64[np.ndarray, " t"]:
        """Position of the last packet from which each frame can be decoded.

        It is the last key frame *shown* no later than the frame. The last one *decoded* before the frame may be too
        late: leading frames of an open group of pictures also need the group before it.
        """
        keys = np.searchsorted(self.pts[self.key_positions], self.times[ranks], side="right") - 1
        starts = self.key_positions[keys] if len(self.key_positions) else np.zeros_like(ranks)
        return np.where((keys >= 0) & (starts <= self.positions[ranks]), starts, 0)

    def cut(self, num_frames: int) -> "PacketIndex":
        """The index of the first `num_frames` frames."""
        return replace(self, positions=self.positions[:num_frames], times=self.times[:num_frames])

    def timing(
        self, time_base: Fraction, *, average: Fraction | None, guessed: Fraction | None, has_timestamps: bool
    ) -> FrameTiming:
        """Frame rate from the timestamps of the shown frames, and their faults.

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
    """Build the index of a stream.

    Args:
        packets: All packets, in file order.
        has_timestamps: False if `pts` is known not to be the presentation time.
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
    """True if all timestamps exist and differ, and none is further from decoding order than a decoder moves frames."""
    moved = np.abs(order - np.arange(len(order)))
    return bool(_NO_TIME not in pts and np.all(np.diff(pts[order]) > 0) and np.max(moved, initial=0) <= max_moved)


def _has_clock_reset(packets: Sequence[PacketRecord]) -> bool:
    """True if decoding times decrease, as in recordings joined byte by byte, whose timestamps overlap."""
    known = [packet.dts for packet in packets if packet.dts is not None]
    return any(after < before for before, after in pairwise(known))
