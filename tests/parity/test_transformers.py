"""`transformers`' TimeSformer as a live oracle, in both directions. Its clips are [batch, frames, channels, ...]."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor, nn

from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips.transforms import eval_views as clip_views
from timesformer.data.clips.transforms import to_floats
from timesformer.model import TimeSformer
from timesformer.weights import save_transformers
from timesformer.weights.load import load
from tiny import RELEASED_SCHEMES, random_clips, random_model, square_config

pytestmark = pytest.mark.xdist_group("transformers")  # one process pays for the import

TOLERANCE = {"rtol": 0, "atol": 1e-5}
LABELS = tuple(f"action {i}" for i in range(7))
JOINT_OR_DIVIDED = ("divided_space_time", "joint_space_time")


@pytest.fixture(scope="session")
def transformers() -> ModuleType:
    import transformers  # takes seconds: only once a test runs

    transformers.logging.disable_progress_bar()
    return transformers


def their_config(transformers: ModuleType, config: ModelConfig, **changes: Any) -> Any:
    values = {
        "attention_type": config.scheme,
        "image_size": config.image_size[0],
        "patch_size": config.patch_size,
        "num_channels": config.in_channels,
        "num_frames": config.num_frames,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.mlp_dim,
        "qkv_bias": config.qkv_bias,
        "id2label": dict(enumerate(LABELS)),
        "label2id": {label: i for i, label in enumerate(LABELS)},
    }
    return transformers.TimesformerConfig(**values | changes)


@torch.no_grad()
def randomise(model: nn.Module) -> nn.Module:
    """Zeros (the class token, the biases) and ones would hide an exchange."""
    for name, parameter in model.named_parameters():
        parameter.normal_(1.0 if "norm" in name and name.endswith("weight") else 0.0, 0.2)
    return model.eval()


def their_model(transformers: ModuleType, config: ModelConfig, **changes: Any) -> nn.Module:
    theirs = transformers.TimesformerForVideoClassification(their_config(transformers, config, **changes))
    return randomise(theirs)


@torch.no_grad()
def their_logits(theirs: nn.Module, clips: Tensor) -> Tensor:
    return theirs(rearrange(clips, "b c t h w -> b t c h w")).logits


@torch.no_grad()
def our_logits(model: TimeSformer, clips: Tensor) -> Tensor:
    return model(clips)


@pytest.mark.parametrize("scheme", JOINT_OR_DIVIDED)
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_their_saved_model_gives_their_logits_here(transformers, tmp_path: Path, scheme: str, qkv_bias: bool):
    config = square_config(scheme, qkv_bias=qkv_bias, embed_dim=28, num_heads=2)
    # 28 * (61 / 28) is a little less than 61
    theirs, clips = their_model(transformers, config, intermediate_size=61), random_clips(config)
    theirs.save_pretrained(tmp_path)
    ours = load(tmp_path)
    torch.testing.assert_close(our_logits(ours, clips), their_logits(theirs, clips), **TOLERANCE)
    assert ours.info.labels == LABELS
    assert ours.load_report.format == "transformers"
    assert sorted(ours.load_report.loaded) == sorted(ours.state_dict())


@pytest.mark.parametrize("scheme", JOINT_OR_DIVIDED)
def test_our_saved_model_gives_our_logits_there(transformers, tmp_path: Path, scheme: str):
    config = square_config(scheme)
    ours, clips = random_model(config, info=ModelInfo(labels=LABELS)), random_clips(config)
    save_transformers(ours, tmp_path / "model")
    theirs, problems = transformers.TimesformerForVideoClassification.from_pretrained(
        tmp_path / "model", output_loading_info=True
    )
    assert {name: found for name, found in problems.items() if found} == {}
    torch.testing.assert_close(their_logits(theirs.eval(), clips), our_logits(ours, clips), **TOLERANCE)
    assert theirs.config.id2label == dict(enumerate(LABELS))


@pytest.mark.parametrize("scheme", JOINT_OR_DIVIDED)
def test_nearest_interpolation_at_another_image_size_is_theirs(transformers, tmp_path: Path, scheme: str):
    config = square_config(scheme)
    # their divided model takes the number of columns from its config: only the rows may change
    theirs, clips = their_model(transformers, config), random_clips(config, image_size=(20, 12))
    theirs.save_pretrained(tmp_path)
    ours = load(tmp_path, position_interpolation="nearest")
    torch.testing.assert_close(our_logits(ours, clips), their_logits(theirs, clips), **TOLERANCE)


def test_space_only_is_their_features_averaged_over_frames_before_the_norm(transformers, tmp_path: Path):
    # their logits of space_only are one a frame, not one a clip, so only their encoder is an oracle
    config = square_config("space_only")
    theirs, clips = their_model(transformers, config), random_clips(config)
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        frames = theirs.timesformer.encoder(
            theirs.timesformer.embeddings(rearrange(clips, "b c t h w -> b t c h w")), return_dict=True
        ).last_hidden_state
        cls = rearrange(frames[:, 0], "(b t) d -> b t d", b=len(clips)).mean(dim=1)
        want = theirs.classifier(theirs.timesformer.layernorm(cls))
    torch.testing.assert_close(our_logits(load(tmp_path), clips), want, **TOLERANCE)


@pytest.mark.parametrize("scheme", RELEASED_SCHEMES)
def test_round_trip_through_their_folder_keeps_weights_labels_and_preprocessing(tmp_path: Path, scheme: str):
    clip = ClipConfig(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    config = square_config(scheme, dropout=0.1, attention_dropout=0.2, norm_eps=1e-5)
    ours = random_model(config, info=ModelInfo(labels=LABELS, clip=clip))
    again = load(save_transformers(ours, tmp_path / "model"))
    assert again.config == config
    assert again.info.labels == LABELS
    assert (again.info.clip.mean, again.info.clip.std) == (clip.mean, clip.std)
    torch.testing.assert_close(again.state_dict(), ours.state_dict(), rtol=0, atol=0)


def test_labels_that_only_count_are_no_labels(tmp_path: Path):
    again = load(save_transformers(random_model(square_config()), tmp_path / "model"))
    assert again.info.labels == ()
    assert again.config.num_classes == 7


def test_two_nameless_classes_are_read_as_two(transformers, tmp_path: Path):
    config = square_config(num_classes=2)
    theirs = their_model(transformers, config, id2label=None, label2id=None)
    theirs.save_pretrained(tmp_path)
    clips = random_clips(config)
    torch.testing.assert_close(our_logits(load(tmp_path), clips), their_logits(theirs, clips), **TOLERANCE)


def test_preprocessing_of_their_processor_travels_along(transformers, tmp_path: Path):
    their_model(transformers, square_config()).save_pretrained(tmp_path)
    transformers.VideoMAEImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6]).save_pretrained(tmp_path)
    clip = load(tmp_path).info.clip
    assert (clip.mean, clip.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


PROCESSED = {
    "VideoMAEImageProcessor": (
        {},
        {"image_mean": 0.4, "image_std": 0.3},
        {"do_normalize": False},
        {"do_rescale": False},
        {"do_rescale": False, "do_normalize": False},
        {"rescale_factor": 1 / 127.5},
        {"rescale_factor": 0.01, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
        {"rescale_factor": 0.01, "do_normalize": False},
        {"size": {"shortest_edge": 15}},
    ),
    "VivitImageProcessor": (
        {},
        {"offset": False},
        {"do_normalize": False},
        {"do_rescale": False, "offset": False},
        {"rescale_factor": 1 / 255, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
    ),
}


@pytest.mark.parametrize(
    ("processor", "fields"), [(name, fields) for name, cases in PROCESSED.items() for fields in cases]
)
def test_frames_become_the_numbers_that_their_processor_gives(transformers, tmp_path: Path, processor: str, fields):
    from transformers.models.videomae.image_processing_pil_videomae import VideoMAEImageProcessorPil

    their_model(transformers, square_config()).save_pretrained(tmp_path)
    sizes = {"size": {"shortest_edge": 12}, "crop_size": {"height": 12, "width": 12}}
    stored = {"image_processor_type": processor, **sizes, **fields}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stored))
    kind = VideoMAEImageProcessorPil if processor.startswith("VideoMAE") else transformers.VivitImageProcessor
    frames = torch.randint(256, (2, 12, 12, 3), dtype=torch.uint8)
    if "size" in fields:  # filters differ by a rounding, so the resize is of one color a frame
        frames = frames[:, :1, :1].expand(2, 30, 40, 3).contiguous()
    theirs = kind.from_pretrained(tmp_path)(list(frames.numpy()), return_tensors="np")["pixel_values"][0]
    clip = load(tmp_path).info.clip
    ours = to_floats(clip_views(frames, clip, image_size=(12, 12)), clip)[0]
    want = rearrange(torch.as_tensor(theirs), "t c h w -> c t h w").float()
    torch.testing.assert_close(ours, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("num_crops", "side"), [(1, 14), (3, 12)])
def test_written_side_of_a_frame_is_that_of_the_clip(tmp_path: Path, num_crops: int, side: int):
    info = ModelInfo(clip=ClipConfig(num_crops=num_crops))
    save_transformers(random_model(square_config(), info=info), tmp_path / "model")
    stored = json.loads((tmp_path / "model" / "preprocessor_config.json").read_text("utf-8"))
    assert stored["size"] == {"shortest_edge": side}


def test_their_processor_reads_ours(transformers, tmp_path: Path):
    info = ModelInfo(clip=ClipConfig(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)))
    save_transformers(random_model(square_config(), info=info), tmp_path / "model")
    processor = transformers.VideoMAEImageProcessor.from_pretrained(tmp_path / "model")
    assert tuple(processor.image_mean) == (0.1, 0.2, 0.3)
    frames = list(torch.zeros(2, 3, 30, 40, dtype=torch.uint8).numpy())
    pixels = torch.as_tensor(processor(frames, return_tensors="pt")["pixel_values"])
    assert pixels.shape == (1, 2, 3, 12, 12)
    assert pixels[0, 0, :, 0, 0].tolist() == pytest.approx([-0.1 / 0.4, -0.2 / 0.5, -0.3 / 0.6])


def test_sharded_weights_and_pickled_weights_are_read(transformers, tmp_path: Path):
    config = square_config()
    theirs, clips = their_model(transformers, config), random_clips(config)
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert (tmp_path / "shards" / "model.safetensors.index.json").exists()
    (tmp_path / "pickle").mkdir()
    theirs.config.save_pretrained(tmp_path / "pickle")
    torch.save(theirs.state_dict(), tmp_path / "pickle" / "pytorch_model.bin")
    for folder in ("shards", "pickle"):
        torch.testing.assert_close(our_logits(load(tmp_path / folder), clips), their_logits(theirs, clips), **TOLERANCE)


def test_written_config_names_the_class_and_every_label(tmp_path: Path):
    save_transformers(random_model(square_config(), info=ModelInfo(labels=LABELS)), tmp_path / "model")
    stored = json.loads((tmp_path / "model" / "config.json").read_text("utf-8"))
    assert stored["architectures"] == ["TimesformerForVideoClassification"]
    assert stored["label2id"] == {label: i for i, label in enumerate(LABELS)}
