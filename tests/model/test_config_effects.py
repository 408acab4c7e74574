"""Every field of `ModelConfig` changes what it documents; a field without a case here fails."""

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError
from timesformer.model import SCHEMES, TimeSformer
from timesformer.model.cost import cost
from tiny import random_clips, random_model, tiny_config


def shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(parameter.shape) for name, parameter in TimeSformer(config).named_parameters()}


def initial_weights(config: ModelConfig) -> Tensor:
    torch.manual_seed(0)
    return torch.cat([parameter.detach().flatten() for parameter in TimeSformer(config).parameters()])


@torch.no_grad()
def logits_of(config: ModelConfig) -> Tensor:
    return random_model(config)(random_clips(tiny_config()))


@torch.no_grad()
def logits_at_another_size(config: ModelConfig) -> Tensor:
    return random_model(config)(random_clips(config, num_frames=5, image_size=(16, 12)))


@torch.no_grad()
def training_logits(config: ModelConfig) -> Tensor:
    torch.manual_seed(0)
    return random_model(config).train()(random_clips(config))


def differ(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return a.shape != b.shape or not torch.allclose(a, b, atol=1e-4)
    return a != b


# What each field must change if its value differs from that in `tiny_config`.
CASES: dict[str, tuple[object, tuple[Callable[[ModelConfig], Any], ...]]] = {
    "scheme": ("joint_space_time", (shapes, logits_of, cost)),
    "num_frames": (5, (shapes, cost)),
    "image_size": ((12, 20), (shapes, cost)),
    "patch_size": (2, (shapes, cost)),
    "in_channels": (1, (shapes, cost)),
    "embed_dim": (48, (shapes, cost)),
    "depth": (3, (shapes, cost)),
    "num_heads": (4, (logits_of,)),
    "mlp_ratio": (3.0, (shapes, cost)),
    "qkv_bias": (False, (shapes, cost)),
    "norm_eps": (0.1, (logits_of,)),
    "position_embedding": ("space", (shapes, logits_of, cost)),
    "position_interpolation": ("nearest", (logits_at_another_size,)),
    "cls_in_time": (True, (logits_of, cost)),
    "dropout": (0.3, (training_logits,)),
    "attention_dropout": (0.3, (training_logits,)),
    "head_norm": ("batch", (logits_of, training_logits)),
    "head_dropout": (0.3, (training_logits,)),
    "drop_path": (0.3, (training_logits,)),
    "num_classes": (5, (shapes, logits_of, cost)),
    "initialization": ("scratch", (initial_weights,)),
}
ONLY_IN_TRAINING = ("dropout", "attention_dropout", "head_dropout", "drop_path")


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(ModelConfig)])
def test_field_changes_what_it_documents(field: str):
    base = tiny_config()
    value, effects = CASES[field]
    for effect in effects:
        assert differ(effect(base), effect(replace(base, **{field: value}))), effect.__name__


@pytest.mark.parametrize("field", ONLY_IN_TRAINING)
def test_regularization_changes_nothing_in_eval_mode(field: str):
    base = tiny_config()
    torch.testing.assert_close(logits_of(replace(base, **{field: 0.3})), logits_of(base), rtol=0, atol=0)


@pytest.mark.parametrize("place", ["tokens", "attention", "mlp"])
@torch.no_grad()
def test_dropout_acts_after_the_embedding_after_attention_and_in_the_mlp(place: str):
    model = random_model(tiny_config(dropout=0.5)).train()
    module = {
        "tokens": lambda x: model.embedding(x)[0],
        "attention": lambda x: model.blocks[0].steps["space"].attention(torch.ones(2, 5, 24)),
        "mlp": lambda x: model.blocks[0].mlp(torch.ones(2, 5, 24)),
    }[place]
    clips = random_clips(model.config)
    assert differ(module(clips), module(clips))
    model.eval()
    assert not differ(module(clips), module(clips))


@pytest.mark.parametrize(
    "scheme", ["space_only", "joint_space_time", "sparse_local_global", "sparse_local_global_centered"]
)
@pytest.mark.parametrize("build", [TimeSformer, cost])
def test_class_token_in_time_is_refused_without_a_step_over_time(scheme: str, build: Callable):
    with pytest.raises(ConfigError, match=f"cls_in_time=True has no effect on scheme='{scheme}'"):
        build(tiny_config(scheme, cls_in_time=True))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_step_names_are_valid_parameter_names(scheme: str):
    model = TimeSformer(tiny_config(scheme))
    assert list(model.blocks[0].steps) == list(SCHEMES[scheme].steps)
    assert all(name.isidentifier() for name in model.blocks[0].steps)


def test_model_built_on_the_meta_device_takes_no_memory():
    with torch.device("meta"):
        model = TimeSformer(ModelConfig())
    assert all(parameter.is_meta for parameter in model.parameters())
