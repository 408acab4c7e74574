import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.data.clips.sampling import eval_clips
from timesformer.data.video.file_reader import VideoInfo
from timesformer.data.video.segment import Segment
from timesformer.errors import ConfigError
from timesformer.timelines.windows import WindowPlanner, Windows, frames_of_windows, plan_windows
from tiny import tiny_config

DENSE = ClipConfig(frame_stride=8, num_crops=1)
CLIPS = (
    DENSE,
    ClipConfig(frame_stride=8, num_crops=1, channel_order="time"),
    ClipConfig(frame_stride=8, num_crops=1, sampling="center"),
    ClipConfig(frame_stride=8, num_crops=1, sampling="coverage"),
    ClipConfig(num_crops=1, sampling="uniform"),
    ClipConfig(num_crops=1, sampling="segment", channel_order="time"),
)


def all_windows(times, windows, clip, *, rate, num_frames=3, tick=1e-5, start=0.0):
    planner = WindowPlanner(
        windows, frames_of_windows(clip, num_frames=num_frames, length=windows.length), start=start, tick=tick
    )
    found, wanted = [], set()
    for number, time in enumerate(times):
        wanted |= set(planner.push(number, time, rate=rate))
        found += planner.complete()
        assert planner.oldest_needed <= number
    wanted |= set(planner.finish(times[-1] + 1 / rate))
    found += planner.complete()
    assert wanted >= {frame for window in found for frame in window.frames}
    return found


def cut_frames(times, window, length, clip, *, fps, num_frames=3):
    """What the model sees of a clip cut where the window lies."""
    frames = Segment(window.center - length / 2 - 1e-7, window.center + length / 2 - 1e-7).frames(np.array(times))
    info = VideoInfo(
        num_frames=len(frames), fps=fps, height=1, width=1, duration_s=len(frames) / fps, rotation=0, timing=""
    )
    return tuple(frames[index] for index in eval_clips(info, clip, num_frames=num_frames)[0])


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("fps", [25.0, 30.0, 30000 / 1001, 12.0])
def test_an_interior_window_shows_the_frames_of_a_clip_cut_there(clip, fps):
    length = 3 * 8 / 30
    times = [k / fps for k in range(200)]
    windows = Windows(length, 0.37)
    found = [
        window
        for window in all_windows(times, windows, clip, rate=fps)
        if window.center - length / 2 >= 0 and window.center + length / 2 <= times[-1]
    ]
    assert len(found) > 10
    for window in found:
        if far_from_a_frame(window.center - length / 2, fps) and far_from_a_frame(window.center + length / 2, fps):
            assert window.frames == cut_frames(times, window, length, clip, fps=fps)


def far_from_a_frame(time, fps):
    position = time * fps % 1
    return 0.05 < position < 0.95


@pytest.mark.parametrize("clip", CLIPS)
def test_edges_that_lie_on_frames_belong_to_the_window_that_starts_there(clip):
    times = [k / 25 for k in range(100)]
    for window in all_windows(times, Windows(0.8, 0.2), clip, rate=25.0):
        if 0.4 <= window.center <= 3.6:
            assert window.frames == cut_frames(times, window, 0.8, clip, fps=25.0)


@pytest.mark.parametrize("clip", CLIPS)
def test_times_rounded_to_milliseconds_change_no_frame(clip):
    exact = [k / 30 for k in range(149)]
    rounded = [round(time, 3) for time in exact]
    windows = Windows(0.8, 0.2)
    assert all_windows(rounded, windows, clip, rate=30.0, tick=1e-3) == all_windows(exact, windows, clip, rate=30.0)


@pytest.mark.parametrize("clip", CLIPS)
def test_windows_are_centered_and_at_the_ends_frames_repeat(clip):
    times = [k / 25 for k in range(50)]
    found = all_windows(times, Windows(0.8, 0.2), clip, rate=25.0)
    np.testing.assert_allclose([window.center for window in found], np.arange(10) * 0.2)
    assert all(list(window.frames) == sorted(window.frames) for window in found)
    assert found[0].frames[0] == 0
    assert found[-1].frames[-1] == 49
    # a window centered on an end shows it for half of its time
    half = len(found[0].frames) // 2
    assert sum(frame == 0 for frame in found[0].frames) in (half, half + 1)


