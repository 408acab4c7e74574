import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timesformer.data.synthetic import dataset as synthetic
from timesformer.data.synthetic.dataset import (
    MOTION_CLASSES,
    OPPOSITES,
    SETTINGS_FILE,
    render_clip,
    write_clip,
    write_motion_dataset,
)
from timesformer.errors import ConfigError, DataError

TINY = {"clips_per_class": 2, "val_clips_per_class": 1, "num_frames": 3, "size": (16, 20)}


def decode(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def foreground(clip: np.ndarray) -> np.ndarray:
    """Where a clip on a plain background is not background; the background is its commonest color."""
    codes = clip.astype(np.int64) @ [1, 256, 65536]
    values, counts = np.unique(codes, return_counts=True)
    return (codes != values[counts.argmax()]).astype(float)


def centroids(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    area = mask.sum(axis=(1, 2))
    rows, columns = np.indices(mask.shape[1:])
    return (mask * columns).sum(axis=(1, 2)) / area, (mask * rows).sum(axis=(1, 2)) / area


def direction_of_time(motion: str, clip: np.ndarray) -> float:
    """A measure that reads the order of frames: positive for move_right, move_down, turn_clockwise, grow..."""
    mask = foreground(clip)
    if motion in ("grow", "shrink", "appear", "vanish"):
        return mask[-1].sum() - mask[0].sum()
    x, y = centroids(mask)
    if motion in ("move_left", "move_right"):
        return x[-1] - x[0]
    if motion in ("move_up", "move_down"):
        return y[-1] - y[0]
    if motion in ("meet", "part"):
        rows, columns = np.indices(mask.shape[1:])
        spread = [(m * ((columns - a) ** 2 + (rows - b) ** 2)).mean() for m, a, b in zip(mask, x, y, strict=True)]
        return spread[-1] - spread[0]
    # the center of a turning shape goes round in the sense of the turn (rows count downwards)
    along, down = np.diff(x), np.diff(y)
    return float((along[:-1] * down[1:] - down[:-1] * along[1:]).sum())


@pytest.mark.parametrize("motion", OPPOSITES)
@pytest.mark.parametrize("background", ["dark", "plain", "texture"])
def test_clip_played_backwards_is_a_clip_of_the_opposite_class(motion, background):
    for seed in range(5):
        clip = render_clip(motion, seed=seed, num_frames=5, size=(18, 24), background=background)
        other = render_clip(OPPOSITES[motion], seed=seed, num_frames=5, size=(18, 24), background=background)
        np.testing.assert_array_equal(clip[::-1], other)


@pytest.mark.parametrize("motion", MOTION_CLASSES)
def test_motion_goes_the_way_that_its_name_says(motion):
    sign = -1 if motion in OPPOSITES else 1
    for seed in range(20):
        clip = render_clip(motion, seed=seed, num_frames=8, size=32, background="plain")
        assert sign * direction_of_time(motion, clip) > 0, f"seed {seed}"


def test_frames_without_their_order_do_not_tell_opposites_apart():
    def order_free_statistics(motion: str, *, first_seed: int) -> np.ndarray:
        clips = [render_clip(motion, seed=first_seed + k, num_frames=6, size=16) for k in range(100)]
        features = np.stack([np.concatenate([c.mean(axis=0), c.std(axis=0)]) for c in clips]) / 255
        return features.reshape(100, 8, 4, 4, 4, 3).mean(axis=(2, 4)).reshape(100, -1)

    for motion, opposite in OPPOSITES.items():
        a, b = order_free_statistics(motion, first_seed=0), order_free_statistics(opposite, first_seed=100)
        z = (a.mean(axis=0) - b.mean(axis=0)) / np.sqrt(a.var(axis=0) / 100 + b.var(axis=0) / 100)
        # 96 features a pair: a normal z passes 4.5 once in 1,500 tests of this kind, and the seeds are fixed
        assert np.abs(z).max() < 4.5, motion


@pytest.mark.parametrize("motion", MOTION_CLASSES)
def test_all_frames_of_a_clip_show_the_same_background(motion):
    clip = render_clip(motion, seed=3, num_frames=6, size=40).astype(int)
    spread = (clip.max(axis=0) - clip.min(axis=0)).max(axis=-1)
    assert 0 < (spread > 0).mean() < 0.8


@given(
    motion=st.sampled_from(MOTION_CLASSES),
    seed=st.integers(0, 2**32),
    num_frames=st.integers(2, 9),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    background=st.sampled_from(["dark", "plain", "texture"]),
)
@settings(max_examples=60, deadline=None)
def test_any_size_and_length_gives_a_clip_of_that_shape(motion, seed, num_frames, height, width, background):
    clip = render_clip(motion, seed=seed, num_frames=num_frames, size=(height, width), background=background)
    assert clip.shape == (num_frames, height, width, 3)
    assert clip.dtype == np.uint8


def test_movement_by_less_than_a_pixel_changes_the_picture():
    clip = render_clip("move_right", seed=1, num_frames=60, size=24, background="plain").astype(int)
    assert (np.abs(np.diff(clip, axis=0)).max(axis=(1, 2, 3)) > 0).all()


def test_longer_clip_shows_the_same_motion_more_finely():
    coarse = render_clip("part", seed=4, num_frames=3, size=20)
    fine = render_clip("part", seed=4, num_frames=5, size=20)
    np.testing.assert_array_equal(coarse, fine[::2])


def test_same_seed_gives_the_same_pixels_in_another_process():
    code = (
        "import sys; from timesformer.data.synthetic.dataset import render_clip;"
        "sys.stdout.buffer.write(render_clip('grow', seed=5, num_frames=4, size=20).tobytes())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert render_clip("grow", seed=5, num_frames=4, size=20).tobytes() == other


def test_generator_is_used_and_advanced():
    rng = np.random.default_rng(7)
    first, second = (render_clip("grow", seed=rng, num_frames=2, size=16) for _ in range(2))
    np.testing.assert_array_equal(first, render_clip("grow", seed=7, num_frames=2, size=16))
    assert (first != second).any()


def test_plain_background_has_one_color_and_texture_many():
    plain = render_clip("vanish", seed=2, num_frames=4, size=20, background="plain")[-1]
    texture = render_clip("vanish", seed=2, num_frames=4, size=20, background="texture")[-1]
    assert len(np.unique(plain.reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(texture.reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"motion": "move_lft"}, "unknown motion class 'move_lft': did you mean 'move_left'"),
        ({"motion": "xyz"}, "unknown motion class 'xyz': The classes are move_left"),
        ({"num_frames": 1}, "num_frames=1 must be at least 2"),
        ({"size": (8, 0)}, r"size=\(8, 0\) must be at least 1 pixel"),
        ({"background": "photo"}, "background='photo' is not one of 'dark', 'plain', 'texture'"),
    ],
)
def test_impossible_clip_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        render_clip(**{"motion": "grow", "seed": 0, "num_frames": 3, "size": 16} | arguments)


def test_written_file_is_h264_of_the_given_rate_and_decodes_near_the_frames(tmp_path):
    clip = render_clip("turn_clockwise", seed=1, num_frames=14, size=(48, 64))
    write_clip(tmp_path / "clip.mp4", clip, fps=12.5)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.frames, float(stream.average_rate)) == ("h264", 14, 12.5)
        key_frames = [number for number, frame in enumerate(container.decode(stream)) if frame.key_frame]
    assert key_frames == [0, 12]
    difference = decode(tmp_path / "clip.mp4").astype(float) - clip
    # brightness to 2 of 255 levels; color, which is kept at half the resolution, to 5
    assert np.abs(difference @ [0.299, 0.587, 0.114]).mean() < 2
    assert np.abs(difference).mean() < 5


@pytest.mark.parametrize("motion", MOTION_CLASSES)
def test_class_survives_encoding(motion, tmp_path):
    clip = render_clip(motion, seed=11, num_frames=8, size=32)
    write_clip(tmp_path / "clip.mp4", clip)
    got = decode(tmp_path / "clip.mp4").astype(float)
    assert np.abs(got - clip).mean() < np.abs(got - clip[::-1]).mean()


def test_writing_leaves_only_the_file(tmp_path):
    write_clip(tmp_path / "a.mp4", np.zeros((1, 2, 4, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_failed_writing_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    def fail_halfway(path: Path, frames: np.ndarray, *, rate: Fraction, quality: dict[str, str]) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    write_clip(tmp_path / "a.mp4", np.zeros((2, 16, 16, 3), np.uint8))
    before = (tmp_path / "a.mp4").read_bytes()
    monkeypatch.setattr(synthetic, "write_mp4", fail_halfway)
    with pytest.raises(OSError, match="disk full"):
        write_clip(tmp_path / "a.mp4", np.ones((2, 16, 16, 3), np.uint8))
    assert (tmp_path / "a.mp4").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("shape", "fps", "message"),
    [
        ((2, 15, 16, 3), 16.0, "a frame of 15x16 cannot be written as H.264: both sides must be even"),
        ((2, 16, 0, 3), 16.0, "a frame of 16x0 cannot be written"),
        ((0, 16, 16, 3), 16.0, "a video needs at least 1 frame, got 0"),
        ((2, 16, 16, 3), 0.0, "fps=0.0 must be greater than 0"),
        ((2, 16, 16, 3), np.inf, "fps=inf must be from 0.001 to 1000"),
        ((2, 16, 16, 3), 1e-7, "fps=1e-07 must be from 0.001 to 1000"),
    ],
)
def test_frames_that_cannot_be_encoded_are_refused(shape, fps, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        write_clip(tmp_path / "a.mp4", np.zeros(shape, np.uint8), fps=fps)


def test_dataset_has_a_folder_a_class_in_both_splits(tmp_path):
    classes = ("part", "move_up")
    folder = write_motion_dataset(tmp_path / "set", classes=classes, **TINY)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.mp4")) == [
        "train/move_up/move_up_0000.mp4",
        "train/move_up/move_up_0001.mp4",
        "train/part/part_0000.mp4",
        "train/part/part_0001.mp4",
        "val/move_up/move_up_0000.mp4",
        "val/part/part_0000.mp4",
    ]
    assert decode(folder / "val/part/part_0000.mp4").shape == (3, 16, 20, 3)


def test_no_two_clips_of_a_dataset_are_equal(tmp_path):
    folder = write_motion_dataset(tmp_path / "set", **TINY)
    clips = [path.read_bytes() for path in folder.rglob("*.mp4")]
    assert len(set(clips)) == len(clips) == 3 * len(MOTION_CLASSES)


def test_clips_of_a_class_do_not_depend_on_the_other_classes(tmp_path):
    all_classes = write_motion_dataset(tmp_path / "all", **TINY)
    one = write_motion_dataset(tmp_path / "one", classes=["grow"], **TINY)
    name = "train/grow/grow_0001.mp4"
    np.testing.assert_array_equal(decode(one / name), decode(all_classes / name))


def test_another_seed_gives_other_clips(tmp_path):
    folders = [write_motion_dataset(tmp_path / str(s), classes=["grow"], seed=s, **TINY) for s in (0, 1)]
    a, b = (decode(folder / "train/grow/grow_0000.mp4") for folder in folders)
    assert (a != b).any()


def test_second_run_writes_only_what_is_missing(tmp_path):
    folder = write_motion_dataset(tmp_path / "set", classes=["grow"], **TINY)
    kept, lost = folder / "train/grow/grow_0000.mp4", folder / "train/grow/grow_0001.mp4"
    before, stamp = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    calls = []
    write_motion_dataset(folder, classes=["grow"], on_progress=lambda *call: calls.append(call), **TINY)
    assert kept.stat().st_mtime_ns == stamp
    assert lost.read_bytes() == before
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_no_validation_clips_give_no_val_folder(tmp_path):
    folder = write_motion_dataset(tmp_path / "set", classes=["grow"], **TINY | {"val_clips_per_class": 0})
    assert sorted(path.name for path in folder.iterdir()) == [SETTINGS_FILE, "train"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"size": 16}, r"size is \[16, 20\] there and \[16, 16\] here"),
        ({"classes": ["part"]}, r"classes is \['grow'\] there and \['part'\] here"),
        ({"clips_per_class": 3, "fps": 8.0}, "clips_per_class is 2 there and 3 here; fps is 16.0 there and 8.0 here"),
        ({"background": "plain"}, "background is 'texture' there and 'plain' here"),
    ],
)
def test_folder_of_other_settings_is_refused_and_left_alone(changed, message, tmp_path):
    arguments = {"classes": ["grow"], **TINY}
    folder = write_motion_dataset(tmp_path / "set", **arguments)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(DataError, match=f"generated with other settings: {message}"):
        write_motion_dataset(folder, **arguments | changed)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "holiday.txt").touch()
    with pytest.raises(DataError, match="exists and is not a generated dataset"):
        write_motion_dataset(tmp_path, **TINY)


