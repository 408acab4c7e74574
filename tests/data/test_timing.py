"""Rates of videos by the times of their frames: pure numbers."""

from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.data.video.timing import FrameTiming, frame_timing, is_plausible, presentation_order

MS = Fraction(1, 1000)

steps = st.integers(5, 900)
counts = st.integers(4, 200)


def timing_of(
    times: list[int | None], *, time_base: Fraction = MS, average: float | None = None, guessed: float | None = None
) -> FrameTiming:
    rates = [None if rate is None else Fraction(rate).limit_denominator(2000) for rate in (average, guessed)]
    return frame_timing(times, time_base=time_base, average=rates[0], guessed=rates[1])


def with_gap(times: list[int], *, after: int, length: int) -> list[int]:
    return [time + length * (frame > after) for frame, time in enumerate(times)]


@given(steps, counts, st.integers(-(10**6), 10**6))
def test_regular_times_give_their_rate_exactly(step: int, count: int, start: int) -> None:
    timing = timing_of([start + step * frame for frame in range(count)])
    assert timing.fps == float(Fraction(1000, step))
    assert (timing.basis, timing.gaps) == ("timestamps", ())


@given(st.data(), steps, counts, st.integers(10**4, 10**8))
def test_a_gap_anywhere_does_not_change_the_rate(data: st.DataObject, step: int, count: int, length: int) -> None:
    after = data.draw(st.integers(0, count - 2))
    timing = timing_of(with_gap([step * frame for frame in range(count)], after=after, length=length))
    assert timing.fps == float(Fraction(1000, step))
    assert timing.gaps == ((after, (step + length) / 1000),)


@given(st.lists(st.integers(1, 10**5), min_size=1, max_size=80), st.integers(1, 1000))
def test_times_that_are_so_many_times_longer_give_so_many_times_less(distances: list[int], factor: int) -> None:
    times = [0, *accumulate(distances)]
    slow = timing_of([factor * time for time in times])
    assert slow.fps * factor == pytest.approx(timing_of(times).fps, rel=1e-12)


@given(st.lists(st.integers(33, 200), min_size=1, max_size=80))
def test_a_rate_that_varies_is_frames_over_time(distances: list[int]) -> None:
    timing = timing_of([0, *accumulate(distances)])
    assert timing.fps == pytest.approx(1000 * len(distances) / sum(distances))
    assert timing.reasons == ()


@pytest.mark.parametrize(
    ("distances", "fps"),
    [
        ([16] * 150 + [1000] * 150, 300 / 152.4),  # half of it is 60 times slower: a rate that varies
        ([50, 33] * 60, 2000 / 83),  # telecine
        ([100, 50, 200, 1000, 70], 5000 / 1420),  # a GIF
        ([0, 80] * 50, 25.0),  # every timestamp twice
        ([60000], 1 / 60),  # two frames: no distance is the usual one but this
    ],
)
def test_honest_distances_all_count(distances: list[int], fps: float) -> None:
    timing = timing_of([0, *accumulate(distances)])
    assert timing.fps == pytest.approx(fps)
    assert timing.gaps == ()


@pytest.mark.parametrize("after", [0, 57, 118])
@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(30), Fraction(60000, 1001)])
def test_times_in_milliseconds_with_a_gap_do_not_blur_the_rate(fps: Fraction, after: int) -> None:
    times = with_gap([round(1000 * frame / fps) for frame in range(120)], after=after, length=60000)
    assert frame_timing(times, time_base=MS, average=fps, guessed=None).fps == float(fps)
    assert frame_timing(times, time_base=MS, average=None, guessed=None).fps == pytest.approx(float(fps), rel=1e-3)