def test_the_windows_at_both_ends_mirror_each_other():
    times = [k / 25 for k in range(51)]
    windows = Windows(0.8, 0.2)
    found = all_windows(times, windows, ClipConfig(num_crops=1, sampling="uniform"), rate=25.0, num_frames=5)
    mirrored = [tuple(50 - frame for frame in reversed(window.frames)) for window in reversed(found)]
    for window, other in zip(found, mirrored, strict=True):
        assert np.abs(np.array(window.frames) - np.array(other)).max() <= 1


def test_a_variable_rate_is_followed_in_time():
    times = [0.0, 0.1, 0.2, 0.3, 0.9, 1.0, 1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
    windows = Windows(0.4, 0.1)
    found = {round(window.center, 3): window.frames for window in all_windows(times, windows, DENSE, rate=10.0)}
    assert found[0.6] == (3, 3, 3)  # the frame of 0.3 s stands until 0.9 s
    assert found[1.2] == (5, 7, 9)  # frames near 1.0, 1.15 and 1.3 s


@given(
    intervals=st.lists(st.floats(0.01, 0.5), min_size=1, max_size=60),
    length=st.floats(0.1, 2.0),
    share=st.floats(0.1, 1.0),
    clip=st.sampled_from(CLIPS),
)
def test_every_instant_has_one_window_of_frames_that_exist(intervals, length, share, clip):
    times = [0.0, *np.cumsum(intervals).tolist()]
    windows = Windows(length, length * share)
    found = all_windows(times, windows, clip, rate=10.0)
    end = times[-1] + 0.1
    assert len(found) == math.ceil((end - 1e-9) / windows.stride)
    np.testing.assert_allclose([window.center for window in found], windows.stride * np.arange(len(found)), atol=1e-9)
    for window in found:
        assert len(window.frames) == 3 * clip.frames_per_channel_group
        assert list(window.frames) == sorted(window.frames)
        assert 0 <= window.frames[0] <= window.frames[-1] < len(times)
        seen = [times[frame] for frame in window.frames]
        # never a frame after the window, nor one that another has replaced before it
        assert seen[-1] <= window.center + length / 2 + 0.1
        assert times[min(window.frames[0] + 1, len(times) - 1)] >= min(window.center - length / 2 - 0.1, times[-1])


def test_the_length_of_a_window_comes_with_the_model():
    config = tiny_config(num_frames=3)
    assert plan_windows(config, ModelInfo(clip=ClipConfig(frame_stride=10, target_fps=25.0))) == (1.2, 0.3)
    whole = ModelInfo(clip=ClipConfig(sampling="uniform"), clip_seconds=2.0)
    assert plan_windows(config, whole) == (2.0, 0.5)
    assert plan_windows(config, whole, window=3.0, stride=3.0) == (3.0, 3.0)
    assert plan_windows(config, whole, window=3.0).stride == 0.75


def test_lengths_that_cannot_work_are_refused():
    config, info = tiny_config(), ModelInfo(clip=ClipConfig(sampling="segment"))
    with pytest.raises(
        ConfigError, match=r"samples whole clips \(sampling='segment'\).*: pass .* as window=\.\.\. \(--window\)$"
    ):
        plan_windows(config, info)
    for window in (0.0, -1.0, math.nan, math.inf, 1e6):
        with pytest.raises(ConfigError, match=r"^window=.* must be from 0.001 to 86400 seconds$"):
            plan_windows(config, info, window=window)
    for stride in (0.0, -1.0, 2.5, math.nan):
        with pytest.raises(
            ConfigError, match=r"^stride=.* must be greater than 0 and at most the window of 2 seconds$"
        ):
            plan_windows(config, info, window=2.0, stride=stride)
    for stride in (5e-324, 0.0019):
        with pytest.raises(ConfigError, match=r"^stride=.* must be at least 1/1000 of the window of 2 seconds$"):
            plan_windows(config, info, window=2.0, stride=stride)
    assert plan_windows(config, info, window=2.0, stride=0.002).stride == 0.002
