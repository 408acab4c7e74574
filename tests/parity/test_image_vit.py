"""An image ViT as the oracle: on a static clip, a scheme that starts as an image model answers as the image model."""

from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from timesformer.weights.load import load

pytestmark = pytest.mark.xdist_group("transformers")  # one process pays for the import

TOLERANCE = {"rtol": 0, "atol": 1e-5}
TIMM_NAMES = {
    "vit.embeddings.cls_token": "cls_token",
    "vit.embeddings.position_embeddings": "pos_embed",
    "vit.embeddings.patch_embeddings.projection": "patch_embed.proj",
    "vit.layernorm": "norm",
    "classifier": "head",
}
STARTS_AS_IMAGE_MODEL = ("divided_space_time", "parallel", "space_only", "space_time_reversed")
# Their only step without a zeroed `fc` is not the attention over a frame that the image model has, or spans frames.
STARTS_OTHERWISE = (
    "axial",
    "joint_space_time",
    "sparse_local_global",
    "sparse_local_global_centered",
)


@pytest.fixture(scope="session")
def vit() -> nn.Module:
    import transformers  # takes seconds: only once a test runs

    return _random_vit(transformers)


@torch.no_grad()
def _random_vit(transformers: ModuleType) -> nn.Module:
    config = transformers.ViTConfig(
        image_size=12,
        patch_size=4,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=60,
        layer_norm_eps=1e-6,  # as timm's
        num_labels=7,
    )
    model = transformers.ViTForImageClassification(config)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        center = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        parameter.copy_(center + 0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def timm_tensors(vit: nn.Module) -> dict[str, Tensor]:
    """The weights under timm's names, with query, key and value in one matrix."""
    tensors: dict[str, Tensor] = {}
    for index, layer in enumerate(vit.vit.layers):
        block = f"blocks.{index}"
        parts = {
            "norm1": layer.layernorm_before,
            "attn.proj": layer.attention.o_proj,
            "norm2": layer.layernorm_after,
            "mlp.fc1": layer.mlp.fc1,
            "mlp.fc2": layer.mlp.fc2,
        }
        qkv = [layer.attention.q_proj, layer.attention.k_proj, layer.attention.v_proj]
        for kind in ("weight", "bias"):
            tensors[f"{block}.attn.qkv.{kind}"] = torch.cat([getattr(part, kind) for part in qkv])
            tensors |= {f"{block}.{name}.{kind}": getattr(part, kind) for name, part in parts.items()}
    for name, tensor in vit.named_parameters():
        for theirs, timms in TIMM_NAMES.items():
            if name.startswith(theirs):
                tensors[name.replace(theirs, timms)] = tensor
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


@pytest.fixture
def vit_file(vit: nn.Module, tmp_path: Path) -> Path:
    save_file(timm_tensors(vit), tmp_path / "vit.safetensors")
    return tmp_path / "vit.safetensors"


def static_clip(image: Tensor, num_frames: int) -> Tensor:
    return image[:, :, None].expand(-1, -1, num_frames, -1, -1)


def test_renamed_tensors_are_all_of_the_image_model(vit: nn.Module):
    assert sum(t.numel() for t in timm_tensors(vit).values()) == sum(p.numel() for p in vit.parameters())


@pytest.mark.parametrize("scheme", STARTS_AS_IMAGE_MODEL)
@torch.no_grad()
def test_static_clip_gives_the_logits_of_the_image(vit: nn.Module, vit_file: Path, scheme: str):
    image = torch.randn(2, 3, 12, 12)
    model = load(vit_file, num_heads=3, scheme=scheme, num_frames=4)
    torch.testing.assert_close(model(static_clip(image, 4)), vit(image).logits, **TOLERANCE)


@pytest.mark.parametrize("scheme", STARTS_OTHERWISE)
@torch.no_grad()
def test_static_clip_gives_other_logits_where_tokens_are_grouped_otherwise(vit: nn.Module, vit_file: Path, scheme: str):
    image = torch.randn(2, 3, 12, 12)
    model = load(vit_file, num_heads=3, scheme=scheme, num_frames=4)
    assert (model(static_clip(image, 4)) - vit(image).logits).abs().max() > 1e-3


def test_image_model_becomes_a_divided_one_of_8_frames_unless_told_otherwise(vit_file: Path):
    model = load(vit_file, num_heads=3)
    assert (model.config.scheme, model.config.num_frames) == ("divided_space_time", 8)
    assert model.load_report.format == "image ViT"
    assert model.load_report.copied["blocks.1.steps.time.norm.weight"] == "blocks.1.steps.space.norm.weight"
    fresh = {"embedding.time"} | {f"blocks.{i}.steps.time.fc.{kind}" for i in (0, 1) for kind in ("weight", "bias")}
    assert set(model.load_report.newly_initialized) == fresh
    assert not model.load_report.dropped


@torch.no_grad()
def test_headless_image_model_gives_its_features_and_a_new_head(vit: nn.Module, tmp_path: Path):
    tensors = {name: t for name, t in timm_tensors(vit).items() if not name.startswith("head")}
    torch.save(tensors, tmp_path / "vit.pth")
    model = load(tmp_path / "vit.pth", num_heads=3, num_classes=5)
    image = torch.randn(2, 3, 12, 12)
    want = vit.vit(image).last_hidden_state[:, 0]
    torch.testing.assert_close(model.features(static_clip(image, 8)), want, **TOLERANCE)
    assert {"head.weight", "head.bias"} <= set(model.load_report.newly_initialized)
    assert model.head.weight.shape == (5, 24)


@torch.no_grad()
def test_image_model_for_more_channels_answers_as_before_when_all_are_equal(vit: nn.Module, vit_file: Path):
    model = load(vit_file, num_heads=3, in_channels=5, num_frames=2)
    gray = torch.randn(2, 1, 12, 12)
    clips = static_clip(gray.expand(-1, 5, -1, -1), 2)
    torch.testing.assert_close(model(clips), vit(gray.expand(-1, 3, -1, -1)).logits, **TOLERANCE)
    assert model.load_report.resized["embedding.patch.weight"] == "3 to 5 channels"


def test_half_precision_file_becomes_fp32(vit: nn.Module, tmp_path: Path):
    halves = {name: tensor.half() for name, tensor in timm_tensors(vit).items()}
    save_file(halves, tmp_path / "vit.safetensors")
    model = load(tmp_path / "vit.safetensors", num_heads=3)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model.head.weight.detach(), halves["head.weight"].float(), rtol=0, atol=0)
