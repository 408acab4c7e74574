"""`transformers` TimeSformer folders: reading and writing."""

import json
import math
from pathlib import Path
from typing import Any, cast

from safetensors.torch import save_file

from timesformer.config.class_names_file import is_class_name
from timesformer.config.info import ModelInfo
from timesformer.config.io import from_dict, to_dict
from timesformer.config.schema import ClipConfig, ModelConfig, SchemeName
from timesformer.errors import ConfigError, WeightsError
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.checkpoint import Checkpoint, match_names
from timesformer.weights.fields import Fields, as_index, as_number, read_json_object, show
from timesformer.weights.formats.expressible import check_expressible, renamed_tensors
from timesformer.weights.formats.transformers_preprocessing import preprocessor_config, read_preprocessing
from timesformer.weights.formats.transformers_shards import read_shards
from timesformer.weights.layouts import layout_for
from timesformer.weights.model_folder import check_readable, write_folder

INFO_FILE = "timesformer.json"
"""File in which `save_transformers` stores sampling, channel order, fusion, license and origin."""


def read_transformers(folder: Path) -> Checkpoint:
    """Read a `transformers` TimeSformer folder: `config.json`, weights, and preprocessing, if any.

    Raises:
        WeightsError: A file is missing or damaged, a value has the wrong type or is not supported, or the tensors do
            not match the config.
        ConfigError: The sizes in `config.json` contradict each other.
    """
    fields = Fields(folder / "config.json", read_json_object(folder / "config.json"))
    num_classes, labels = _classes(fields)
    config = _config(fields, num_classes=num_classes)
    if fields.values.get("hidden_act", "gelu") != "gelu":
        raise WeightsError(f"{fields.path}: hidden_act={fields.values['hidden_act']!r} is not supported, only 'gelu'")
    clip = read_preprocessing(folder, image_size=config.image_size)
    info = _own_info(folder, clip=clip, labels=labels) or ModelInfo(
        clip=clip or ClipConfig(),
        labels=labels,
        license=_model_card_license(folder),
        source="transformers TimeSformer",
    )
    return match_names("transformers", config, info, read_shards(folder), origin=str(folder))


def _own_info(folder: Path, *, clip: ClipConfig | None, labels: tuple[str, ...]) -> ModelInfo | None:
    """Info that `save_transformers` stored next to the files of `transformers`, which cannot express all of it."""
    path = folder / INFO_FILE
    if not path.exists():
        return None
    info = from_dict(read_json_object(path), kind=ModelInfo, source=str(path))
    cure = f"edit both, or delete {INFO_FILE} and lose its other settings"
    if _without_placeholders(info.labels) != labels:
        raise WeightsError(f"{path}: its labels differ from id2label in config.json: {cure}")
    if clip is not None and not _close((*clip.mean, *clip.std), (*info.clip.mean, *info.clip.std)):
        raise WeightsError(f"{path}: its mean and std differ from preprocessor_config.json: {cure}")
    return info


def _close(ours: tuple[float, ...], theirs: tuple[float, ...]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in zip(ours, theirs, strict=True))


def _classes(fields: Fields) -> tuple[int, tuple[str, ...]]:
    """Number of classes, and their names in index order, if any."""
    stored = fields.values.get("id2label")
    if stored is None or stored == {}:
        return (2 if fields.values.get("num_labels") is None else fields.integer("num_labels")), ()
    if not isinstance(stored, dict):
        raise fields.wrong("id2label", 'a map of numbers to names, such as {"0": "abseiling"}')
    by_index = {as_index(key): str(name) if as_number(name) is not None else name for key, name in stored.items()}
    if None in by_index or len(by_index) < len(stored):
        raise fields.wrong("id2label", "a map whose keys are numbers, each once")
    lacking = next((index for index in range(len(stored)) if index not in by_index), None)
    if lacking is not None:
        raise WeightsError(f"{fields.path}: id2label has no key '{lacking}'; its {len(stored)} keys must count from 0")
    names = [by_index[index] for index in range(len(stored))]
    for index, name in enumerate(names):
        if not is_class_name(name):
            raise WeightsError(f"{fields.path}: id2label.{index}={show(name)} must be one line of text")
    return len(names), _without_placeholders(tuple(names))


