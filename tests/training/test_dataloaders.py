import logging
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from timesformer.config.run import AugmentConfig, DataConfig, RunConfig
from timesformer.config.schema import ClipConfig
from timesformer.data.clips.dataset import EvalViews
from timesformer.data.manifest.manifest import Manifest, Sample, load_manifest
from timesformer.data.manifest.save import save_manifest
from timesformer.errors import ConfigError, DataError, DecodeError, TimeSformerError
from timesformer.training.dataloaders import (
    Batch,
    DataLoaders,
    EpochOrder,
    OneView,
    Split,
    collate,
    load_data,
    make_loaders,
    mix_partners,
    validation_clip,
    validation_of,
    with_num_classes,
)

CPU = torch.device("cpu")


def _names(manifest: Manifest) -> list[str]:
    return [f"{sample.path.parent.parent.name}/{sample.path.name}" for sample in manifest.samples]


def test_folder_with_splits_gives_both(videos: Path):
    split = load_data(DataConfig(train=str(videos)), seed=0)
    assert split.size.train == 12
    assert split.size.val == 6
    assert {name.split("/")[0] for name in _names(split.val)} == {"val"}
    assert split.train.class_names == split.val.class_names == ("grow", "move_left", "move_right")


def test_validation_that_is_named_wins_over_that_of_the_folder(videos: Path):
    split = load_data(DataConfig(train=str(videos), val=str(videos / "train")), seed=0)
    assert {name.split("/")[0] for name in _names(split.val)} == {"train"}


def test_fraction_of_each_class_is_held_out_without_validation(videos: Path):
    split = load_data(DataConfig(train=str(videos / "train"), val_fraction=0.25), seed=0)
    assert (split.size.train, split.size.val) == (9, 3)
    assert sorted(sample.label for sample in split.val.samples) == [0, 1, 2]
    assert set(split.train.samples).isdisjoint(split.val.samples)


