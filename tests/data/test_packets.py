"""The packet index: pure integers, checked without a video."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.data.video.packet_index import PacketIndex, PacketRecord, build_index


def records(
    pts: Sequence[int | None], *, keys: tuple[int, ...] = (0,), cut: tuple[int, ...] = ()
) -> list[PacketRecord]:
    """Packets at the given times, in the order of decoding; `keys` and `cut` are positions."""
    return [
        PacketRecord(
            pts=time,
            dts=position,
            size=10 + position,
            offset=100 * position,
            is_key=position in keys,
            is_shown=position not in cut,
        )
        for position, time in enumerate(pts)
    ]


def index_of(pts: Sequence[int | None], **places: tuple[int, ...]) -> PacketIndex:
    return build_index(records(pts, **places), has_timestamps=True)


def segments(index: PacketIndex, ranks: list[int]) -> list[tuple[int, slice]]:
    return list(index.segments(np.array(ranks)))


def test_frames_are_numbered_by_time_and_not_by_place() -> None:
    index = index_of([0, 40, 10, 20, 30])
    assert [index.rank(time) for time in (0, 10, 20, 30, 40)] == [0, 1, 2, 3, 4]
    assert index.positions.tolist() == [0, 2, 3, 4, 1]


def test_a_time_at_which_nothing_is_shown_has_no_number() -> None:
    index = index_of([0, 10, 20], cut=(0,))
    assert index.num_frames == 2
    assert [index.rank(time) for time in (0, 10, 15, 99, None)] == [None, 0, None, None, None]


@pytest.mark.parametrize(
    ("reason", "pts"),
    [
        ("a time is missing", [0, 10, None, 30]),
        ("two frames share a time", [0, 10, 10, 20]),
        ("a frame moves further than decoders move frames", [999, *range(80)]),
    ],
)
def test_times_that_are_no_order_are_not_used(reason: str, pts: list[int | None]) -> None:
    index = index_of(pts)
    assert not index.is_timed, reason
    assert index.positions.tolist() == list(range(len(pts)))


def test_times_that_the_format_does_not_store_are_not_used() -> None:
    assert not build_index(records([0, 20, 10]), has_timestamps=False).is_timed


def test_decoding_starts_at_the_key_frame_shown_last() -> None:
    index = index_of(list(range(60)), keys=(0, 20, 40))
    assert [segments(index, [rank])[0][0] for rank in (0, 19, 20, 39, 40, 59)] == [0, 0, 20, 20, 40, 40]


def test_leading_frames_of_an_open_group_start_at_the_group_before() -> None:
    pts = [0, 1, 2, 3, 4, 9, 5, 6, 7, 8, 10, 11]
    index = index_of(pts, keys=(0, 5))
    assert [segments(index, [rank])[0][0] for rank in (7, 8, 9, 10)] == [0, 0, 5, 5]


def test_decoding_starts_at_the_first_packet_before_any_key_frame() -> None:
    index = index_of(list(range(30)), keys=(12,))
    assert [segments(index, [rank])[0][0] for rank in (3, 12, 20)] == [0, 12, 12]


def test_a_key_frame_cut_by_an_edit_list_is_no_start() -> None:
    index = index_of(list(range(30)), keys=(0, 10), cut=(10,))
    assert segments(index, [15]) == [(0, slice(0, 1))]


def test_near_frames_share_a_run_and_far_ones_do_not() -> None:
    index = index_of(list(range(100)), keys=tuple(range(0, 100, 10)))
    assert segments(index, [5, 9, 13, 55]) == [(0, slice(0, 3)), (50, slice(3, 4))]


@given(
    gop=st.integers(1, 30),
    ranks=st.lists(st.integers(0, 99), min_size=1, max_size=12, unique=True).map(sorted),
)
def test_runs_cover_every_rank_once_and_start_no_later_than_it(gop: int, ranks: list[int]) -> None:
    runs = segments(index_of(list(range(100)), keys=tuple(range(0, 100, gop))), ranks)
    assert [rank for _, part in runs for rank in ranks[part]] == ranks
    assert all(start % gop == 0 and start <= rank for start, part in runs for rank in ranks[part])


def test_a_packet_is_known_by_time_size_and_place_in_the_file() -> None:
    packets = records([0, 20, 10])
    index = build_index(packets, has_timestamps=True)
    assert [index.position(packet) for packet in packets] == [0, 1, 2]
    assert index.position(packets[1]._replace(dts=77)) == 1
    for other in (packets[1]._replace(pts=5), packets[1]._replace(size=99), packets[1]._replace(offset=7)):
        assert index.position(other) is None
        assert not index.matches(1, other)
    assert not index.matches(3, packets[1])


def rate_of(index: PacketIndex, *, average: Fraction | None, has_timestamps: bool = True) -> float:
    return index.timing(Fraction(1, 1000), average=average, guessed=average, has_timestamps=has_timestamps).fps


@pytest.mark.parametrize(
    ("pts", "declared", "expected"),
    [
        ([0, 33, 67, 100], Fraction(30), 30.0),
        ([0, 33, 67, 100], Fraction(25), 30.0),
        ([0, 33, 67, 100], None, 30.0),
        ([500, 600, 1000, 1100], Fraction(30), 5.0),
        ([0, 33, 67, 101], Fraction(30000, 1001), 30000 / 1001),
        ([7], Fraction(24), 24.0),
        ([7], None, 25.0),
    ],
)
def test_frame_rate_is_measured_and_rounded_to_the_declared_one(
    pts: list[int | None], declared: Fraction | None, expected: float
) -> None:
    assert rate_of(index_of(pts), average=declared) == pytest.approx(expected)


def test_frame_rate_is_the_declared_one_where_times_are_no_order() -> None:
    assert rate_of(index_of([0, 0, 0]), average=Fraction(12)) == 12.0


def test_frame_rate_is_the_declared_one_where_the_format_does_not_store_times() -> None:
    index = build_index(records([0, 40, 20]), has_timestamps=False)
    assert rate_of(index, average=Fraction(12), has_timestamps=False) == 12.0


def test_hidden_frames_have_no_part_in_the_frame_rate() -> None:
    assert rate_of(index_of([0, 500, 540, 540, 580], cut=(0, 2)), average=None) == 25.0


def test_times_of_two_recordings_joined_byte_by_byte_are_no_order() -> None:
    parts = [*range(0, 1200, 40), *range(20, 1220, 40)]
    packets = [packet._replace(dts=packet.pts) for packet in records(parts)]
    index = build_index(packets, has_timestamps=True)
    assert index.positions.tolist() == list(range(60))
    timing = index.timing(Fraction(1, 1000), average=None, guessed=None, has_timestamps=True)
    assert (timing.fps, timing.num_decreasing) == (25.0, 1)
