"""Random tempo: frames move within a clip, whose ends stay."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.data.clips.tempo import change_tempo

clips = st.lists(st.integers(0, 5000), min_size=1, max_size=64).map(sorted)


@given(clips, st.floats(1, 4), st.integers(0, 2**32))
def test_frames_rise_between_the_same_ends(frames, factor, seed):
    found = change_tempo(frames, factor=factor, generator=np.random.default_rng(seed))
    assert len(found) == len(frames)
    assert (found[0], found[-1]) == (frames[0], frames[-1])
    assert found == sorted(found)
    assert all(type(frame) is int for frame in found)


@given(clips)
def test_factor_one_changes_and_draws_nothing(frames):
    generator = np.random.default_rng(0)
    before = generator.bit_generator.state
    assert change_tempo(frames, factor=1.0, generator=generator) == frames
    assert generator.bit_generator.state == before


def test_quarters_of_a_clip_have_the_drawn_speeds():
    frames = [*range(0, 1601, 100)]
    found = change_tempo(frames, factor=3.0, generator=np.random.default_rng(7))
    log = np.log(3.0)
    speeds = np.exp(np.random.default_rng(7).uniform(-log, log, 4))
    expected = np.repeat(speeds / speeds.mean(), 4) * 100
    np.testing.assert_allclose(np.diff(found), expected, atol=1)


@pytest.mark.parametrize("frames", [[5], [7, 7, 7]])
def test_a_single_moment_stays(frames):
    assert change_tempo(frames, factor=4.0, generator=np.random.default_rng(0)) == frames
