import numpy as np
import pytest

from planted_faults import reencode
from timesformer.data.check.fingerprint import fingerprint
from timesformer.data.check.near_duplicates import near_pairs
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import MOTION_CLASSES, OPPOSITES, render_clip


def pairs_of(*clips):
    """The pairs among clips of 32 x 32 gray pixels and at least 16 frames."""
    middles = [(np.arange(16) * 2 + 1) * len(clip) // 32 for clip in clips]
    small = [clip[places].reshape(16, 16, 2, 16, 2).mean((2, 4)) for clip, places in zip(clips, middles, strict=True)]
    gray = np.rint(np.stack(small)).astype(np.uint8)
    thumbnails = np.stack([gray, np.full_like(gray, 128), np.full_like(gray, 128)], axis=2)
    return near_pairs(thumbnails, num_frames=np.array([len(clip) for clip in clips]))


def drawn(motion, seed, *, background="dark", num_frames=16):
    return render_clip(motion, seed=seed, num_frames=num_frames, size=32, background=background).mean(axis=-1)


def square(course, *, level=200.0, ground=10.0):
    """A bright square of 6 pixels that goes along columns before one ground."""
    frames = np.full((len(course), 32, 32), ground)
    for frame, left in zip(frames, course, strict=True):
        frame[13:19, left : left + 6] = level
    return frames


@pytest.mark.parametrize("background", ["dark", "plain", "texture"])
def test_no_two_of_many_drawn_clips_are_duplicates(background):
    clips = [drawn(motion, 7 * seed + 1, background=background) for motion in OPPOSITES for seed in range(25)]
    assert pairs_of(*clips) == []


@pytest.mark.parametrize("motion", ["move_left", "turn_clockwise", "grow", "vanish", "part"])
def test_a_clip_and_its_reversal_are_not_duplicates(motion):
    clip = drawn(motion, 3)
    assert pairs_of(clip, clip[::-1]) == []
    assert pairs_of(clip, clip) == [(0, 1)]


def test_two_actions_with_one_background_are_not_duplicates():
    ground = drawn("move_left", 1, background="texture")[0]
    clips = [np.where(square(course) > 100, 200, ground) for course in (range(16), range(2, 18), range(20, 4, -1))]
    assert pairs_of(*clips) == []


def test_one_motion_with_two_backgrounds_is_not_a_duplicate():
    clips = [np.where(square(range(16)) > 100, 200, drawn("grow", seed, background="texture")[0]) for seed in (1, 2)]
    assert pairs_of(*clips) == []


def test_two_similar_takes_of_an_action_are_not_duplicates():
    time = np.linspace(0, 1, 64)
    once = square(np.rint(24 * time).astype(int), level=90)
    again = square(np.rint(24 * time**1.15).astype(int), level=90)  # up to two pixels behind
    assert pairs_of(once, again) == []
    assert pairs_of(once, once[1:]) == [(0, 1)]


def test_a_much_brighter_copy_is_not_a_duplicate():
    assert pairs_of(square(range(16)), square(range(16)) + 20, square(range(16)) + 50) == [(0, 1)]


def test_a_copy_with_other_noise_contrast_and_brightness_is_a_duplicate():
    clip = square(range(16))
    noise = np.random.default_rng(0).normal(scale=2, size=clip.shape)
    assert pairs_of(clip, clip * 0.95 + 6, np.clip(clip + noise, 0, 255)) == [(0, 1), (0, 2), (1, 2)]


def test_a_copy_at_half_the_frame_rate_is_a_duplicate():
    clip = np.repeat(square(range(0, 24)), 2, axis=0)
    clip[1::2, :, 1:] = (clip[1::2, :, 1:] + clip[1::2, :, :-1]) / 2  # half a pixel further
    assert pairs_of(clip, clip[::2]) == [(0, 1)]


@pytest.mark.parametrize("level", [0, 255])
def test_videos_without_motion_are_never_duplicates(level):
    still = np.full((16, 32, 32), float(level))
    picture = np.repeat(drawn("grow", 1, background="texture")[:1], 16, axis=0)
    assert pairs_of(still, still, picture, picture) == []


def test_pairs_across_blocks_are_found(monkeypatch):
    clips = [drawn(motion, 5) for motion in MOTION_CLASSES[1::2]]
    expected = [(0, 6), (1, 7), (2, 8), (3, 9), (4, 10), (5, 11)]
    assert pairs_of(*clips, *clips) == expected
    monkeypatch.setattr("timesformer.data.check.near_duplicates._BLOCK", 5)
    assert pairs_of(*clips, *clips) == expected


@pytest.mark.parametrize("change", [{"size": (112, 96)}, {"size": (84, 72)}, {"crf": 30}])
def test_a_reencoded_video_is_a_duplicate(tmp_path, change):
    for motion in ("move_up", "meet"):
        frames = render_clip(motion, seed=2, num_frames=24, size=(96, 112), background="texture")
        write_clip(tmp_path / "one.mp4", frames)
        reencode(tmp_path / "one.mp4", tmp_path / "other.mp4", **{"size": (112, 96), **change})
        found = [fingerprint(tmp_path / name) for name in ("one.mp4", "other.mp4")]
        thumbnails = np.stack([each.thumbnails for each in found])
        assert found[0].digest != found[1].digest
        assert near_pairs(thumbnails, num_frames=np.array([24, 24])) == [(0, 1)]


@pytest.mark.parametrize("ground", [(0, 0, 0), (150, 60, 20)])
def test_one_motion_in_two_colors_is_not_a_duplicate(tmp_path, ground):
    green, red = (0, 100, 0), (196, 0, 0)  # equally bright
    for name, color in {"green": green, "red": red}.items():
        frames = np.where(square(range(24))[..., None] > 100, color, ground).astype(np.uint8)
        write_clip(tmp_path / f"{name}.mp4", frames)
        reencode(tmp_path / f"{name}.mp4", tmp_path / f"{name} again.mp4", crf=26)
    found = [fingerprint(tmp_path / f"{name}.mp4") for name in ("green", "green again", "red", "red again")]
    gray = [each.thumbnails[:, 0].astype(int) for each in found]
    assert np.abs(gray[0] - gray[2]).mean() < 2  # only color tells them apart
    assert near_pairs(np.stack([each.thumbnails for each in found]), num_frames=np.full(4, 24)) == [(0, 1), (2, 3)]
