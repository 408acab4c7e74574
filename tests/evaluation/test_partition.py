import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.config.schema import ClipConfig
from timesformer.errors import ConfigError, DataError
from timesformer.evaluation.partition import merge, partition, plan_batches
from timesformer.evaluation.predictions import DecodeFailure, VideoOutput


def output(index: int) -> VideoOutput:
    return VideoOutput(index, np.array([0.25, 0.75], dtype=np.float32), 1)


def test_a_batch_holds_as_many_videos_as_fit_with_all_their_views():
    clip = ClipConfig(num_crops=3)
    assert plan_batches(5, clip=clip, batch_size=8) == [range(0, 2), range(2, 4), range(4, 5)]
    assert plan_batches(5, clip=clip, batch_size=15) == [range(5)]


def test_video_with_more_views_than_a_batch_is_alone():
    assert plan_batches(2, clip=ClipConfig(num_clips=10), batch_size=8) == [range(0, 1), range(1, 2)]


def test_video_with_an_unknown_number_of_views_is_alone():
    assert len(plan_batches(4, clip=ClipConfig(sampling="coverage", num_crops=1), batch_size=8)) == 4


def test_batches_go_to_the_processes_in_turn():
    batches = plan_batches(7, clip=ClipConfig(num_crops=1), batch_size=2)  # 01 23 45 6
    assert partition(batches, rank=0, num_processes=3) == [range(0, 2), range(6, 7)]
    assert partition(batches, rank=2, num_processes=3) == [range(4, 6)]
    assert partition(batches, rank=4, num_processes=5) == []


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 12), st.sampled_from([1, 3]))
def test_every_video_goes_to_one_process_in_the_same_batch(num_videos, num_processes, batch_size, crops):
    batches = plan_batches(num_videos, clip=ClipConfig(num_crops=crops), batch_size=batch_size)
    parts = [partition(batches, rank=rank, num_processes=num_processes) for rank in range(num_processes)]
    assert sorted(index for of_rank in parts for batch in of_rank for index in batch) == list(range(num_videos))
    assert all(batch in batches for of_rank in parts for batch in of_rank)


@pytest.mark.parametrize("rank", [-1, 2])
def test_rank_out_of_range_is_refused(rank: int):
    with pytest.raises(ConfigError, match=f"rank={rank} must lie between 0 and 1 with num_processes=2"):
        partition([range(1)], rank=rank, num_processes=2)


def test_outcomes_are_sorted_into_the_order_of_the_manifest():
    outcomes = [output(2), DecodeFailure(1, "no video"), output(0), output(3)]
    assert [outcome.index for outcome in merge(outcomes, num_videos=4)] == [0, 1, 2, 3]


def test_missing_repeated_and_unknown_videos_are_refused():
    with pytest.raises(DataError, match=r"missing \[1\], more than once \[0\], out of range \[\]"):
        merge([output(0), output(2), DecodeFailure(0, "again")], num_videos=3)
    with pytest.raises(DataError, match=r"out of range \[3\]"):
        merge([output(0), output(3)], num_videos=1)
