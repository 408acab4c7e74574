"""Features of clips, frames and patches from one pass, in every scheme, learned and folded."""

import pytest
import torch
from einops import rearrange

from timesformer.model.fast import FastTimeSformer
from timesformer.model.tokens import encode, features_shape
from tiny import SCHEME_NAMES, random_clips, random_model, tiny_config

CLOSE = {"atol": 2e-5, "rtol": 1e-4}
"""float32 rounding: the folded model and the last block for all tokens sum in another order."""


def all_tokens(model, clips):
    """All tokens after the last norm, class tokens first, by the modules of the model in turn."""
    x, grid = model.embedding(clips)
    if model.scheme.per_frame:
        cls = x[:, :1].repeat_interleave(grid.t, dim=0)
        x, grid = torch.cat([cls, rearrange(x[:, 1:], "b (t n) d -> (b t) n d", t=grid.t)], dim=1), grid._replace(t=1)
    for block in model.blocks:
        x = block(x, grid)
    return model.norm(x)


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
@pytest.mark.parametrize("kind", [lambda model: model, FastTimeSformer], ids=["learned", "folded"])
@torch.no_grad()
def test_levels_are_the_tokens_after_the_last_norm(scheme, kind):
    learned = random_model(tiny_config(scheme, head_norm="batch"))
    model, clips = kind(learned), random_clips(learned.config)
    tokens = all_tokens(learned, clips)
    patches = rearrange(tokens[:, 1:], "(b s) (t h w) d -> b (s t) h w d", b=2, h=2, w=5)
    per_frame = rearrange(tokens[:, 0], "(b t) d -> b t d", b=2)
    frames = per_frame if learned.scheme.per_frame else patches.mean(dim=(2, 3))
    torch.testing.assert_close(encode(model, clips, "patch").features, patches, **CLOSE)
    torch.testing.assert_close(encode(model, clips, "frame").features, frames, **CLOSE)
    for level in ("cls", "frame", "patch"):
        found = encode(model, clips, level)
        torch.testing.assert_close(found.token, learned.features(clips), **CLOSE)
        torch.testing.assert_close(found.logits, learned(clips), **CLOSE)
        assert found.features.shape[1:] == features_shape(model, level)


@torch.no_grad()
def test_level_cls_costs_nothing_over_the_logits():
    model = random_model(tiny_config())
    clips = random_clips(model.config)
    found = encode(model, clips)
    assert found.features is found.token
    assert torch.equal(found.token, model.features(clips))
    assert torch.equal(found.logits, model(clips))
