import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.config.schema import ClipConfig
from timesformer.errors import ConfigError, DataError
from timesformer.evaluation.partition import deal, merge, plan_batches
from timesformer.evaluation.predictions import DecodeFailure, VideoOutput


def answer(index: int) -> VideoOutput:
    return VideoOutput(index, np.array([0.25, 0.75], dtype=np.float32), 1)


def test_batches_hold_as_many_videos_as_have_room_for_all_their_views():
    clip = ClipConfig(num_crops=3)
    assert plan_batches(5, clip=clip, batch_size=8) == [range(0, 2), range(2, 4), range(4, 5)]
    assert plan_batches(5, clip=clip, batch_size=15) == [range(5)]


def test_video_with_more_views_than_a_batch_is_alone():
    assert plan_batches(2, clip=ClipConfig(num_clips=10), batch_size=8) == [range(0, 1), range(1, 2)]


def test_video_with_an_unknown_number_of_views_is_alone():
    assert len(plan_batches(4, clip=ClipConfig(sampling="coverage", num_crops=1), batch_size=8)) == 4


def test_batches_are_dealt_round():
    batches = plan_batches(7, clip=ClipConfig(num_crops=1), batch_size=2)  # 01 23 45 6
    assert deal(batches, rank=0, num_processes=3) == [range(0, 2), range(6, 7)]
    assert deal(batches, rank=2, num_processes=3) == [range(4, 6)]
    assert deal(batches, rank=4, num_processes=5) == []


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 12), st.sampled_from([1, 3]))
def test_every_video_is_dealt_to_one_process_and_in_the_same_company(num_videos, num_processes, batch_size, crops):
    batches = plan_batches(num_videos, clip=ClipConfig(num_crops=crops), batch_size=batch_size)
    dealt = [deal(batches, rank=rank, num_processes=num_processes) for rank in range(num_processes)]
    assert sorted(index for share in dealt for batch in share for index in batch) == list(range(num_videos))
    assert all(batch in batches for share in dealt for batch in share)


@pytest.mark.parametrize("rank", [-1, 2])
def test_process_that_is_not_there_gets_nothing(rank: int):
    with pytest.raises(ConfigError, match=f"rank={rank} must lie between 0 and 1"):
        deal([range(1)], rank=rank, num_processes=2)


def test_parts_are_put_in_the_order_of_the_manifest():
    parts = [answer(2), DecodeFailure(1, "no video"), answer(0), answer(3)]
    assert [outcome.index for outcome in merge(parts, num_videos=4)] == [0, 1, 2, 3]


def test_missing_repeated_and_foreign_videos_are_refused():
    with pytest.raises(DataError, match=r"missing \[1\], more than once \[0\], beyond the last \[\]"):
        merge([answer(0), answer(2), DecodeFailure(0, "again")], num_videos=3)
    with pytest.raises(DataError, match=r"beyond the last \[3\]"):
        merge([answer(0), answer(3)], num_videos=1)