def test_seed_chooses_what_is_held_out(videos: Path):
    data = DataConfig(train=str(videos / "train"), val_fraction=0.5)
    held = [load_data(data, seed=seed).val for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_validation_labels_follow_the_names_of_training(videos: Path, tmp_path: Path):
    val = load_manifest(videos / "val", class_names=("move_right", "grow", "move_left"))
    save_manifest(val, tmp_path / "val.csv")
    split = load_data(DataConfig(train=str(videos / "train"), val=str(tmp_path / "val.csv")), seed=0)
    assert all(split.val.class_names[s.label] == s.path.parent.name for s in split.val.samples)


def test_class_that_only_validation_has_is_refused(videos: Path, tmp_path: Path):
    train = load_manifest(videos / "train")
    two = Manifest(tuple(s for s in train.samples if s.label < 2), train.class_names[:2])
    save_manifest(two, tmp_path / "train.csv")
    with pytest.raises(DataError, match="does not have 1 of the videos' classes: 'move_right'"):
        load_data(DataConfig(train=str(tmp_path / "train.csv"), val=str(videos / "val")), seed=0)


def test_one_class_is_refused(videos: Path, tmp_path: Path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "grow").symlink_to(videos / "train" / "grow")
    with pytest.raises(DataError, match=r"train: has one class \('grow'\); a classifier needs at least two"):
        load_data(DataConfig(train=str(tmp_path / "train")), seed=0)


def test_empty_source_is_refused():
    with pytest.raises(ConfigError, match=r"data\.train is empty: name a folder"):
        load_data(DataConfig(), seed=0)


def test_videos_in_both_splits_are_a_warning(videos: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING, logger="timesformer"):
        load_data(DataConfig(train=str(videos / "train"), val=str(videos / "train")), seed=0)
    assert "12 videos are in both training and validation" in caplog.text


def test_one_video_and_group_in_both_splits_are_told_in_the_singular(
    videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    manifest = load_manifest(videos / "train")
    samples = tuple(replace(s, group=f"p{number}") for number, s in enumerate(manifest.samples))
    save_manifest(Manifest(samples[:-2], manifest.class_names), tmp_path / "train.csv")
    save_manifest(Manifest((samples[0], *samples[-2:]), manifest.class_names), tmp_path / "val.csv")
    with caplog.at_level(logging.WARNING, logger="timesformer"):
        load_data(DataConfig(train=str(tmp_path / "train.csv"), val=str(tmp_path / "val.csv")), seed=0)
    assert "1 video is in both training and validation: validation accuracy will be too high" in caplog.text
    assert "1 group is in both training and validation (p0): validation accuracy will be too high" in caplog.text


def _write_groups(videos: Path, target: Path, group_of: Callable[[int], str]) -> Path:
    """List the 12 training videos, each with a group that depends on its number within its class."""
    manifest = load_manifest(videos / "train")
    samples = tuple(replace(s, group=group_of(number % 4)) for number, s in enumerate(manifest.samples))
    save_manifest(Manifest(samples, manifest.class_names), target)
    return target


def test_whole_groups_are_held_out(videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    source = _write_groups(videos, tmp_path / "train.csv", lambda number: f"person {number}")
    with caplog.at_level(logging.WARNING, logger="timesformer"):
        split = load_data(DataConfig(train=str(source), val_fraction=0.25), seed=0)
    assert (split.size.train, split.size.val) == (9, 3)
    assert len(split.val.groups) == 1
    assert len(split.train.groups) == 3
    assert set(split.val.groups).isdisjoint(split.train.groups)
    assert split.num_groups == 4
    assert caplog.text == ""


def test_classes_without_validation_group_are_a_warning(videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    manifest = load_manifest(videos / "train")
    samples = tuple(replace(s, group="anna" if s.label == 1 else s.path.stem) for s in manifest.samples)
    save_manifest(Manifest(samples, manifest.class_names), tmp_path / "train.csv")
    with caplog.at_level(logging.WARNING, logger="timesformer"):
        split = load_data(DataConfig(train=str(tmp_path / "train.csv")), seed=0)
    assert {sample.label for sample in split.val.samples} == {0, 2}
    assert "1 of 3 classes have no validation video (move_left): none of their groups can be held out" in caplog.text


def test_groups_in_both_splits_are_a_warning(videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    train = _write_groups(videos, tmp_path / "train.csv", lambda number: f"p{number}")
    manifest = load_manifest(videos / "val")
    samples = tuple(replace(s, group=f"p{number}") for number, s in enumerate(manifest.samples, start=2))
    save_manifest(Manifest(samples, manifest.class_names), tmp_path / "val.csv")
    with caplog.at_level(logging.WARNING, logger="timesformer"):
        load_data(DataConfig(train=str(train), val=str(tmp_path / "val.csv")), seed=0)
    assert "2 groups are in both training and validation (p2, p3): validation accuracy will be too high" in caplog.text


def test_validation_videos_of_a_run_are_those_that_it_validates_on(run: RunConfig):
    assert validation_of(run) == load_data(run.data, seed=run.seed).val


def test_number_of_classes_comes_from_the_data(run: RunConfig):
    counted = with_num_classes(run, load_data(run.data, seed=0))
    assert run.model.num_classes == 400
    assert counted.model.num_classes == 3
    assert replace(counted.model, num_classes=400) == run.model


def test_order_depends_on_seed_and_epoch_alone():
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochOrder(20, seed=seed)
        sampler.set_epoch(epoch)
        torch.rand(3)
        return list(sampler)

    assert order(0, 1) == order(0, 1)
    assert sorted(order(0, 1)) == list(range(20))
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_skipping_leaves_out_the_start_of_one_pass_alone():
    sampler = EpochOrder(20, seed=3)
    sampler.set_epoch(2)
    whole = list(sampler)
    sampler.skip(7)
    assert len(sampler) == 20
    assert list(sampler) == whole[7:]
    assert list(sampler) == whole
    sampler.skip(20)
    assert list(sampler) == []
    sampler.skip(0)
    assert list(sampler) == whole


@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        (ClipConfig(num_clips=10), ClipConfig(num_crops=1)),
        (ClipConfig(sampling="coverage"), ClipConfig(sampling="center", num_crops=1)),
        (ClipConfig(sampling="uniform", fusion="logits"), ClipConfig(sampling="uniform", fusion="logits", num_crops=1)),
    ],
)
def test_validation_between_epochs_takes_one_view(clip: ClipConfig, expected: ClipConfig):
    assert validation_clip(clip) == expected


def _loaders(run: RunConfig, first_epoch: int = 0) -> DataLoaders:
    split = load_data(run.data, seed=run.seed)
    return make_loaders(split, run=with_num_classes(run, split), device=CPU, first_epoch=first_epoch)


def test_every_training_video_is_seen_once_an_epoch(run: RunConfig):
    labels = [batch[1].tolist() for batch in _loaders(run).train]
    assert [len(batch) for batch in labels] == [5, 5, 2]
    assert sorted(label for batch in labels for label in batch) == sorted(4 * [0, 1, 2])


def test_epoch_does_not_depend_on_the_first_epoch_of_a_run(run: RunConfig):
    resumed = next(iter(_loaders(run, first_epoch=1).train))
    loaders = _loaders(run)
    loaders.clips.set_epoch(1)
    loaders.order.set_epoch(1)
    torch.testing.assert_close(next(iter(loaders.train)), resumed)


def test_validation_comes_in_the_order_of_the_manifest(run: RunConfig):
    labels = torch.cat([batch[1] for batch in _loaders(run).val])
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_unreadable_video_is_an_error_in_place_of_its_batch(run: RunConfig, tmp_path: Path, num_workers: int):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    split = load_data(run.data, seed=0)
    split = Split(split.train, Manifest((Sample(broken, 0), *split.val.samples), split.val.class_names))
    run = replace(run, data=replace(run.data, num_workers=num_workers))
    first, second = make_loaders(split, run=run, device=CPU, first_epoch=0).val
    assert isinstance(first, DecodeError)
    assert str(broken) in str(first)
    assert len(second[1]) == 2


def _with_broken(split: Split, path: Path, *, indices: tuple[int, ...] = (1,)) -> Split:
    """The same videos, with some in both splits replaced by broken files."""

    def damaged(manifest: Manifest) -> Manifest:
        samples = list(manifest.samples)
        for index in indices:
            samples[index] = Sample(path / f"broken{index}.mp4", samples[index].label)
        return Manifest(tuple(samples), manifest.class_names)

    for index in indices:
        (path / f"broken{index}.mp4").write_bytes(b"no video")
    return Split(damaged(split.train), damaged(split.val))


@pytest.mark.parametrize(("num_workers", "cache"), [(0, False), (0, True), (1, False)])
def test_unreadable_video_is_skipped_and_listed_once_an_epoch_if_skipped(
    run: RunConfig, tmp_path: Path, num_workers: int, cache: bool
):
    data = replace(run.data, num_workers=num_workers, cache=cache, on_decode_error="skip")
    run = replace(run, data=data, augment=AugmentConfig(repeats=2), batch_size=6)
    split = _with_broken(load_data(run.data, seed=0), tmp_path)
    loaders = make_loaders(split, run=run, device=CPU, first_epoch=0)
    for epoch in range(2):
        loaders.clips.set_epoch(epoch)
        loaders.order.set_epoch(epoch)
        for loader, num_clips in ((loaders.train, 22), (loaders.val, 5)):
            batches = list(loader)
            assert sum(len(batch.clips) for batch in batches) == num_clips
            assert all(len(batch.clips) == len(batch.labels) for batch in batches)
            (message,) = [message for batch in batches for message in batch.skipped]
            assert str(tmp_path / "broken1.mp4") in message


def test_remaining_clips_do_not_depend_on_skipped_ones(run: RunConfig, tmp_path: Path):
    run = replace(run, data=replace(run.data, on_decode_error="skip"), batch_size=12)
    split = load_data(run.data, seed=0)
    (whole,) = make_loaders(split, run=run, device=CPU, first_epoch=0).train
    loaders = make_loaders(_with_broken(split, tmp_path), run=run, device=CPU, first_epoch=0)
    (rest,) = loaders.train
    kept = [position for position, index in enumerate(loaders.order) if index != 1]
    torch.testing.assert_close(rest.clips, whole.clips[kept], rtol=0, atol=0)
    assert rest.labels.tolist() == whole.labels[kept].tolist()


def test_batch_of_unreadable_videos_has_no_clips(run: RunConfig, tmp_path: Path):
    run = replace(run, data=replace(run.data, on_decode_error="skip"), batch_size=2)
    split = _with_broken(load_data(run.data, seed=0), tmp_path, indices=(0, 1))
    first, second, third = make_loaders(split, run=run, device=CPU, first_epoch=0).val
    assert first.clips.shape == (0, 3, 3, 16, 16)
    assert first.labels.tolist() == []
    assert ["broken0" in first.skipped[0], "broken1" in first.skipped[1]] == [True, True]
    assert second.labels.tolist() == [1, 1]
    assert second.skipped == third.skipped == ()


def test_only_decode_errors_are_skipped():
    other, broken = TimeSformerError("no memory"), DecodeError("a.mp4: no video")
    good = torch.ones(1, 3, 1, 2, 2), 4
    got = collate([good, broken, other], on_decode_error="skip", clip_shape=(3, 1, 2, 2))
    assert got is other
    assert collate([good, broken], on_decode_error="raise", clip_shape=(3, 1, 2, 2)) is broken
    batch = collate([broken, good], on_decode_error="skip", clip_shape=(3, 1, 2, 2))
    assert isinstance(batch, Batch)
    assert (batch.labels.tolist(), batch.skipped) == ([4], ("a.mp4: no video",))


@given(st.lists(st.booleans(), max_size=9), st.integers(1, 3))
def test_skipped_videos_change_no_pair_of_the_others(is_read: list[bool], repeats: int):
    clips = [(video, repeat) for video in range(len(is_read)) for repeat in range(repeats)]
    pairs = dict(zip(clips, reversed(clips), strict=True))
    kept = [clip for clip in clips if is_read[clip[0]]]
    expected = [pairs[clip] if pairs[clip] in kept else clip for clip in kept]
    assert [kept[place] for place in mix_partners(is_read, repeats=repeats)] == expected


def test_batches_count_clips_and_keep_those_of_a_video_together(run: RunConfig):
    run = replace(run, augment=AugmentConfig(repeats=2), batch_size=16, accumulate=2)
    loaders = _loaders(run)
    first, second, third = loaders.train
    assert [len(batch.clips) for batch in (first, second, third)] == [8, 8, 8]
    order = list(loaders.order)
    for batch, indices in zip((first, second, third), (order[:4], order[4:8], order[8:]), strict=True):
        videos = [loaders.clips[index] for index in indices]
        torch.testing.assert_close(batch.clips, torch.cat([clips for clips, _ in videos]), rtol=0, atol=0)
        assert batch.labels.tolist() == [label for _, label in videos for _ in range(2)]
    assert [len(batch.clips) for batch in loaders.val] == [6]


def test_accumulation_splits_training_and_validation_batches(run: RunConfig):
    loaders = _loaders(replace(run, batch_size=8, accumulate=2))
    assert [len(batch.clips) for batch in loaders.train] == [4, 4, 4]
    assert [len(batch.clips) for batch in loaders.val] == [4, 2]


def test_augmentation_applies_to_training_clips_only(run: RunConfig):
    plain, erased = _loaders(run), _loaders(replace(run, augment=AugmentConfig(erase=1.0)))
    for before, after in zip(plain.train, erased.train, strict=True):
        assert all(not torch.equal(*pair) for pair in zip(before.clips, after.clips, strict=True))
    torch.testing.assert_close([batch.clips for batch in erased.val], [batch.clips for batch in plain.val])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_feed_the_same_augmented_batches(run: RunConfig, num_workers: int):
    augment = AugmentConfig(repeats=2, rand_augment=2, rotation=10, temporal_jitter=0.3, erase=0.5)
    run = replace(run, augment=augment, batch_size=6)
    with_workers = replace(run, data=replace(run.data, num_workers=num_workers))
    torch.testing.assert_close(list(_loaders(with_workers).train), list(_loaders(run).train), rtol=0, atol=0)


def test_cache_decodes_in_advance_and_changes_no_clip(run: RunConfig, monkeypatch: pytest.MonkeyPatch):
    split, counts = load_data(run.data, seed=0), []
    plain = [batch[0] for batch in _loaders(run).train]
    cached = replace(run, data=replace(run.data, cache=True))
    loaders = make_loaders(
        split, run=cached, device=CPU, first_epoch=0, on_progress=lambda done, total: counts.append((done, total))
    )
    assert counts == [(done, 12) for done in range(1, 13)]
    monkeypatch.setattr("timesformer.data.clips.dataset.open_reader", None)
    torch.testing.assert_close([batch[0] for batch in loaders.train], plain)


def test_cached_validation_view_is_read_once(run: RunConfig, monkeypatch: pytest.MonkeyPatch):
    views = EvalViews(load_data(run.data, seed=0).val, model=run.model, clip=validation_clip(run.clip))
    kept, uncached = OneView(views, cache=True), OneView(views, cache=False)
    expected = kept[1]
    torch.testing.assert_close(uncached[1], expected)
    monkeypatch.setattr(EvalViews, "__getitem__", lambda self, index: pytest.fail("read again"))
    torch.testing.assert_close(kept[1], expected)


def test_errors_survive_pickling_from_a_worker():
    error = pickle.loads(pickle.dumps(DecodeError("a.mp4: no video")))
    assert isinstance(error, DecodeError)
    assert str(error) == "a.mp4: no video"