def _without_placeholders(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names; empty if they are the placeholders of `transformers`, `LABEL_0` and so on."""
    return () if all(name == f"LABEL_{i}" for i, name in enumerate(names)) else names


def _config(fields: Fields, *, num_classes: int) -> ModelConfig:
    width, patch = fields.integer("hidden_size"), fields.square("patch_size")
    if patch[0] != patch[1]:
        raise fields.wrong("patch_size", "square")
    try:
        return ModelConfig(
            scheme=cast(SchemeName, fields.text("attention_type")),
            num_frames=fields.integer("num_frames"),
            image_size=fields.square("image_size"),
            patch_size=patch[0],
            in_channels=fields.integer("num_channels"),
            embed_dim=width,
            depth=fields.integer("num_hidden_layers"),
            num_heads=fields.integer("num_attention_heads"),
            mlp_ratio=fields.integer("intermediate_size") / width,
            qkv_bias=fields.flag("qkv_bias"),
            norm_eps=fields.number("layer_norm_eps"),
            dropout=fields.number("hidden_dropout_prob", 0),
            attention_dropout=fields.number("attention_probs_dropout_prob", 0),
            drop_path=fields.number("drop_path_rate", 0),
            position_embedding="space_time",
            num_classes=num_classes,
        )
    except ConfigError as error:
        raise ConfigError(f"{fields.path}: {error}") from error


def _model_card_license(folder: Path) -> str:
    """License stated in the model card, `README.md`."""
    card = folder / "README.md"
    lines = card.read_text("utf-8", errors="replace").splitlines() if card.is_file() else []
    stated = [line.partition(":")[2].strip(" \"'") for line in lines if line.lower().startswith("license:")]
    return stated[0] if stated and stated[0] else "unspecified"


def save_transformers(model: TimeSformer, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write a folder that `TimesformerForVideoClassification.from_pretrained` loads.

    That class accepts only whole numbers as stochastic depth rate, so 0 is written. It is silently wrong for frame
    counts other than `num_frames`, and classifies frames instead of clips with `space_only`.

    Raises:
        ConfigError: `transformers` lacks the scheme or variant, or the folder already exists and `overwrite` is False.
        WeightsError: The existing folder is not a model folder, there is not one label per class, or the folder
            cannot be written.
    """
    check_expressible(model, "transformers")
    check_readable(model)
    tensors = renamed_tensors(model, layout_for("transformers", model.config.scheme))

    def write(target: Path) -> None:
        save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
        for name, content in _transformers_files(model).items():
            (target / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")

    return write_folder(Path(folder), write, overwrite=overwrite)


def _transformers_files(model: TimeSformer) -> dict[str, dict[str, Any]]:
    return {
        "config.json": _architecture(model),
        "preprocessor_config.json": preprocessor_config(model.info.clip, side=model.config.image_size[0]),
        INFO_FILE: to_dict(model.info),  # sampling, channel order and fusion, which the other files cannot express
    }


def _architecture(model: TimeSformer) -> dict[str, Any]:
    config = model.config
    labels = model.info.labels or tuple(f"LABEL_{i}" for i in range(config.num_classes))
    return {
        "architectures": ["TimesformerForVideoClassification"],
        "model_type": "timesformer",
        "attention_type": config.scheme,
        "image_size": config.image_size[0],
        "patch_size": config.patch_size,
        "num_channels": config.in_channels,
        "num_frames": config.num_frames,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.mlp_dim,
        "hidden_act": "gelu",
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.attention_dropout,
        "layer_norm_eps": config.norm_eps,
        "qkv_bias": config.qkv_bias,
        "drop_path_rate": 0,
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
    }
