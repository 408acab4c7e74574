"""Mixed batches against blends computed by hand, and targets against torch's label smoothing."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from timesformer.config.run import AugmentConfig
from timesformer.data.clips.sampling import Box
from timesformer.training.mixup import cut_mix, draw_box, mix_batch, smooth_targets

LABELS = torch.tensor([2, 0, 3, 1, 2])


def random_clips(batch: int = 5, *, size: tuple[int, int] = (6, 7)) -> Tensor:
    return torch.randn(batch, 3, 2, *size, generator=torch.Generator().manual_seed(0))


def mixed(clips: Tensor, labels: Tensor, seed: int = 0, *, smoothing: float = 0.0, **fields: float):
    generator = np.random.default_rng(seed)
    config = AugmentConfig(**fields)
    return mix_batch(clips, labels, config, num_classes=4, label_smoothing=smoothing, generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_targets_without_mixing_give_the_loss_of_smoothed_labels(smoothing):
    logits = torch.randn(5, 4)
    _, targets = mixed(random_clips(), LABELS, smoothing=smoothing)
    want = F.cross_entropy(logits, LABELS, label_smoothing=smoothing)
    torch.testing.assert_close(F.cross_entropy(logits, targets), want)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(5))


def test_without_mixing_nothing_is_drawn_and_clips_are_unchanged():
    clips, generator = random_clips(), np.random.default_rng(3)
    same, targets = mix_batch(clips, LABELS, AugmentConfig(), num_classes=4, label_smoothing=0, generator=generator)
    assert same is clips
    torch.testing.assert_close(targets, F.one_hot(LABELS, 4).float())
    assert generator.random() == np.random.default_rng(3).random()


def test_mixup_blends_each_clip_and_its_target_with_those_of_its_partner():
    clips = random_clips()
    generator = np.random.default_rng(1)
    generator.random()
    weight = generator.beta(0.8, 0.8)
    blended, targets = mixed(clips, LABELS, seed=1, mixup=0.8, smoothing=0.1)
    partner = [4, 3, 2, 1, 0]
    torch.testing.assert_close(blended, weight * clips + (1 - weight) * clips[partner])
    smooth = smooth_targets(LABELS, num_classes=4, label_smoothing=0.1)
    torch.testing.assert_close(targets, weight * smooth + (1 - weight) * smooth[partner])
    torch.testing.assert_close(blended[2], clips[2])


@pytest.mark.parametrize("seed", range(8))
def test_cutmix_weight_is_the_fraction_of_the_pixels(seed):
    clips = torch.arange(4.0).reshape(4, 1, 1, 1, 1).expand(4, 3, 2, 9, 11)
    labels = torch.arange(4)
    cut, targets = mixed(clips, labels, seed=seed, cutmix=1.0)
    for index, target in enumerate(targets):
        torch.testing.assert_close(target[index], (cut[index] == index).float().mean())
        torch.testing.assert_close(target[3 - index], (cut[index] == 3 - index).float().mean())
    torch.testing.assert_close(cut, cut[:, :1, :1].expand_as(cut))


def test_cutmix_copies_a_box_of_the_partner_in_all_frames():
    clips = random_clips(4)
    before = clips.clone()
    cut = cut_mix(clips, clips.flip(0), Box(1, 2, 3, 4))
    want = before.clone()
    want[:, :, :, 1:4, 2:6] = before.flip(0)[:, :, :, 1:4, 2:6]
    torch.testing.assert_close(cut, want)
    torch.testing.assert_close(clips, before)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_clip_that_is_its_own_partner_is_unchanged(name):
    clips, labels = random_clips(3), LABELS[:3]
    mixing = AugmentConfig(**{name: 1.0})
    generators = [np.random.default_rng(4) for _ in range(2)]
    settings: Any = {"num_classes": 4, "label_smoothing": 0.0}
    some, targets = mix_batch(
        clips, labels, mixing, **settings, generator=generators[0], partners=torch.tensor([1, 0, 2])
    )
    pair, wanted = mix_batch(clips[:2], labels[:2], mixing, **settings, generator=generators[1])
    torch.testing.assert_close(some, torch.cat([pair, clips[2:]]))
    torch.testing.assert_close(
        targets, torch.cat([wanted, smooth_targets(labels[2:], num_classes=4, label_smoothing=0)])
    )


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 1), st.integers(0, 2**32))
def test_box_lies_in_the_picture(height, width, area, seed):
    box = draw_box(height, width, area=area, generator=np.random.default_rng(seed))
    assert 0 <= box.top <= box.top + box.height <= height
    assert 0 <= box.left <= box.left + box.width <= width


def test_box_in_the_middle_has_its_fraction_of_the_area():
    boxes = [draw_box(100, 200, area=0.25, generator=np.random.default_rng(seed)) for seed in range(200)]
    assert {(box.height, box.width) for box in boxes} >= {(50, 100)}
    assert all(box.height <= 50 and box.width <= 100 for box in boxes)


def test_both_are_drawn_if_both_are_on():
    clips = random_clips(4)
    kinds = []
    for seed in range(100):
        result, _ = mixed(clips, LABELS[:4], seed=seed, mixup=1.0, cutmix=1.0)
        kinds.append(bool(((result == clips) | (result == clips.flip(0))).all()))
    assert 30 < sum(kinds) < 70


def test_probability_is_the_fraction_of_batches_that_are_mixed():
    clips = random_clips(2)
    results = [mixed(clips, LABELS[:2], seed=seed, mixup=1.0, mix_probability=0.3)[0] for seed in range(300)]
    assert 65 < sum(not torch.equal(result, clips) for result in results) < 115


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
@pytest.mark.parametrize("size", [0, 1])
def test_batch_of_one_clip_or_none_is_unchanged(name, size):
    clips = random_clips(size)
    result, targets = mixed(clips, LABELS[:size], smoothing=0.2, **{name: 1.0})
    torch.testing.assert_close(result, clips)
    torch.testing.assert_close(targets, smooth_targets(LABELS[:size], num_classes=4, label_smoothing=0.2))


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_seed_decides_and_clips_are_left(name):
    clips = random_clips()
    before = clips.clone()
    first, second, other = (mixed(clips, LABELS, seed=seed, **{name: 0.5}) for seed in (4, 4, 5))
    torch.testing.assert_close(first, second)
    assert not torch.equal(first[1], other[1])
    torch.testing.assert_close(clips, before)


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_small_alpha_mixes_little_and_large_alpha_half(name):
    clips = random_clips(2, size=(40, 40))
    purity = {
        alpha: np.mean([mixed(clips, LABELS[:2], seed=seed, **{name: alpha})[1].amax().item() for seed in range(60)])
        for alpha in (0.05, 50.0)
    }
    assert purity[0.05] > 0.8
    assert purity[50.0] < (0.6 if name == "mixup" else 0.8)  # boxes that stick out are cut off
