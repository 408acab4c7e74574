"""Frame numbers and crop positions against tables worked out by hand, and rules that hold for every video."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from timesformer.config.schema import ClipConfig
from timesformer.data.clips import sampling
from timesformer.data.clips.sampling import Box, crop_boxes, random_box, resized_size
from timesformer.errors import DataError


@dataclass(frozen=True)
class Video:
    num_frames: int
    fps: float = 30.0


videos = st.builds(Video, num_frames=st.integers(1, 4000), fps=st.sampled_from([1.0, 12.5, 24.0, 25.0, 29.97, 60.0]))
strides = st.sampled_from([1, 4, 16, 32])
clips = st.one_of(
    st.builds(ClipConfig, sampling=st.sampled_from(["center", "coverage"]), frame_stride=strides),
    st.builds(ClipConfig, sampling=st.sampled_from(["segment", "uniform"]), num_clips=st.integers(1, 10)),
    st.builds(ClipConfig, frame_stride=strides, num_clips=st.integers(1, 10)),
)
frame_counts = st.integers(1, 100)
seeds = st.integers(0, 2**32)
jitters = st.one_of(st.just(0.0), st.floats(0, 0.999))


def clips_of(video: Video, *, num_frames: int = 8, **fields: object) -> list[list[int]]:
    return sampling.eval_clips(video, ClipConfig(**fields), num_frames=num_frames)


def test_released_clip_of_8_frames_at_stride_32_starts_at_frame_0_and_steps_by_36():
    assert clips_of(Video(300)) == [[0, 36, 72, 109, 145, 182, 218, 255]]


def test_dense_clip_follows_the_frame_rate():
    assert clips_of(Video(250, fps=25.0)) == [[0, 30, 60, 91, 121, 151, 182, 212]]
    assert clips_of(Video(250, fps=25.0), target_fps=25.0) == clips_of(Video(250))


@pytest.mark.parametrize("fps", [1e-4, 0.5, 250.0, 1e5])
@pytest.mark.parametrize("target_fps", [16.0, 30.0])
def test_a_rate_that_no_recording_has_is_taken_for_the_target_rate(fps, target_fps):
    want = clips_of(Video(300, fps=target_fps), target_fps=target_fps)
    assert clips_of(Video(300, fps=fps), target_fps=target_fps) == want == clips_of(Video(300))


def test_rates_at_the_ends_of_what_is_plausible_are_followed():
    assert clips_of(Video(900, fps=1.0)) == [[0, 1, 2, 3, 4, 5, 6, 7]]
    assert clips_of(Video(9000, fps=240.0)) == [[0, 292, 584, 877, 1169, 1462, 1754, 2047]]


@given(videos, clips, st.integers(1, 30), seeds)
def test_channels_that_are_times_read_three_frames_for_each_over_the_same_span(video, clip, num_frames, seed):
    times = replace(clip, channel_order="time")
    plain, close = (sampling.eval_clips(video, c, num_frames=num_frames) for c in (clip, times))
    assert len(close) == len(plain)
    for few, many in zip(plain, close, strict=True):
        assert len(many) == 3 * num_frames
        assert many == sorted(many)
        assert 0 <= many[0] <= many[-1] < video.num_frames
        if clip.sampling not in ("segment", "uniform") and num_frames > 1:
            assert (many[0], many[-1]) == (few[0], few[-1])
    drawn = sampling.train_clip(video, times, num_frames=num_frames, generator=np.random.default_rng(seed))
    assert len(drawn) == 3 * num_frames


def test_times_of_a_released_clip_lie_a_third_as_far_apart():
    (clip,) = clips_of(Video(300), channel_order="time")
    assert clip == [int(255 * i / 23 + 1e-9) for i in range(24)]


def test_16_frames_at_stride_16_step_by_17():
    assert clips_of(Video(300), num_frames=16, frame_stride=16) == [[17 * i for i in range(16)]]


def test_96_frames_at_stride_4_repeat_the_last_frame_of_a_10_second_video():
    (clip,) = clips_of(Video(300), num_frames=96, frame_stride=4)
    assert clip[:5] == [0, 4, 8, 12, 16]
    assert clip[73:77] == [294, 298, 299, 299]
    assert clip.count(299) == 21


def test_short_video_repeats_its_last_frame():
    assert clips_of(Video(100)) == [[0, 36, 72, 99, 99, 99, 99, 99]]
    assert clips_of(Video(1)) == [[0] * 8]


def test_several_views_step_by_a_share_of_the_room_and_never_reach_the_end():
    firsts_and_lasts = [(view[0], view[-1]) for view in clips_of(Video(356), num_clips=4)]
    assert firsts_and_lasts == [(0, 255), (25, 280), (50, 305), (75, 330)]


def test_several_views_of_a_short_video_are_alike():
    assert clips_of(Video(100), num_clips=3) == clips_of(Video(100)) * 3


def test_center_leaves_as_much_before_as_after():
    assert clips_of(Video(300), sampling="center") == [[22, 58, 94, 131, 167, 204, 240, 277]]
    assert clips_of(Video(100), sampling="center") == clips_of(Video(100))


def test_segment_takes_the_middle_of_equal_parts():
    # parts of 41 / 4 = 10.25 frames: 0-10, 10-20 (20.5 to even), 20-31, 31-41
    assert sampling.segments(42, num_frames=4) == [(0, 10), (10, 20), (20, 31), (31, 41)]
    assert clips_of(Video(42), num_frames=4, sampling="segment") == [[5, 15, 25, 36]]


def test_segment_of_a_video_shorter_than_the_clip_repeats_frames():
    assert clips_of(Video(3), num_frames=4, sampling="segment") == [[0, 0, 1, 2]]


def test_uniform_has_the_first_and_the_last_frame():
    assert clips_of(Video(8), sampling="uniform") == [[0, 1, 2, 3, 4, 5, 6, 7]]
    assert clips_of(Video(12), num_frames=5, sampling="uniform") == [[0, 3, 6, 8, 11]]
    assert clips_of(Video(3), num_frames=5, sampling="uniform") == [[0, 1, 1, 2, 2]]


def test_uniform_single_frame_is_the_middle_one():
    assert clips_of(Video(7), num_frames=1, sampling="uniform") == [[3]]
    assert clips_of(Video(8), num_frames=1, sampling="uniform") == [[3]]


def test_several_views_of_segments_take_other_parts_of_each():
    views = clips_of(Video(49), num_frames=4, sampling="segment", num_clips=3)
    assert views == [[2, 14, 26, 38], [6, 18, 30, 42], [10, 22, 34, 46]]


def test_several_uniform_views_lie_between_each_other_and_span_the_video():
    views = clips_of(Video(15), num_frames=4, sampling="uniform", num_clips=2)
    assert views == [[0, 4, 8, 12], [2, 6, 10, 14]]


def test_several_uniform_views_of_one_frame_spread_over_the_video():
    assert clips_of(Video(9), num_frames=1, sampling="uniform", num_clips=3) == [[0], [4], [8]]


@given(videos, st.sampled_from(["segment", "uniform"]), frame_counts, st.integers(2, 9))
def test_later_views_of_the_whole_video_show_later_frames(video, name, num_frames, num_clips):
    views = clips_of(video, num_frames=num_frames, sampling=name, num_clips=num_clips)
    for before, after in pairwise(views):
        assert all(first <= second for first, second in zip(before, after, strict=True))
    if video.num_frames > 2 * num_frames * num_clips:
        assert len({frame for view in views for frame in view}) == num_frames * num_clips


def test_coverage_lays_clips_end_to_end_and_completes_the_last_by_repeating_the_last_frame():
    covered = clips_of(Video(21), num_frames=3, frame_stride=3, sampling="coverage")
    assert covered == [[0, 4, 8], [9, 13, 17], [18, 20, 20]]


def test_coverage_of_a_whole_number_of_clips_has_no_extra_one():
    assert len(clips_of(Video(512), sampling="coverage")) == 2
    assert len(clips_of(Video(513), sampling="coverage")) == 3


def test_coverage_of_a_short_video_is_one_clip():
    assert clips_of(Video(100), sampling="coverage") == clips_of(Video(100))


def test_coverage_of_7_minutes_is_about_the_48_clips_of_the_paper():
    assert len(clips_of(Video(7 * 60 * 30), sampling="coverage")) == 50


@given(videos, clips, frame_counts)
def test_test_clips_have_their_number_of_rising_frames_inside_the_video(video, clip, num_frames):
    views = sampling.eval_clips(video, clip, num_frames=num_frames)
    assert views
    assert clip.sampling == "coverage" or len(views) == clip.num_clips
    for view in views:
        assert len(view) == num_frames
        assert view == sorted(view)
        assert 0 <= view[0] <= view[-1] < video.num_frames


@given(videos, clips, frame_counts, seeds, jitters)
def test_train_clip_has_its_number_of_rising_frames_inside_the_video(video, clip, num_frames, seed, jitter):
    generator = np.random.default_rng(seed)
    drawn = sampling.train_clip(video, clip, num_frames=num_frames, generator=generator, jitter=jitter)
    assert len(drawn) == num_frames
    assert drawn == sorted(drawn)
    assert 0 <= drawn[0] <= drawn[-1] < video.num_frames


@given(videos, clips, frame_counts, seeds)
def test_train_clip_is_decided_by_its_seed(video, clip, num_frames, seed):
    first, second = (
        sampling.train_clip(video, clip, num_frames=num_frames, generator=np.random.default_rng(seed)) for _ in range(2)
    )
    assert first == second


@given(videos, st.integers(2, 60), st.sampled_from([2, 4, 16]))
@example(Video(111, fps=1.0), 22, 2)  # a clip starts at 75 * 22 / 15 = 110, which rounding puts a hair below
def test_coverage_clips_do_not_overlap_and_leave_no_gap_wider_than_a_step(video, num_frames, frame_stride):
    clip = ClipConfig(sampling="coverage", frame_stride=frame_stride)
    views = sampling.eval_clips(video, clip, num_frames=num_frames)
    step = math.ceil(sampling.clip_length(clip, num_frames=num_frames, fps=video.fps) / (num_frames - 1))
    for before, after in pairwise(views):
        assert before[-1] < after[0] <= before[-1] + 2
    assert views[0][0] == 0
    assert views[-1][-1] >= video.num_frames - 1 - step


@given(videos, st.sampled_from([8, 16, 96]), st.sampled_from([4, 16, 32]), st.integers(1, 10))
def test_dense_frames_are_those_of_a_single_precision_linspace_but_for_rounding(video, num_frames, stride, num_clips):
    clip = ClipConfig(frame_stride=stride, num_clips=num_clips)
    length = num_frames * stride / 30 * video.fps
    room = max(video.num_frames - length, 0)
    for i, view in enumerate(sampling.eval_clips(video, clip, num_frames=num_frames)):
        start = room * i / num_clips
        positions = torch.linspace(start, start + length - 1, num_frames).clamp(0, video.num_frames - 1)
        near_whole = (positions - positions.round()).abs() < 0.01
        same = torch.tensor(view) == positions.long()
        assert bool((same | near_whole).all())
        assert float((torch.tensor(view) - positions).abs().max()) < 1.01


@given(videos, frame_counts, seeds)
def test_segment_draws_one_frame_of_each_part(video, num_frames, seed):
    drawn = sampling.segment_draws(video.num_frames, num_frames=num_frames, generator=np.random.default_rng(seed))
    parts = sampling.segments(video.num_frames, num_frames=num_frames)
    assert all(first <= frame <= last for frame, (first, last) in zip(drawn, parts, strict=True))


def test_segment_draws_reach_both_ends_of_every_part():
    generator = np.random.default_rng(0)
    draws = np.array([sampling.segment_draws(9, num_frames=4, generator=generator) for _ in range(200)])
    assert draws.min(axis=0).tolist() == [0, 2, 4, 6]
    assert draws.max(axis=0).tolist() == [2, 4, 6, 8]


@pytest.mark.parametrize("name", ["dense", "center", "coverage"])
def test_training_starts_of_dense_clips_cover_the_whole_range(name):
    generator = np.random.default_rng(0)
    clip = ClipConfig(sampling=name)
    starts = [sampling.train_clip(Video(356), clip, num_frames=8, generator=generator)[0] for _ in range(300)]
    assert min(starts) < 3
    assert max(starts) > 96
    assert abs(np.mean(starts) - 50) < 5


def test_uniform_training_clip_is_the_test_clip():
    clip = ClipConfig(sampling="uniform")
    drawn = sampling.train_clip(Video(50), clip, num_frames=6, generator=np.random.default_rng(1))
    assert [drawn] == sampling.eval_clips(Video(50), clip, num_frames=6)


@pytest.mark.parametrize("video", [Video(0), Video(5, fps=0.0), Video(5, fps=math.inf), Video(5, fps=math.nan)])
def test_video_without_frames_or_frame_rate_is_refused(video):
    with pytest.raises(DataError, match=r"num_frames=\d and fps=\S+ of a video must be greater than 0"):
        sampling.eval_clips(video, ClipConfig(), num_frames=8)
    with pytest.raises(DataError, match="of a video must be greater than 0"):
        sampling.train_clip(video, ClipConfig(), num_frames=8, generator=np.random.default_rng(0))


def test_three_crops_of_a_wide_frame_are_left_center_and_right():
    boxes = crop_boxes(224, 341, crop=(224, 224), num_crops=3)
    assert boxes == [Box(0, 0, 224, 224), Box(0, 59, 224, 224), Box(0, 117, 224, 224)]


def test_three_crops_of_a_tall_frame_are_top_center_and_bottom():
    boxes = crop_boxes(341, 230, crop=(224, 224), num_crops=3)
    assert boxes == [Box(0, 3, 224, 224), Box(59, 3, 224, 224), Box(117, 3, 224, 224)]


def test_single_crop_is_the_center_rounded_up():
    assert crop_boxes(256, 341, crop=(224, 224), num_crops=1) == [Box(16, 59, 224, 224)]


def test_crops_of_another_shape_slide_along_the_side_with_more_room():
    # the frame is wider than tall, but only its height leaves room
    assert crop_boxes(20, 30, crop=(10, 30), num_crops=3) == [Box(0, 0, 10, 30), Box(5, 0, 10, 30), Box(10, 0, 10, 30)]


@pytest.mark.parametrize(
    ("frame", "scale", "size"),
    [
        ((240, 320), 1.0, (224, 298)),  # 298.67 floored
        ((240, 320), 8 / 7, (256, 341)),
        ((320, 240), 8 / 7, (341, 256)),
        ((240, 320), 10 / 7, (320, 426)),
        ((300, 300), 1.0, (224, 224)),
        ((1080, 1920), 8 / 7, (256, 455)),
    ],
)
def test_square_crop_resizes_the_short_side_and_floors_the_long_one(frame, scale, size):
    assert resized_size(*frame, crop=(224, 224), scale=scale) == size


def test_other_crops_resize_by_the_smallest_scale_that_covers_them():
    assert resized_size(240, 320, crop=(96, 160), scale=1.0) == (120, 160)
    assert resized_size(240, 320, crop=(160, 96), scale=1.0) == (160, 213)
    assert resized_size(240, 320, crop=(96, 160), scale=1.5) == (180, 240)


sides = st.integers(8, 700)
crops = st.tuples(st.integers(1, 500), st.integers(1, 500))


@given(sides, sides, crops, st.floats(1.0, 2.0))
def test_resized_frame_covers_the_crop_and_fits_it_on_one_side(height, width, crop, scale):
    resized = resized_size(height, width, crop=crop, scale=scale)
    assert all(side >= least for side, least in zip(resized, crop, strict=True))
    assert any(side == round(scale * least) for side, least in zip(resized, crop, strict=True))


@given(st.integers(100, 700), st.integers(100, 700), st.integers(100, 400))
def test_resized_frame_keeps_its_shape_to_a_pixel(height, width, side):
    new_height, new_width = resized_size(height, width, crop=(side, side), scale=1.0)
    if height <= width:
        assert width * side / height - 1 - 1e-6 <= new_width <= width * side / height + 1e-6
    else:
        assert height * side / width - 1 - 1e-6 <= new_height <= height * side / width + 1e-6


@given(sides, sides, crops, st.sampled_from([1, 3]))
def test_crops_lie_inside_the_frame_and_the_outer_ones_touch_its_ends(height, width, crop, num_crops):
    height, width = max(height, crop[0]), max(width, crop[1])
    boxes = crop_boxes(height, width, crop=crop, num_crops=num_crops)
    assert len(boxes) == num_crops
    for box in boxes:
        assert (box.height, box.width) == crop
        assert 0 <= box.top <= height - box.height
        assert 0 <= box.left <= width - box.width
    if num_crops == 3:
        slides_down = height - crop[0] > width - crop[1]
        assert (boxes[0].top if slides_down else boxes[0].left) == 0
        assert (boxes[2].top == height - crop[0]) if slides_down else (boxes[2].left == width - crop[1])


@given(sides, sides, st.integers(1, 300), st.floats(1.0, 3.0))
def test_three_square_crops_at_their_own_scale_cover_frames_up_to_three_times_as_long(height, width, side, aspect):
    width = int(height * aspect)
    new_height, new_width = resized_size(height, width, crop=(side, side), scale=1.0)
    lefts = [box.left for box in crop_boxes(new_height, new_width, crop=(side, side), num_crops=3)]
    assert all(after - before <= side for before, after in pairwise(lefts))


def test_random_box_reaches_every_position():
    generator = np.random.default_rng(0)
    boxes = {random_box(6, 7, crop=(4, 5), generator=generator) for _ in range(300)}
    assert boxes == {Box(top, left, 4, 5) for top in range(3) for left in range(3)}


@given(st.integers(5, 60), st.integers(5, 60), seeds, st.floats(0, 1))
def test_box_with_a_small_jitter_lies_around_the_center(height, width, seed, jitter):
    box = random_box(height, width, crop=(5, 4), generator=np.random.default_rng(seed), jitter=jitter)
    for offset, room in ((box.top, height - 5), (box.left, width - 4)):
        assert 0 <= offset <= room
        assert abs(offset - room / 2) <= jitter * room / 2 + 0.5


def test_box_without_jitter_is_that_of_evaluation_within_half_a_pixel():
    generator = np.random.default_rng(0)
    assert {random_box(9, 8, crop=(5, 4), generator=generator, jitter=0.0) for _ in range(20)} == {Box(2, 2, 5, 4)}
    assert {random_box(8, 8, crop=(5, 4), generator=generator, jitter=0.0) for _ in range(50)} == {
        Box(1, 2, 5, 4), Box(2, 2, 5, 4),
    }  # fmt: skip


def test_default_jitter_draws_from_all_positions():
    for seed in range(30):
        first, second = np.random.default_rng(seed), np.random.default_rng(seed)
        wanted = Box(int(first.integers(0, 7, endpoint=True)), int(first.integers(0, 4, endpoint=True)), 5, 4)
        assert random_box(12, 8, crop=(5, 4), generator=second) == wanted


def test_frame_smaller_than_the_crop_is_refused():
    with pytest.raises(DataError, match="a frame of 8 x 20 pixels is smaller than a crop of 9 x 9"):
        crop_boxes(8, 20, crop=(9, 9), num_crops=1)
    with pytest.raises(DataError, match="is smaller than a crop"):
        random_box(8, 20, crop=(9, 9), generator=np.random.default_rng(0))


def test_another_number_of_crops_is_refused():
    with pytest.raises(DataError, match="num_crops=2 must be 1 or 3"):
        crop_boxes(20, 20, crop=(9, 9), num_crops=2)


@given(videos, clips, frame_counts, seeds, st.floats(0.01, 0.999))
def test_jitter_is_decided_by_its_seed_and_covers_no_more_than_it_may(video, clip, num_frames, seed, jitter):
    first, second = (
        sampling.train_clip(video, clip, num_frames=num_frames, generator=np.random.default_rng(seed), jitter=jitter)
        for _ in range(2)
    )
    assert first == second
    if clip.sampling not in ("segment", "uniform"):
        length = sampling.clip_length(clip, num_frames=num_frames, fps=video.fps)
        assert first[-1] - first[0] <= math.ceil(max(1.0, length * (1 + jitter)) - 1)


def test_no_jitter_draws_what_was_drawn_before_there_was_one():
    for name in ("dense", "segment", "uniform"):
        clip, generator = ClipConfig(sampling=name), np.random.default_rng(5)
        drawn = sampling.train_clip(Video(400), clip, num_frames=8, generator=generator)
        plain = np.random.default_rng(5)
        want = {
            "dense": lambda g: sampling.dense_indices(g.uniform(0, 400 - 256), length=256, num_frames=8, total=400),
            "segment": lambda g: sampling.segment_draws(400, num_frames=8, generator=g),
            "uniform": lambda g: sampling.uniform_indices(400, num_frames=8),
        }[name](plain)
        assert drawn == want
        assert generator.random() == plain.random()


def spans(video: Video, *, jitter: float, **fields: object) -> list[tuple[int, int]]:
    """First and last frame of many drawn clips of 5 frames."""
    clip = ClipConfig(**fields)
    draws = (
        sampling.train_clip(video, clip, num_frames=5, generator=np.random.default_rng(seed), jitter=jitter)
        for seed in range(300)
    )
    return [(frames[0], frames[-1]) for frames in draws]


def test_jittered_uniform_clip_covers_a_span_anywhere():
    drawn = spans(Video(101), jitter=0.4, sampling="uniform")
    lengths = [last - first + 1 for first, last in drawn]
    assert 61 <= min(lengths) <= 63
    assert 99 <= max(lengths) <= 101
    assert {first for first, _ in drawn} >= set(range(20))
    assert {last for _, last in drawn} >= set(range(81, 101))


def test_jittered_uniform_clip_lies_evenly_in_its_span():
    clip, generator = ClipConfig(sampling="uniform"), np.random.default_rng(9)
    frames = sampling.train_clip(Video(1000), clip, num_frames=5, generator=generator, jitter=0.9)
    first, length = sampling.random_span(1000, jitter=0.9, generator=np.random.default_rng(9))
    assert 100 <= length < 1000
    assert frames == [first + index for index in sampling.uniform_indices(length, num_frames=5)]


def test_jittered_dense_clip_is_faster_or_slower():
    # 5 frames at stride 20: 100 frames, so 50 to 150 of them
    lengths = [last - first + 1 for first, last in spans(Video(1000), jitter=0.5, frame_stride=20)]
    assert 50 <= min(lengths) <= 53
    assert 147 <= max(lengths) <= 151
    assert 94 < np.mean(lengths) < 106


def test_jittered_segments_lie_in_a_span():
    drawn = spans(Video(101), jitter=0.5, sampling="segment")
    assert all(last - first <= 100 for first, last in drawn)
    assert min(last - first for first, last in drawn) < 40


def test_frame_of_another_aspect_still_covers_the_crop():
    assert resized_size(100, 200, crop=(50, 50), scale=1.0, aspect=1.5) == (50, 150)
    assert resized_size(100, 200, crop=(50, 50), scale=1.0, aspect=0.25) == (100, 50)
    assert resized_size(100, 200, crop=(50, 50), scale=1.2, aspect=1.0) == (60, 120)


@given(
    st.integers(1, 500),
    st.integers(1, 500),
    st.integers(1, 300),
    st.integers(1, 300),
    st.floats(1, 3),
    st.floats(0.25, 4),
)
def test_crop_fits_into_frames_of_every_aspect(height, width, crop_height, crop_width, scale, aspect):
    size = resized_size(height, width, crop=(crop_height, crop_width), scale=scale, aspect=aspect)
    assert size[0] >= crop_height
    assert size[1] >= crop_width


def test_random_span_reaches_both_ends_and_every_length():
    drawn = {sampling.random_span(4, jitter=0.6, generator=np.random.default_rng(seed)) for seed in range(300)}
    assert drawn == {(0, 4), (0, 3), (1, 3), (0, 2), (1, 2), (2, 2)}
