"""Order of the frames of a test clip, and the interval over several models."""

import numpy as np
import pytest
import torch

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.evaluation.metrics import wilson_interval
from timesformer.reproduce.measure import frames_in_order, interval_over_seeds, reordered
from tiny import random_clips, random_model, tiny_config


def numbered_clips(num_frames=5):
    """Two clips whose pixels hold the frame number, counted from 0 and from 10."""
    frames = torch.arange(num_frames, dtype=torch.float32).reshape(1, 1, num_frames, 1, 1)
    return torch.cat([frames, frames + 10]).expand(2, 3, num_frames, 2, 4)


def frame_numbers(clips):
    return clips[:, 0, :, 0, 0].int().tolist()


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ("given", [[0, 1, 2, 3, 4], [10, 11, 12, 13, 14]]),
        ("reversed", [[4, 3, 2, 1, 0], [14, 13, 12, 11, 10]]),
        ("one", [[2, 2, 2, 2, 2], [12, 12, 12, 12, 12]]),
    ],
)
def test_frames_come_in_the_order_asked_for(order, wanted):
    assert frame_numbers(reordered(numbered_clips(), order, generator=torch.Generator())) == wanted


def test_each_clip_is_shuffled_differently_and_reproducibly():
    first, again = (
        frame_numbers(reordered(numbered_clips(9), "shuffled", generator=torch.Generator().manual_seed(3)))
        for _ in range(2)
    )
    assert first == again
    assert [sorted(clip) for clip in first] == [list(range(9)), list(range(10, 19))]
    assert first[0] != list(range(9))
    assert [frame - 10 for frame in first[1]] != first[0]


def test_a_model_sees_reversed_frames_until_the_context_ends():
    config = tiny_config()
    model, clips = random_model(config), random_clips(config)
    plain, backwards = model(clips), model(clips.flip(2))
    with frames_in_order(model, "reversed"):
        torch.testing.assert_close(model(clips), backwards)
    torch.testing.assert_close(model(clips), plain)
    assert not torch.allclose(plain, backwards)


def test_reversed_times_are_reversed_within_each_frame_of_the_model_too():
    config = tiny_config()
    model, clips = random_model(config, info=ModelInfo(clip=ClipConfig(channel_order="time"))), random_clips(config)
    backwards = model(clips.flip(1, 2))
    with frames_in_order(model, "reversed"):
        torch.testing.assert_close(model(clips), backwards)


@pytest.mark.parametrize("num_right", [80, 100, 0])
def test_the_interval_of_one_model_is_wilsons(num_right):
    assert interval_over_seeds([np.arange(100) < num_right]) == wilson_interval(num_right / 100, num_trials=100)


def test_the_interval_of_videos_in_groups_is_over_the_groups():
    right = np.arange(100) % 10 < 8
    apart, together = ([f"person {group}" for group in groups] for groups in (np.arange(100), np.arange(100) % 10))
    widths = [high - low for low, high in (interval_over_seeds([right], groups=groups) for groups in (apart, together))]
    assert 2 * widths[0] < widths[1]


def test_models_that_fail_on_the_same_videos_make_no_narrower_interval():
    right = np.arange(100) < 80
    low, high = interval_over_seeds([right])
    assert interval_over_seeds([right, right]) == pytest.approx((low, high))
    other_low, other_high = interval_over_seeds([right, right[::-1]])
    assert other_high - other_low < high - low
