"""The probe: folds over groups, all classes, the head in the model."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from timesformer.data.manifest.manifest import Sample
from timesformer.errors import DataError, DecodeError
from timesformer.evaluation.predictions import DecodeFailure, VideoOutput
from timesformer.fine_tuning.features import Features
from timesformer.fine_tuning.probe import _folds, fit_probe, predict_outcomes
from timesformer.heads.attach import attach
from timesformer.heads.head import Head
from tiny import random_clips, random_model, tiny_config


@pytest.fixture(autouse=True)
def _two_strengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare two penalties, not eleven."""
    monkeypatch.setattr("timesformer.fine_tuning.probe.STRENGTHS", (0.1, 1.0))


def made(count: int, *, labels: list[int], groups: list[str], width: int = 4, seed: int = 0):
    """Features of two views of each of `count` videos around a center of their class, and the videos."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(max(labels) + 1, width))
    features = [
        Features((centers[label] + 0.3 * rng.normal(size=(2, width))).astype(np.float32), 0.0) for label in labels
    ]
    samples = [Sample(Path(f"{index}.mp4"), labels[index], groups[index]) for index in range(count)]
    return features, samples


def test_the_probe_learns_what_can_be_learned_and_names_its_folds():
    features, samples = made(12, labels=[0, 1, 2] * 4, groups=["a"] * 3 + ["b"] * 3 + ["c"] * 3 + ["d"] * 3)
    probe = fit_probe(features, samples, num_classes=3, seed=0)
    assert probe.folds == "4 folds over groups"
    outcomes = predict_outcomes(probe.head, features, fusion="softmax")
    assert [outcome.probabilities.argmax() for outcome in outcomes] == [0, 1, 2] * 4
    assert {outcome.num_views for outcome in outcomes} == {2}
    assert [score.strength for score in probe.scores] == [1.0, 0.1]
    assert probe.strength in (0.1, 1.0)


def test_a_class_without_videos_has_a_constant_logit_below_the_others_on_average():
    features, samples = made(6, labels=[0, 2] * 3, groups=[""] * 6)
    probe = fit_probe(features, samples, num_classes=4, seed=0)
    rows = torch.from_numpy(np.concatenate([each.views for each in features]))
    logits = probe.head.logits(rows)
    assert logits.shape == (12, 4)
    assert torch.equal(logits[:, 1], logits[:, 3])
    assert logits[:, 1].unique().numel() == 1
    assert (logits.mean(dim=0)[[1, 3]] < logits.mean(dim=0)[[0, 2]].min()).all()


def test_an_undecodable_video_is_a_failure_in_its_place():
    features, samples = made(4, labels=[0, 1] * 2, groups=[""] * 4)
    probe = fit_probe(features, samples, num_classes=2, seed=0)
    outcomes = predict_outcomes(probe.head, [features[0], DecodeError("b.mp4: broken"), features[2]], fusion="logits")
    assert [type(outcome) for outcome in outcomes] == [VideoOutput, DecodeFailure, VideoOutput]
    assert [outcome.index for outcome in outcomes] == [0, 1, 2]


@given(
    groups=st.lists(st.sampled_from(["", "a", "b", "c", "d"]), min_size=4, max_size=30),
    seed=st.integers(0, 100),
)
@settings(max_examples=60, deadline=None)
def test_no_group_is_in_two_folds(groups: list[str], seed: int):
    samples = [Sample(Path(f"{index // 2}.mp4"), index % 3, group) for index, group in enumerate(groups)]
    folds, what = _folds(samples, seed=seed)
    assert len(folds) == len(samples)
    found = defaultdict(set)
    named = what == "groups"
    for sample, fold in zip(samples, folds, strict=True):
        found[(sample.group if named else "") or str(sample.path)].add(int(fold))
    assert all(len(each) == 1 for each in found.values())


def test_one_group_falls_back_to_videos_and_one_video_is_refused(caplog: pytest.LogCaptureFixture):
    one = [Sample(Path(f"{index}.mp4"), index % 2, "a") for index in range(4)]
    folds, what = _folds(one, seed=0)
    assert (len(set(folds.tolist())), what) == (4, "videos")
    assert "all training videos are in the group 'a': the cross-validation is over videos" in caplog.text
    with pytest.raises(DataError, match="segments of one video: a probe needs at least two videos"):
        _folds([Sample(Path("a.mp4"), 0), Sample(Path("a.mp4"), 1)], seed=0)


@pytest.mark.parametrize("head_norm", ["none", "batch"])
def test_an_attached_head_gives_its_logits_to_the_model(head_norm: str):
    model = random_model(tiny_config(num_classes=5, head_norm=head_norm))
    clips = random_clips(model.config, batch=6)
    generator = torch.Generator().manual_seed(0)
    width = model.config.embed_dim
    head = Head("linear", {"weight": torch.randn(5, width, generator=generator, dtype=torch.float64),
                           "bias": torch.randn(5, generator=generator, dtype=torch.float64)})  # fmt: skip
    with torch.no_grad():
        features = model.features(clips)
        attach(model, head, mean=features.mean(dim=0), variance=features.var(dim=0, correction=0))
        torch.testing.assert_close(model(clips), head.logits(features).float(), rtol=1e-4, atol=1e-4)
