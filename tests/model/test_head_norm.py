"""Standardization of features before the head."""

import pytest
import torch

from timesformer.model.folding import folded_head
from timesformer.model.standardization import BatchStandardization, Moments
from timesformer.model.timesformer import TimeSformer
from tiny import random_clips, random_model, tiny_config

BATCH = tiny_config(head_norm="batch")


@torch.no_grad()
def test_head_reads_features_of_mean_0_and_deviation_1_over_the_batch_in_training():
    model, clips = random_model(BATCH).train(), random_clips(BATCH, batch=5)
    features = model.features(clips)
    standard = (features - features.mean(0)) / (features.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(model(clips), model.head(standard), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_head_reads_features_standardized_by_running_statistics_in_eval_mode():
    model, clips = random_model(BATCH), random_clips(BATCH)
    norm = model.head_norm
    standard = (model.features(clips) - norm.running_mean) / (norm.running_var + 1e-5).sqrt()
    torch.testing.assert_close(model(clips), model.head(standard))


@torch.no_grad()
def test_running_statistics_follow_the_batches_by_a_tenth():
    model, clips = random_model(BATCH).train(), random_clips(BATCH, batch=4)
    before, features = model.head_norm.running_mean.clone(), model.features(clips)
    model(clips)
    torch.testing.assert_close(model.head_norm.running_mean, 0.9 * before + 0.1 * features.mean(0))


@torch.no_grad()
def test_a_single_clip_in_training_is_standardized_as_in_eval_mode():
    model, clips = random_model(BATCH), random_clips(BATCH, batch=1)
    wanted = model(clips)
    torch.testing.assert_close(model.train()(clips), wanted)


@pytest.mark.parametrize("head_norm", ["none", "batch"])
@torch.no_grad()
def test_folded_head_gives_the_logits_of_the_features(head_norm: str):
    config = tiny_config(head_norm=head_norm)
    model, clips = random_model(config), random_clips(config)
    weight, bias = folded_head(model)
    torch.testing.assert_close(model.features(clips) @ weight.T + bias, model(clips))


def test_head_norm_has_no_parameters():
    assert [name for name, _ in TimeSformer(BATCH).named_parameters() if name.startswith("head_norm")] == []


def test_moments_of_the_same_rows_change_nothing():
    plain, given = BatchStandardization(4).train(), BatchStandardization(4).train()
    given.moments = lambda x: Moments(len(x), x.mean(0), x.var(0, correction=0))
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))
    first, second = x.clone().requires_grad_(), x.clone().requires_grad_()
    a, b = plain(first), given(second)
    torch.testing.assert_close(b, a)
    weights = torch.arange(20.0).view(5, 4)
    (a * weights).sum().backward()
    (b * weights).sum().backward()
    torch.testing.assert_close(second.grad, first.grad)
    torch.testing.assert_close(dict(given.named_buffers()), dict(plain.named_buffers()))


def test_one_row_in_all_processes_is_standardized_by_running_statistics():
    norm = BatchStandardization(4).train()
    norm.moments = lambda x: Moments(1, x.mean(0), x.var(0, correction=0))
    x = torch.randn(1, 4)
    torch.testing.assert_close(norm(x), norm.eval()(x))
    assert norm.num_batches_tracked == 0