def test_a_mean_rate_that_counts_the_gap_is_not_taken() -> None:
    times = with_gap([40 * frame for frame in range(120)], after=30, length=60000)
    assert timing_of(times, average=120 / 64.8).fps == 25.0


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ([0, 33, 67, 60067, 60100], "a gap of 60 s after frame 2"),
        ([0, 3600033, 3600066, 3600099, 3600133], "a gap of 3600 s after frame 0"),
        (
            [40 * frame + 5000 * (frame > 9) + 7000 * (frame > 19) for frame in range(30)],
            "2 gaps, the longest 7.04 s after frame 19",
        ),
        ([0, 0, 40, 80, 80, 120], "equal timestamps: 2"),
        ([0, 40, 80, 0, 40, 80], "decreasing timestamps: 1"),
        ([0, 40, None, 120], "missing timestamps: 1"),
        ([0, 1, 2, 3], "1000 frames a second by the timestamps, above 240"),
        ([0, 2000, 4000], "0.5 frames a second by the timestamps, below 1"),
    ],
)
def test_what_is_odd_is_said(times: list[int | None], reason: str) -> None:
    assert timing_of(times, guessed=25).reasons == (reason,)


@pytest.mark.parametrize(
    ("times", "average", "guessed", "fps", "done"),
    [
        ([0, 33, 67, 60067, 60100], 25, 25, 4000 / 133, "follow the usual rate of the timestamps, 30"),
        ([0] * 9, 1325, 25, 25.0, "follow the rate in the header, 25 frames a second"),
        ([0] * 9, 15, 1000, 15.0, "follow the rate in the header, 15 frames a second"),
        ([0] * 9, 1325, 1000, 30.0, "follow an assumed rate of 30 frames a second"),
        ([0] * 9, None, None, 25.0, "follow the rate in the header, 25 frames a second"),
        ([], 1000, 1000, 30.0, "follow an assumed rate of 30 frames a second"),
        ([0, 40, None, 120], 12, 12, 12.0, "follow the rate in the header, 12 frames a second"),
        ([0, 1, 2, 3], 25, 25, 1000.0, "count frames, as if the video had the target rate of the clips"),
        ([0, 2000, 4000], 25, 25, 0.5, "count frames, as if the video had the target rate of the clips"),
    ],
)
def test_what_sampling_does_is_said(
    times: list[int | None], average: float | None, guessed: float | None, fps: float, done: str
) -> None:
    timing = timing_of(times, average=average, guessed=guessed)
    assert timing.fps == pytest.approx(fps, rel=3e-3)
    assert f"; dense clips {done}" in timing.note


def test_a_rate_in_the_header_that_nobody_can_measure_is_told() -> None:
    (reason,) = timing_of([], average=1325, guessed=1325).reasons
    assert reason == "1325 frames a second in the header, above 240"


@pytest.mark.parametrize("times", [[7], [], [None, None], [0, 40, 80], [0, 5, 10, 15], [0, 1000, 2000]])
def test_plausible_times_are_not_worth_a_word(times: list[int | None]) -> None:
    timing = timing_of(times, average=24, guessed=24)
    assert (timing.reasons, timing.note) == ((), "")


def test_pauses_of_less_than_a_second_are_left_out_and_not_told() -> None:
    timing = timing_of(with_gap([30 * frame for frame in range(50)], after=20, length=600))
    assert (timing.fps, timing.note) == (1000 / 30, "")


@pytest.mark.parametrize(("fps", "expected"), [(1, True), (0.999, True), (0.98, False), (240.5, True), (250, False)])
def test_phones_and_cameras_have_plausible_rates(fps: float, expected: bool) -> None:
    assert is_plausible(fps) is expected


@given(st.lists(st.integers(0, 8), min_size=20, max_size=60), st.integers(1, 50))
def test_frames_that_a_decoder_moved_are_brought_back(moves: list[int], step: int) -> None:
    decoded = [step * rank for rank in sorted(range(len(moves)), key=lambda rank: rank - moves[rank])]
    shown = presentation_order(decoded)
    assert sorted(shown) == sorted(decoded)
    num_decreasing = sum(after < before for before, after in pairwise(decoded))
    if num_decreasing >= 0.1 * len(decoded):
        assert shown == sorted(decoded)


def test_times_that_start_anew_stay_so() -> None:
    times = [*range(0, 2000, 40), *range(20, 2000, 40)]
    assert presentation_order(times) == times
    assert presentation_order(times[::-1]) == times[::-1]
