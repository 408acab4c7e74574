"""Fused training has the logits, gradients and random draws of plain layers, and keeps less."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from timesformer.model import TimeSformer, fused, kernels
from timesformer.model.attention import attend
from tiny import SCHEME_NAMES, random_clips, random_model, tiny_config


def _learn(model: TimeSformer, clips: Tensor) -> tuple[Tensor, dict[str, Tensor | None]]:
    model.zero_grad()
    torch.manual_seed(3)
    logits = model(clips)
    logits.float().square().sum().backward()
    return logits.detach(), {name: parameter.grad for name, parameter in model.named_parameters()}


def _make_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "can_fuse", lambda *_, **__: False)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"drop_path": 0.4},
        {"dropout": 0.2},
        {"qkv_bias": False},
        {"depth": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_fused_training_has_the_logits_and_gradients_of_plain_layers(
    scheme: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    config = tiny_config(scheme, **changes)
    model, clips = random_model(config).train(), random_clips(config, batch=3)
    if config.dropout:  # the class token alone draws fewer random numbers
        monkeypatch.setattr(fused, "skips_patches", lambda last, scheme: False)
    logits, gradients = _learn(model, clips)
    _make_plain(monkeypatch)
    want_logits, want_gradients = _learn(model, clips)
    torch.testing.assert_close(logits, want_logits)
    assert gradients.keys() == want_gradients.keys()
    for name, want in want_gradients.items():
        torch.testing.assert_close(gradients[name], want, rtol=1e-4, atol=1e-5 * float(want.abs().max()), msg=name)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("parts", [1, 3])
def test_norm_and_linear_layer_have_exact_gradients_over_several_chunks(
    bias: bool, parts: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(kernels, "_CACHED_VALUES", 16)
    norm, linear = nn.LayerNorm(5).double(), nn.Linear(5, 3, bias=bias).double()
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(torch.cat(kernels.norm_linear(x, norm, linear, parts=parts), dim=-1), linear(norm(x)))
    parameters = (norm.weight, norm.bias, *linear.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: kernels.norm_linear(x, norm, linear, parts=parts), (x, *parameters))


def test_queries_keys_and_values_have_exact_gradients_but_for_the_bias_of_the_keys_which_no_score_depends_on(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(kernels, "_CACHED_VALUES", 16)
    norm, qkv = nn.LayerNorm(4).double(), nn.Linear(4, 12).double()
    x = torch.randn(2, 3, 4, dtype=torch.float64)

    def loss(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return attend(q, k, v, num_heads=2).square().sum()

    plain = torch.autograd.grad(loss(*qkv(norm(x)).chunk(3, dim=-1)), [qkv.bias, qkv.weight, norm.weight])
    fused = torch.autograd.grad(loss(*kernels.norm_qkv(x, norm, qkv)), [qkv.bias, qkv.weight, norm.weight])
    for got, want in zip(fused, plain, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    assert not fused[0][4:8].any()


def test_norm_and_mlp_have_exact_gradients_over_several_chunks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "_CACHED_VALUES", 16)
    norm, fc1, fc2 = (module.double() for module in (nn.LayerNorm(5), nn.Linear(5, 7), nn.Linear(7, 5)))
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(kernels.norm_mlp(x, norm, fc1, fc2), fc2(nn.functional.gelu(fc1(norm(x)))))
    parameters = (*norm.parameters(), *fc1.parameters(), *fc2.parameters())
    assert torch.autograd.gradcheck(lambda x, *_: kernels.norm_mlp(x, norm, fc1, fc2), (x, *parameters))


def test_under_autocast_activations_are_in_half_precision_and_gradients_in_full():
    config = tiny_config()
    model, clips = random_model(config).train(), random_clips(config)
    logits, gradients = _learn(model, clips)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half_logits, half_gradients = _learn(model, clips)
    assert half_logits.dtype == torch.bfloat16
    torch.testing.assert_close(half_logits.float(), logits, rtol=0.1, atol=0.1 * float(logits.abs().max()))
    name = "blocks.0.mlp.fc1.weight"
    half, full = half_gradients[name], gradients[name]
    assert half is not None and full is not None
    assert half.dtype == torch.float32
    assert torch.cosine_similarity(half.flatten(), full.flatten(), dim=0) > 0.98


def _is_fused(model: TimeSformer) -> bool:
    return any(fused.applies_to(step) for step in model.blocks[0].steps.values())


def test_only_a_model_in_training_mode_with_unchanged_modules_is_fused():
    model = random_model(tiny_config("joint_space_time"))
    assert not _is_fused(model)
    model.train()
    assert _is_fused(model)
    with torch.no_grad():
        assert not _is_fused(model)
    linear = model.blocks[0].steps["joint"].attention.qkv
    handle = linear.register_forward_hook(lambda *_: None)
    assert not _is_fused(model)
    handle.remove()
    linear.weight.requires_grad_(False)
    assert not _is_fused(model)
    model.blocks[0].steps["joint"].attention.qkv = nn.Sequential(nn.Linear(24, 72))
    assert not _is_fused(model)


def _mlp_tokens(model: TimeSformer) -> int:
    """Tokens that the MLP of the last block reads in training."""
    lengths = []
    add_mlp = model.blocks[-1].add_mlp
    with pytest.MonkeyPatch.context() as patch:  # not a hook, which would make the block compute all tokens
        patch.setattr(model.blocks[-1], "add_mlp", lambda x: lengths.append(x.shape[1]) or add_mlp(x))
        model(random_clips(model.config))
    (length,) = lengths
    return length


@pytest.mark.parametrize("scheme", SCHEME_NAMES)
def test_last_block_computes_the_class_token_alone_if_every_step_of_its_last_stage_has_it(scheme: str):
    model = random_model(tiny_config(scheme)).train()
    all_tokens = 11 if model.scheme.per_frame else 31
    assert _mlp_tokens(model) == (all_tokens if scheme in ("space_time_reversed", "parallel") else 1)


def test_block_with_a_hook_gives_all_tokens_in_every_mode():
    model, shapes = random_model(tiny_config()), []
    model.blocks[-1].register_forward_hook(lambda module, inputs, output: shapes.append(output.shape))
    for mode in (True, False):
        model.train(mode)(random_clips(model.config))
    assert shapes == [(2, 31, 24)] * 2


def test_fused_training_keeps_less_than_two_thirds_of_the_bytes(monkeypatch: pytest.MonkeyPatch):
    config = tiny_config(depth=4, embed_dim=48)
    model, clips = random_model(config).train(), random_clips(config, batch=3)
    kept = _kept_bytes(model, clips)
    _make_plain(monkeypatch)
    assert kept < _kept_bytes(model, clips) * 2 / 3


def _kept_bytes(model: TimeSformer, clips: Tensor) -> int:
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = model(clips)
    assert logits.requires_grad  # the graph is alive until here, and with it what it keeps
    return sum(kept.values())
