"""Datasets over small videos written at run time: what they hold, how they repeat, how they fail."""

import dataclasses
import logging
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from timesformer.config.run import AugmentConfig, DataConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips import dataset, sampling, transforms
from timesformer.data.clips.dataset import TrainClips, read_eval_views
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.video.file_reader import VideoReader
from timesformer.data.video.reader import read_frames
from timesformer.errors import ConfigError, DataError, DecodeError

MODEL = ModelConfig(num_frames=3, image_size=(8, 16), patch_size=4, embed_dim=8, num_heads=2, depth=1)
CLIP = ClipConfig(frame_stride=4)
DATA = DataConfig(flip=True)
EVERYTHING = AugmentConfig(
    repeats=3,
    temporal_jitter=0.5,
    tempo=4.0,
    background_swap=1.0,
    rotation=20,
    aspect=1.5,
    rand_augment=2,
    color_jitter=0.4,
    hue_jitter=0.1,
    grayscale=0.3,
    erase=0.5,
)
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12 warns where torch has threads


def write_video(path: Path, *, num_frames: int, height: int = 16, width: int = 24, seed: int = 0) -> Path:
    """A video whose frames get brighter by 4 levels each, under a fixed coarse pattern."""
    coarse = np.random.default_rng(seed).integers(0, 100, (1, height // 8, width // 8, 3))
    pattern = coarse.repeat(8, axis=1).repeat(8, axis=2)
    brightness = 4 * np.arange(num_frames).reshape(-1, 1, 1, 1) % 150
    write_clip(path, (pattern + brightness).astype(np.uint8), fps=30)
    return path


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("videos")
    paths = [write_video(folder / f"{n}.mp4", num_frames=n, width=8 * i, seed=n) for i, n in ((3, 20), (4, 31), (5, 9))]
    samples = tuple(Sample(path, label) for path, label in zip(paths, (1, 0, 1), strict=True))
    return Manifest(samples=samples, class_names=("left", "right"))


@pytest.fixture
def broken(manifest: Manifest, tmp_path: Path) -> Manifest:
    """The same videos, the second one being no video."""
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"no video" * 100)
    samples = list(manifest.samples)
    samples[1] = Sample(path, 0)
    return dataclasses.replace(manifest, samples=tuple(samples))


def train_clips(
    manifest: Manifest,
    *,
    seed: int = 7,
    data: DataConfig = DATA,
    clip: ClipConfig = CLIP,
    augment: AugmentConfig = transforms.NO_AUGMENTATION,
) -> TrainClips:
    return TrainClips(manifest, model=MODEL, clip=clip, data=data, seed=seed, augment=augment)


def all_clips(clips: TrainClips) -> torch.Tensor:
    return torch.cat([clips[i][0] for i in range(len(clips))])


def test_item_is_a_clip_of_the_models_shape_and_its_label(manifest):
    clips = train_clips(manifest)
    assert len(clips) == 3
    for i, label in enumerate((1, 0, 1)):
        clip, got = clips[i]
        assert clip.shape == (1, 3, 3, 8, 16)
        assert clip.dtype == torch.uint8
        assert got == label


def test_train_clip_holds_the_frames_that_sampling_chose(tmp_path):
    path = tmp_path / "ramp.mp4"
    write_clip(path, np.repeat(np.arange(0, 240, 20, dtype=np.uint8), 8 * 16 * 3).reshape(12, 8, 16, 3))
    one = Manifest(samples=(Sample(path, 0),), class_names=("only",))
    uniform = ClipConfig(sampling="uniform")
    frames = train_clips(one, clip=uniform)[0][0][0]
    # frames 0, 6 (5.5 goes up) and 11
    torch.testing.assert_close(frames.float().mean(dim=(0, 2, 3)), torch.tensor([0.0, 120.0, 220.0]), atol=3, rtol=0)


def test_item_is_the_same_each_time(manifest):
    torch.testing.assert_close(all_clips(train_clips(manifest)), all_clips(train_clips(manifest)), rtol=0, atol=0)


def test_index_from_the_end_gives_the_same_clip_and_one_past_it_is_refused(manifest):
    clips = train_clips(manifest)
    torch.testing.assert_close(clips[-1][0], clips[2][0], rtol=0, atol=0)
    with pytest.raises(IndexError):
        clips[3]
    with pytest.raises(IndexError):
        dataset.EvalViews(manifest, model=MODEL, clip=CLIP)[3]


def test_seed_epoch_and_place_each_change_what_is_drawn(manifest):
    twins = dataclasses.replace(manifest, samples=(manifest.samples[1],) * 2)
    clips = train_clips(twins)
    first, second = all_clips(clips)
    assert not torch.equal(first, second)
    assert not torch.equal(first, train_clips(twins, seed=8)[0][0][0])
    clips.set_epoch(1)
    assert not torch.equal(first, clips[0][0][0])
    clips.set_epoch(0)
    torch.testing.assert_close(clips[0][0][0], first, rtol=0, atol=0)


def test_first_of_several_clips_is_the_one_that_is_drawn_alone(manifest):
    one, three = train_clips(manifest), train_clips(manifest, augment=AugmentConfig(repeats=3))
    clips, label = three[1]
    assert clips.shape == (3, 3, 3, 8, 16)
    assert label == one[1][1]
    torch.testing.assert_close(clips[:1], one[1][0], rtol=0, atol=0)
    assert not any(torch.equal(clips[i], clips[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_clips_of_a_video_come_from_one_read_of_the_frames_that_each_has_drawn(manifest, monkeypatch):
    asked: list[list[int]] = []
    read = VideoReader.read
    monkeypatch.setattr(VideoReader, "read", lambda reader, indices: asked.append(indices) or read(reader, indices))
    clips, _ = train_clips(manifest, augment=AugmentConfig(repeats=2))[1]
    ((*first, a, b, c),) = asked
    for repeat, frames in enumerate((first, [a, b, c])):
        generator = np.random.default_rng([7, 0, 1, repeat] if repeat else [7, 0, 1])
        info = read_eval_views(manifest.samples[1].path, MODEL, CLIP)[1]
        assert sampling.train_clip(info, CLIP, num_frames=3, generator=generator) == frames
        alone = read_frames(manifest.samples[1].path, frames)
        want = transforms.train_view(alone, CLIP, DATA, image_size=(8, 16), generator=generator)
        torch.testing.assert_close(clips[repeat], want, rtol=0, atol=0)


@pytest.mark.parametrize(
    "field", sorted({*EVERYTHING.__dataclass_fields__} - {"rand_magnitude", "mixup", "cutmix", "mix_probability"})
)
def test_each_field_that_is_drawn_for_a_clip_changes_clips(manifest, field):
    on = {"rand_operations": AugmentConfig(rand_augment=2, rand_operations="photometric")}.get(field)
    on = on or AugmentConfig(**{field: getattr(EVERYTHING, field)})
    off = AugmentConfig(rand_augment=2) if field == "rand_operations" else transforms.NO_AUGMENTATION
    got, want = (
        torch.cat([train_clips(manifest, augment=augment, seed=seed)[1][0] for seed in range(8)])
        for augment in (on, off)
    )
    assert got.shape != want.shape or not torch.equal(got, want)


@forks
@pytest.mark.parametrize("cache", [False, True])
def test_workers_augment_as_one_process_does(manifest, cache):
    clips = train_clips(manifest, augment=EVERYTHING, data=dataclasses.replace(DATA, cache=cache))
    if cache:
        clips.preload()
    clips.set_epoch(2)
    loaded = torch.cat([batch.flatten(0, 1) for batch, _ in DataLoader(clips, batch_size=2, num_workers=2)])
    alone = train_clips(manifest, augment=EVERYTHING)
    alone.set_epoch(2)
    assert loaded.shape == (9, 3, 3, 8, 16)
    torch.testing.assert_close(loaded, all_clips(alone), rtol=0, atol=0)


@forks
@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_draw_what_one_process_draws(manifest, num_workers):
    clips = train_clips(manifest)
    loaded = torch.cat([batch[:, 0] for batch, _ in DataLoader(clips, batch_size=2, num_workers=num_workers)])
    torch.testing.assert_close(loaded, all_clips(clips), rtol=0, atol=0)


@forks
def test_workers_that_live_on_follow_the_epoch(manifest):
    clips = train_clips(manifest)
    loader = DataLoader(clips, batch_size=3, num_workers=2, persistent_workers=True)
    for epoch in (0, 1, 5):
        clips.set_epoch(epoch)
        ((loaded, _),) = list(loader)
        torch.testing.assert_close(loaded[:, 0], all_clips(clips), rtol=0, atol=0)
    alone = train_clips(manifest)
    alone.set_epoch(5)
    torch.testing.assert_close(loaded[:, 0], all_clips(alone), rtol=0, atol=0)


def test_dataset_survives_the_trip_to_a_spawned_process(manifest):
    clips = train_clips(manifest)
    clips.set_epoch(3)
    there = pickle.loads(pickle.dumps(clips))
    torch.testing.assert_close(all_clips(there), all_clips(clips), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["dense", "center", "segment", "uniform", "coverage"])
def test_clips_from_memory_equal_clips_from_files(manifest, name):
    clip = ClipConfig(sampling=name, frame_stride=32 if name in ("segment", "uniform") else 4)
    cached = train_clips(manifest, data=dataclasses.replace(DATA, cache=True), clip=clip)
    cached.preload()
    torch.testing.assert_close(all_clips(cached), all_clips(train_clips(manifest, clip=clip)), rtol=0, atol=0)


def test_preloaded_videos_are_not_opened_again(manifest, tmp_path):
    paths = [tmp_path / sample.path.name for sample in manifest.samples]
    for path, sample in zip(paths, manifest.samples, strict=True):
        path.write_bytes(sample.path.read_bytes())
    moved = dataclasses.replace(manifest, samples=tuple(Sample(path, 0) for path in paths))
    clips = train_clips(moved, data=dataclasses.replace(DATA, cache=True))
    clips.preload()
    for path in paths:
        path.unlink()
    assert all_clips(clips).shape == (3, 3, 3, 8, 16)


@forks
def test_workers_forked_after_preload_share_the_memory(manifest):
    clips = train_clips(manifest, data=dataclasses.replace(DATA, cache=True))
    clips.preload()
    loaded = torch.cat([batch[:, 0] for batch, _ in DataLoader(clips, batch_size=2, num_workers=2)])
    torch.testing.assert_close(loaded, all_clips(clips), rtol=0, atol=0)


@forks
def test_workers_forked_after_decoding_in_the_parent_do_not_hang(manifest):
    clips = train_clips(manifest)
    expected = all_clips(clips)
    loaded = torch.cat([batch[:, 0] for batch, _ in DataLoader(clips, batch_size=2, num_workers=2, timeout=30)])
    torch.testing.assert_close(loaded, expected, rtol=0, atol=0)


def test_preload_reports_each_video_and_logs_the_memory(manifest, caplog):
    seen: list[tuple[int, int]] = []
    with caplog.at_level(logging.INFO, logger="timesformer"):
        train_clips(manifest).preload(on_progress=lambda done, total: seen.append((done, total)), num_threads=2)
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert caplog.messages == ["decoded 3 videos into memory: 0 MB"]


def test_cache_without_preload_is_refused(manifest):
    with pytest.raises(DataError, match=r"data.cache=True keeps videos in memory: call preload\(\) before"):
        train_clips(manifest, data=dataclasses.replace(DATA, cache=True))[0]


def test_broken_video_is_an_error_that_names_it_and_no_other_takes_its_place(broken):
    clips = train_clips(broken)
    assert clips[0][1] == 1
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        clips[1]
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        dataset.EvalViews(broken, model=MODEL, clip=CLIP)[1]


@forks
def test_broken_video_is_named_through_a_worker(broken):
    batches = iter(DataLoader(train_clips(broken), num_workers=1))
    next(batches)
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        next(batches)
    batches._shutdown_workers()  # left to the garbage collector, it waits 5 s for the worker


def test_broken_video_stops_preload_and_nothing_is_kept(broken):
    clips = train_clips(broken, data=dataclasses.replace(DATA, cache=True))
    with pytest.raises(DecodeError, match=r"broken\.mp4"):
        clips.preload()
    with pytest.raises(DataError, match="call preload"):
        clips[0]


def test_broken_video_is_kept_as_its_error_where_it_is_to_be_skipped(broken, caplog):
    skipping = train_clips(broken, data=dataclasses.replace(DATA, cache=True, on_decode_error="skip"))
    seen: list[tuple[int, int]] = []
    with caplog.at_level(logging.INFO, logger="timesformer"):
        skipping.preload(on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert caplog.messages == ["decoded 2 videos into memory: 0 MB"]
    for _ in range(2):
        with pytest.raises(DecodeError, match=r"broken\.mp4"):
            skipping[1]
    plain = train_clips(broken)
    for index in (0, 2):
        torch.testing.assert_close(skipping[index], plain[index], rtol=0, atol=0)


def test_missing_video_is_named(manifest, tmp_path):
    gone = dataclasses.replace(manifest, samples=(Sample(tmp_path / "gone.mp4", 0),))
    with pytest.raises(DecodeError, match=r"gone\.mp4"):
        train_clips(gone)[0]


def test_model_of_other_channels_is_refused(manifest):
    gray = dataclasses.replace(MODEL, in_channels=1)
    with pytest.raises(ConfigError, match="in_channels=1 must be 3, the number of channels of a video"):
        TrainClips(manifest, model=gray, clip=CLIP, data=DATA, seed=0)
    with pytest.raises(ConfigError, match="in_channels=1 must be 3"):
        dataset.EvalViews(manifest, model=gray, clip=CLIP)


@pytest.mark.parametrize(("num_clips", "num_crops"), [(1, 1), (1, 3), (2, 3)])
def test_test_item_has_all_views_clip_by_clip_with_label_and_place(manifest, num_clips, num_crops):
    clip = dataclasses.replace(CLIP, num_clips=num_clips, num_crops=num_crops)
    views, label, index = dataset.EvalViews(manifest, model=MODEL, clip=clip)[1]
    assert (label, index) == (0, 1)
    path = manifest.samples[1].path
    # 12 of 31 frames a clip, in steps of 5.5; the second of two starts at 19 / 2
    chosen = [[0, 5, 11], [9, 15, 20]][:num_clips]
    expected = [transforms.eval_views(read_frames(path, frames), clip, image_size=(8, 16)) for frames in chosen]
    torch.testing.assert_close(views, torch.cat(expected), rtol=0, atol=0)


def test_many_clips_are_read_in_parts_and_stay_in_order(tmp_path, monkeypatch):
    asked: list[int] = []
    read = VideoReader.read
    monkeypatch.setattr(
        VideoReader, "read", lambda reader, indices: asked.append(len(indices)) or read(reader, indices)
    )
    path = write_video(tmp_path / "long.mp4", num_frames=300)
    clip = ClipConfig(sampling="coverage", frame_stride=2, num_crops=1)
    views, info = read_eval_views(path, MODEL, clip)
    clips = sampling.eval_clips(info, clip, num_frames=3)
    assert len(views) == len(clips) == 50
    assert asked == [126, 24]
    all_frames = read_frames(path, range(300))
    expected = [transforms.eval_views(all_frames[frames], clip, image_size=(8, 16)) for frames in clips]
    torch.testing.assert_close(views, transforms.to_floats(torch.cat(expected), clip), rtol=0, atol=0)


def test_views_come_with_what_is_known_of_the_video(manifest):
    _, info = read_eval_views(manifest.samples[0].path, MODEL, CLIP)
    assert (info.num_frames, info.height, info.width) == (20, 16, 24)


@forks
def test_test_views_load_through_workers_one_video_at_a_time(manifest):
    views = dataset.EvalViews(manifest, model=MODEL, clip=dataclasses.replace(CLIP, sampling="coverage"))
    loaded = list(DataLoader(views, batch_size=None, num_workers=2))
    assert [(len(v), label, index) for v, label, index in loaded] == [(6, 1, 0), (9, 0, 1), (3, 1, 2)]
