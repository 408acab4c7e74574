"""mmaction2's names, listed here by hand for every scheme, against the released names of the same weights.

mmaction2 cannot be installed beside a current torch, so this is parity of names; the numbers are the released model's.
"""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from timesformer.errors import WeightsError
from timesformer.model import TimeSformer
from timesformer.weights import save_released
from timesformer.weights.load import load
from tiny import RELEASED_SCHEMES, random_clips, random_model, square_config

SHARED = {
    "cls_token": "backbone.cls_token",
    "pos_embed": "backbone.pos_embed",
    "time_embed": "backbone.time_embed",
    "patch_embed.proj.weight": "backbone.patch_embed.projection.weight",
    "patch_embed.proj.bias": "backbone.patch_embed.projection.bias",
    "norm.weight": "backbone.norm.weight",
    "norm.bias": "backbone.norm.bias",
    "head.weight": "cls_head.fc_cls.weight",
    "head.bias": "cls_head.fc_cls.bias",
}
MLP = {
    "mlp.fc1.weight": "ffns.0.layers.0.0.weight",
    "mlp.fc1.bias": "ffns.0.layers.0.0.bias",
    "mlp.fc2.weight": "ffns.0.layers.1.weight",
    "mlp.fc2.bias": "ffns.0.layers.1.bias",
}
DIVIDED_LAYER = MLP | {
    "temporal_norm1.weight": "attentions.0.norm.weight",
    "temporal_norm1.bias": "attentions.0.norm.bias",
    "temporal_attn.qkv.weight": "attentions.0.attn.in_proj_weight",
    "temporal_attn.qkv.bias": "attentions.0.attn.in_proj_bias",
    "temporal_attn.proj.weight": "attentions.0.attn.out_proj.weight",
    "temporal_attn.proj.bias": "attentions.0.attn.out_proj.bias",
    "temporal_fc.weight": "attentions.0.temporal_fc.weight",
    "temporal_fc.bias": "attentions.0.temporal_fc.bias",
    "norm1.weight": "attentions.1.norm.weight",
    "norm1.bias": "attentions.1.norm.bias",
    "attn.qkv.weight": "attentions.1.attn.in_proj_weight",
    "attn.qkv.bias": "attentions.1.attn.in_proj_bias",
    "attn.proj.weight": "attentions.1.attn.out_proj.weight",
    "attn.proj.bias": "attentions.1.attn.out_proj.bias",
    "norm2.weight": "ffns.0.norm.weight",
    "norm2.bias": "ffns.0.norm.bias",
}
ONE_STEP_LAYER = MLP | {
    "norm1.weight": "norms.0.weight",
    "norm1.bias": "norms.0.bias",
    "attn.qkv.weight": "attentions.0.attn.in_proj_weight",
    "attn.qkv.bias": "attentions.0.attn.in_proj_bias",
    "attn.proj.weight": "attentions.0.attn.out_proj.weight",
    "attn.proj.bias": "attentions.0.attn.out_proj.bias",
    "norm2.weight": "norms.1.weight",
    "norm2.bias": "norms.1.bias",
}


def mmaction2_tensors(model: TimeSformer, tmp_path: Path) -> dict[str, Tensor]:
    """A model's weights under mmaction2's names, by way of the released file."""
    state = torch.load(save_released(model, tmp_path / "released.pyth"), weights_only=True)["model_state"]
    layer = DIVIDED_LAYER if model.config.scheme == "divided_space_time" else ONE_STEP_LAYER
    return {their_name(name.removeprefix("model."), layer): tensor for name, tensor in state.items()}


def their_name(name: str, layer: dict[str, str]) -> str:
    block = re.match(r"blocks\.(\d+)\.(.*)", name)
    return f"backbone.transformer_layers.layers.{block[1]}.{layer[block[2]]}" if block else SHARED[name]


@pytest.mark.parametrize("scheme", RELEASED_SCHEMES)
def test_published_file_gives_the_logits_of_the_same_weights(tmp_path: Path, scheme: str):
    config = square_config(scheme)
    model, clips = random_model(config), random_clips(config)
    torch.save(
        {"meta": {"epoch": 15}, "state_dict": mmaction2_tensors(model, tmp_path)}, tmp_path / "timesformer_k400.pth"
    )
    loaded = load(tmp_path / "timesformer_k400.pth", num_heads=3)
    assert loaded.load_report.format == "mmaction2"
    assert sorted(loaded.load_report.loaded) == sorted(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(loaded(clips), model(clips), rtol=0, atol=1e-6)


def test_clips_are_centered_and_normalized_as_mmaction2_trained(tmp_path: Path):
    torch.save(mmaction2_tensors(random_model(square_config()), tmp_path), tmp_path / "weights.pth")
    info = load(tmp_path / "weights.pth", num_heads=3).info
    assert (info.clip.sampling, info.clip.mean, info.clip.std) == ("center", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert info.license == "Apache-2.0"


def test_tensor_that_mmaction2_does_not_have_is_refused(tmp_path: Path):
    tensors = mmaction2_tensors(random_model(square_config()), tmp_path)
    torch.save(tensors | {"backbone.extra": torch.zeros(2)}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"mmaction2 layout.*unexplained backbone\.extra"):
        load(tmp_path / "weights.pth", num_heads=3)
