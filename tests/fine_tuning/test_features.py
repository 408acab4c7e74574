"""Features are found by all that they depend on, and by nothing else."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from timesformer.config.run import RunConfig
from timesformer.data.manifest.manifest import Sample
from timesformer.data.video.segment import Segment
from timesformer.errors import DecodeError
from timesformer.fine_tuning.features import FeatureCache, Features, Setting
from timesformer.fine_tuning.views import Views

SETTING = Setting("a" * 64, {"num_frames": 3}, "fp32")


@pytest.fixture
def sample(persons: Path) -> Sample:
    return Sample(persons.parent / "a_grow.mp4", 1, "a")


@pytest.mark.parametrize(
    "change",
    [
        lambda run: replace(run, clip=replace(run.clip, mean=(0.4, 0.4, 0.4))),
        lambda run: replace(run, clip=replace(run.clip, sampling="uniform")),
        lambda run: replace(run, seed=1),
        lambda run: replace(run, probe_views=3),
        lambda run: replace(run, data=replace(run.data, flip=True)),
        lambda run: replace(run, data=replace(run.data, crop_jitter=0.5)),
        lambda run: replace(run, data=replace(run.data, scale_range=(1.0, 1.1))),
        lambda run: replace(run, augment=replace(run.augment, temporal_jitter=0.1)),
    ],
    ids=["mean", "sampling", "seed", "views", "flip", "crop_jitter", "scale_range", "temporal_jitter"],
)
def test_features_of_other_clips_are_other_features(
    probed: RunConfig, sample: Sample, change: Callable[[RunConfig], RunConfig]
):
    plain, other = (SETTING.key(Views(run, sample, "training")) for run in (probed, change(probed)))
    assert plain != other


@pytest.mark.parametrize("setting", [Setting("b" * 64, SETTING.model, "fp32"), Setting("a" * 64, {}, "fp32"),
                                     Setting("a" * 64, SETTING.model, "bf16")])  # fmt: skip
def test_features_of_another_model_are_other_features(probed: RunConfig, sample: Sample, setting: Setting):
    views = Views(probed, sample, "training")
    assert setting.key(views) != SETTING.key(views)


def test_what_views_do_not_depend_on_is_not_in_their_key(probed: RunConfig, sample: Sample):
    others = replace(
        probed,
        epochs=7,
        output="elsewhere",
        optim=replace(probed.optim, lr=1.0),
        augment=replace(probed.augment, erase=1),
    )
    assert SETTING.key(Views(others, sample, "training")) == SETTING.key(Views(probed, sample, "training"))
    flipped = replace(probed, seed=5, probe_views=1, data=replace(probed.data, flip=True))
    assert SETTING.key(Views(flipped, sample, "validation")) == SETTING.key(Views(probed, sample, "validation"))
    assert SETTING.key(Views(probed, sample, "validation")) != SETTING.key(Views(probed, sample, "training"))


def test_features_of_a_changed_file_and_of_another_segment_are_other_features(
    probed: RunConfig, sample: Sample, tmp_path: Path
):
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(sample.path.read_bytes())
    first = SETTING.key(Views(probed, Sample(copy, 1), "training"))
    os.utime(copy, ns=(1, 1))
    second = SETTING.key(Views(probed, Sample(copy, 1), "training"))
    parts = [SETTING.key(Views(probed, Sample(copy, 1, segment=Segment(0, end)), "training")) for end in (0.1, 0.2)]
    assert len({first, second, *parts}) == 4


def test_training_views_are_drawn_and_validation_views_are_all_crops(probed: RunConfig, sample: Sample):
    run = replace(probed, probe_views=5)
    first, again, other = (
        torch.cat(list(Views(each, sample, "training").read())) for each in (run, run, replace(run, seed=1))
    )
    assert first.shape == (5, 3, 3, 8, 20)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len({view.numpy().tobytes() for view in first}) == 5
    few = torch.cat(list(Views(probed, sample, "training").read()))
    assert torch.equal(few, first[:2])
    assert torch.cat(list(Views(run, sample, "validation").read())).shape == (3, 3, 3, 8, 20)


def test_long_videos_are_read_in_pieces(probed: RunConfig, persons: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("timesformer.data.clips.pieces.FRAMES_PER_READ", 1)
    clip = replace(probed.clip, sampling="coverage", frame_stride=1, target_fps=30.0, num_crops=1)
    views = Views(replace(probed, clip=clip), Sample(persons.parent / "b_grow.mp4", 0), "validation")
    pieces = list(views.read())
    assert len(pieces) > 1
    assert {len(piece) for piece in pieces} == {1}


def test_a_video_that_cannot_be_decoded_is_an_error_as_a_value(probed: RunConfig, tmp_path: Path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    for kind in ("training", "validation"):
        found = Views(probed, Sample(tmp_path / "broken.mp4", 0), kind).read()
        assert isinstance(found, DecodeError)
        assert "broken.mp4" in str(found)


def test_stored_features_come_back_to_the_bit_and_others_are_pruned(tmp_path: Path):
    cache = FeatureCache(tmp_path / "features")
    features = Features(np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32), 0.25)
    for key in ("one", "two"):
        cache.put(key, features)
    (cache.folder / f".{cache.path('two').name}.17.part").touch()
    found = cache.get("one")
    assert found is not None
    np.testing.assert_array_equal(found.views, features.views)
    assert (found.seconds, cache.get("three")) == (0.25, None)
    cache.prune(["one"])
    assert [path.name for path in cache.folder.iterdir()] == [cache.path("one").name]