@pytest.mark.parametrize(("text", "message"), [("{", "cannot be read as JSON"), ("[]", "does not contain settings")])
def test_broken_settings_file_is_refused(text, message, tmp_path):
    (tmp_path / SETTINGS_FILE).write_text(text)
    with pytest.raises(DataError, match=message):
        write_motion_dataset(tmp_path, **TINY)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"classes": ["grow", "shrnk"]}, "unknown motion class 'shrnk': did you mean 'shrink'"),
        ({"classes": []}, r"classes=\[\] must name at least one class"),
        ({"classes": ["grow", "grow"]}, "must name at least one class, each once"),
        ({"clips_per_class": 0}, "clips_per_class=0 must be at least 1"),
        ({"val_clips_per_class": -1}, "val_clips_per_class=-1 must not be negative"),
        ({"seed": -1}, "seed=-1 must not be negative"),
        ({"size": 15}, "a frame of 15x15 cannot be written"),
        ({"num_frames": 1}, "num_frames=1 must be at least 2"),
        ({"fps": -2.0}, "fps=-2.0 must be greater than 0"),
    ],
)
def test_impossible_dataset_is_refused_before_anything_is_written(changed, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        write_motion_dataset(tmp_path / "set", **TINY | changed)
    assert not (tmp_path / "set").exists()
