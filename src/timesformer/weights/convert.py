"""Writing weights for other people's code: the released layout and `transformers`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from timesformer.config.io import to_dict
from timesformer.errors import ConfigError, WeightsError
from timesformer.files import replacing
from timesformer.model.fast import folded_head
from timesformer.model.timesformer import TimeSformer
from timesformer.outputs import refuse_existing
from timesformer.weights.formats.transformers import INFO_FILE
from timesformer.weights.layouts import Layout, layout_for
from timesformer.weights.model_folder import check_readable, write_folder

_RELEASED_NORM_EPS = 1e-6


def _foreign_tensors(model: TimeSformer, layout: Layout) -> dict[str, Tensor]:
    tensors = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("head_norm.")}
    tensors["head.weight"], tensors["head.bias"] = folded_head(model)
    names = layout.rename_all(tensors)
    return {names[name]: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _check_expressible(model: TimeSformer, target: str) -> None:
    """Refuse what the other code would silently compute differently."""
    config = model.config
    standard = replace(config, cls_in_time=False, position_embedding="space_time")
    per_frame = model.scheme.per_frame and config.position_embedding == "space"
    if config != standard and not (per_frame and config == replace(standard, position_embedding="space")):
        raise ConfigError(
            f"the {target} layout cannot say cls_in_time={config.cls_in_time}, "
            f"position_embedding={config.position_embedding!r}"
        )
    clip = model.info.clip
    if clip.channel_order == "time" or clip.background == "remove":
        raise ConfigError(
            f"the {target} layout is for frames in color as they are, not for channel_order={clip.channel_order!r}, "
            f"background={clip.background!r}"
        )
    if len(set(config.image_size)) > 1:
        raise ConfigError(f"the {target} layout has square images only, image_size={config.image_size}")


def save_released(model: TimeSformer, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a `.pyth` file that the released code loads.

    Label names have no place in it. The number of heads is kept in its config for `load`; the released code does not
    look there and gives one head to each 64 of width.

    Raises:
        ConfigError: The released code has no such scheme or variant, or another `norm_eps`; or the file already exists
            and must not be replaced.
        WeightsError: The path is that of a folder, or the disk refused.
    """
    path = Path(path)
    check_readable(model)
    _check_expressible(model, "released")
    if model.config.norm_eps != _RELEASED_NORM_EPS:
        raise ConfigError(f"the released layout has norm_eps={_RELEASED_NORM_EPS}, not {model.config.norm_eps}")
    tensors = _foreign_tensors(model, layout_for("released", model.config.scheme))
    check_released_target(path, overwrite=overwrite)
    content = {
        "epoch": 0,
        "model_state": {f"model.{name}": tensor for name, tensor in tensors.items()},
        "cfg": yaml.safe_dump(_released_cfg(model)),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            torch.save(content, partial)
    except (OSError, RuntimeError) as error:
        raise WeightsError(f"{path}: cannot be written: {error}") from error
    return path


def check_released_target(path: Path, *, overwrite: bool) -> None:
    """Refuse a place to which `save_released` could not write.

    Raises:
        ConfigError, WeightsError: As `save_released`.
    """
    if path.is_dir():
        raise WeightsError(f"{path}: is a folder; the released layout is one file")
    refuse_existing(path, overwrite=overwrite)


def _released_cfg(model: TimeSformer) -> dict[str, Any]:
    config, clip = model.config, model.info.clip
    return {
        "DATA": {
            "NUM_FRAMES": config.num_frames,
            "SAMPLING_RATE": clip.frame_stride,
            "TARGET_FPS": clip.target_fps,
            "TRAIN_CROP_SIZE": config.image_size[0],
            "TEST_CROP_SIZE": config.image_size[0],
            "MEAN": list(clip.mean),
            "STD": list(clip.std),
        },
        # the last two are for our own reader: the released code has no place for them
        "TIMESFORMER": {
            "ATTENTION_TYPE": config.scheme,
            "NUM_HEADS": config.num_heads,
            "INFO": to_dict(model.info),
        },
        "MODEL": {"NUM_CLASSES": config.num_classes, "ARCH": "vit"},
    }


def save_transformers(model: TimeSformer, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write a folder that `TimesformerForVideoClassification.from_pretrained` loads.

    That class takes whole numbers only for its stochastic depth rate, so it is written as 0; it is silently wrong for
    other frame counts than `num_frames`, and answers `space_only` by frame and not by clip.

    Raises:
        ConfigError: `transformers` has no such scheme or variant, or the folder already exists and must not be
            replaced.
        WeightsError: What is there is not a model folder, the labels are not one a class, or the disk refused.
    """
    _check_expressible(model, "transformers")
    check_readable(model)
    tensors = _foreign_tensors(model, layout_for("transformers", model.config.scheme))

    def write(target: Path) -> None:
        save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
        for name, content in _transformers_files(model).items():
            (target / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")

    return write_folder(Path(folder), write, overwrite=overwrite)


def _transformers_files(model: TimeSformer) -> dict[str, dict[str, Any]]:
    config, clip = model.config, model.info.clip
    labels = model.info.labels or tuple(f"LABEL_{i}" for i in range(config.num_classes))
    main = {
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
    side = config.image_size[0]
    preprocessor = {
        "image_processor_type": "VideoMAEImageProcessor",
        "image_mean": list(clip.mean),
        "image_std": list(clip.std),
        "size": {"shortest_edge": round(side * clip.test_scale) if clip.num_crops == 1 else side},
        "crop_size": {"height": side, "width": side},
        "resample": 2,
        "rescale_factor": 1 / 255,
        "do_resize": True,
        "do_center_crop": True,
        "do_rescale": True,
        "do_normalize": True,
    }
    info = to_dict(model.info)  # for our own reader: sampling, channel order and fusion have no place in the others
    return {"config.json": main, "preprocessor_config.json": preprocessor, INFO_FILE: info}
