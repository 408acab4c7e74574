"""Reading a `transformers` TimeSformer folder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from timesformer.config.info import ModelInfo
from timesformer.config.io import from_dict
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.errors import WeightsError
from timesformer.weights.checkpoint import Checkpoint, match_names, read_json, read_tensors

INFO_FILE = "timesformer.json"
"""File in which our own writer keeps sampling, channel order, fusion, licence and origin."""


def read_transformers(folder: Path) -> Checkpoint:
    """Read a `transformers` TimeSformer folder: `config.json`, weights, and preprocessing if it is there.

    Raises:
        WeightsError: A file is missing or damaged, or tensors do not match the config.
    """
    stored = read_json(folder / "config.json")
    id2label = stored.get("id2label") or {}
    num_classes = len(id2label) or 2
    try:
        config = _transformers_config(stored, num_classes)
        labels = tuple(str(id2label[str(i)]) for i in range(num_classes)) if id2label else ()
    except KeyError as error:
        raise WeightsError(f"{folder / 'config.json'}: has no {error}") from error
    if stored.get("hidden_act", "gelu") != "gelu":
        raise WeightsError(f"{folder / 'config.json'}: hidden_act={stored['hidden_act']!r}, this model has 'gelu' only")
    if all(label == f"LABEL_{i}" for i, label in enumerate(labels)):
        labels = ()
    info = _own_info(folder) or ModelInfo(
        clip=_transformers_clip(folder),
        labels=labels,
        licence=_model_card_licence(folder),
        source="transformers TimeSformer",
    )
    return match_names("transformers", config, info, _transformers_tensors(folder), origin=str(folder))


def _own_info(folder: Path) -> ModelInfo | None:
    """What our own writer left beside the files of `transformers`, which cannot say all of it."""
    path = folder / INFO_FILE
    return from_dict(read_json(path), kind=ModelInfo, source=str(path)) if path.exists() else None


def _transformers_config(stored: Mapping[str, Any], num_classes: int) -> ModelConfig:
    return ModelConfig(
        scheme=stored["attention_type"],
        num_frames=stored["num_frames"],
        image_size=stored["image_size"],
        patch_size=stored["patch_size"],
        in_channels=stored["num_channels"],
        embed_dim=stored["hidden_size"],
        depth=stored["num_hidden_layers"],
        num_heads=stored["num_attention_heads"],
        mlp_ratio=stored["intermediate_size"] / stored["hidden_size"],
        qkv_bias=stored["qkv_bias"],
        norm_eps=stored["layer_norm_eps"],
        dropout=float(stored.get("hidden_dropout_prob", 0)),
        attention_dropout=float(stored.get("attention_probs_dropout_prob", 0)),
        drop_path=float(stored.get("drop_path_rate", 0)),
        position_embedding="space_time",
        num_classes=num_classes,
    )


def _transformers_clip(folder: Path) -> ClipConfig:
    path = folder / "preprocessor_config.json"
    if not path.exists():
        return ClipConfig()
    stored = read_json(path)
    clip = ClipConfig()
    return replace(clip, mean=tuple(stored.get("image_mean", clip.mean)), std=tuple(stored.get("image_std", clip.std)))


def _model_card_licence(folder: Path) -> str:
    card = folder / "README.md"
    lines = card.read_text("utf-8", errors="replace").splitlines() if card.exists() else []
    stated = [line.partition(":")[2].strip(" \"'") for line in lines if line.lower().startswith("license:")]
    return stated[0] if stated and stated[0] else "unspecified"


def _transformers_tensors(folder: Path) -> dict[str, Tensor]:
    index = folder / "model.safetensors.index.json"
    if index.exists():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict):
            raise WeightsError(f"{index}: has no weight_map")
        shards = sorted(set(weight_map.values()))
        return {name: tensor for shard in shards for name, tensor in read_tensors(folder / shard).items()}
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).exists():
            return read_tensors(folder / name)
    raise WeightsError(f"{folder}: has no model.safetensors and no pytorch_model.bin")
