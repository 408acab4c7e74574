"""Preprocessing of a `transformers` folder as a `ClipConfig`.

Every field of the image and video processors of TimeSformer folders is applied, has no effect here (the comments say
why), or is refused. Other keys are ignored, as by these processors, except those that switch on a step: these are
refused.

Source: the fields and defaults of VideoMAE's, TimeSformer's and ViViT's processors in `transformers` 4.26 to 5.23.
"""

import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from timesformer.config.schema import ClipConfig
from timesformer.errors import ConfigError, WeightsError
from timesformer.weights.fields import Fields, is_size, read_json_object, show

logger = logging.getLogger(__name__)

Channels = tuple[float, float, float]

_TYPE_KEYS = ("image_processor_type", "feature_extractor_type", "video_processor_type")
_FLAGS = ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "offset")
_BILINEAR = 2
_WITHOUT_EFFECT = ("do_convert_rgb",)  # frames are always decoded as RGB


@dataclass(frozen=True, slots=True)
class _Defaults:
    """A processor's defaults for absent and null fields."""

    mean: Channels = (0.5, 0.5, 0.5)
    std: Channels = (0.5, 0.5, 0.5)
    rescale: float = 1 / 255
    offset: bool = False  # subtract 1 after rescaling; ViViT's processors only
    scale: float = 1.0  # short side of the frame / side of the crop


_VIDEO_MAE = _Defaults()
_VIVIT = _Defaults(rescale=1 / 127.5, offset=True, scale=8 / 7)
_TIMESFORMER = _Defaults(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_PROCESSORS = {
    "VideoMAEFeatureExtractor": _VIDEO_MAE,
    "VideoMAEImageProcessor": _VIDEO_MAE,
    "VideoMAEVideoProcessor": _VIDEO_MAE,
    "VivitImageProcessor": _VIVIT,
    "VivitVideoProcessor": _VIVIT,
    "TimesformerVideoProcessor": _TIMESFORMER,
}


def read_preprocessing(folder: Path, *, image_size: tuple[int, int]) -> ClipConfig | None:
    """Preprocessing of a `transformers` folder; None if it has no such file.

    Args:
        folder: The folder.
        image_size: Height and width of the model's frames, from its `config.json`.

    Raises:
        WeightsError: A value has the wrong type or is not supported, or two files differ.
    """
    found = [(fields.path, _clip(fields, image_size)) for fields in _sections(folder)]
    for path, clip in found[1:]:
        if clip != found[0][1]:
            raise WeightsError(f"{path}: preprocesses frames differently from {found[0][0]}: delete the wrong one")
    return found[0][1] if found else None


def preprocessor_config(clip: ClipConfig, *, side: int) -> dict[str, Any]:
    """`preprocessor_config.json` for the clips of a model with square frames of `side` pixels."""
    return {
        "image_processor_type": "VideoMAEImageProcessor",
        "image_mean": list(clip.mean),
        "image_std": list(clip.std),
        "size": {"shortest_edge": round(side * clip.test_scale) if clip.num_crops == 1 else side},
        "crop_size": {"height": side, "width": side},
        "resample": _BILINEAR,
        "rescale_factor": 1 / 255,
        "do_resize": True,
        "do_center_crop": True,
        "do_rescale": True,
        "do_normalize": True,
    }


def _sections(folder: Path) -> list[Fields]:
    """Processor descriptions: whole files, or sections of `processor_config.json`."""
    sections = []
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        if (folder / name).exists():
            sections.append(Fields(folder / name, read_json_object(folder / name)))
    path = folder / "processor_config.json"
    stored = read_json_object(path) if path.exists() else {}
    for key in ("image_processor", "video_processor"):
        if stored.get(key) is not None:
            if not isinstance(stored[key], dict):
                raise WeightsError(f"{path}: {key}={show(stored[key])} must be an object")
            sections.append(Fields(path, stored[key]))
    return sections


def _clip(stored: Fields, image_size: tuple[int, int]) -> ClipConfig:
    defaults = _defaults(stored)
    _refuse_other_steps(stored)
    fields = replace(stored, values={key: value for key, value in stored.values.items() if value is not None})
    mean, std = _normalization(fields, defaults)
    scale = _scale(fields, defaults, image_size)
    try:
        clip = ClipConfig(mean=mean, std=std)
        # scale 1 is the protocol's three crops, whose side is the short side of the frame
        return clip if scale == 1 else replace(clip, num_crops=1, test_scale=scale)
    except ConfigError as error:
        raise WeightsError(f"{stored.path}: {error}") from error


def _defaults(fields: Fields) -> _Defaults:
    found = []
    for key in _TYPE_KEYS:
        if (name := fields.values.get(key)) is not None:
            plain = name.removesuffix("Fast").removesuffix("Pil") if isinstance(name, str) else None
            if plain not in _PROCESSORS:
                raise fields.wrong(
                    key, f"one of {', '.join(_PROCESSORS)}: other processors preprocess frames differently"
                )
            found.append(_PROCESSORS[plain])
    return found[0] if found else _VIDEO_MAE


def _refuse_other_steps(fields: Fields) -> None:
    for key, value in fields.values.items():
        if key in _FLAGS and value is None:
            raise fields.wrong(key, "true or false: versions of transformers disagree on what null means")
        if key.startswith("do_") and key not in (*_FLAGS, *_WITHOUT_EFFECT) and value not in (None, False):
            raise fields.wrong(key, "false: this step is not supported")


def _normalization(fields: Fields, defaults: _Defaults) -> tuple[Channels, Channels]:
    """Mean and std for values from 0 to 1, equivalent to rescaling and normalizing values from 0 to 255."""
    mean, std = fields.channels("image_mean", defaults.mean), fields.channels("image_std", defaults.std)
    factor = fields.number("rescale_factor", defaults.rescale)
    if min(std) <= 0:
        raise fields.wrong("image_std", "greater than 0")
    if factor <= 0:
        raise fields.wrong("rescale_factor", "greater than 0")
    rescales, shift = fields.flag("do_rescale", default=True), 0.0
    if fields.flag("offset", default=defaults.offset):
        if not (defaults.offset and rescales):
            raise fields.wrong("offset", "false: only ViViT's processors apply it, and only if do_rescale is true")
        shift = 1.0
    if not fields.flag("do_normalize", default=True):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    # (x * whole - shift - mean) / std, for x up to 1, is (x - (mean + shift) / whole) / (std / whole)
    whole = 255 * factor if rescales else 255.0
    if math.isclose(whole, round(whole), rel_tol=1e-9):
        whole = float(round(whole))  # 1/255 is inexact in a file; the usual mean should stay exact
    (m0, s0), (m1, s1), (m2, s2) = [((m + shift) / whole, s / whole) for m, s in zip(mean, std, strict=True)]
    return (m0, m1, m2), (s0, s1, s2)


def _scale(fields: Fields, defaults: _Defaults, image_size: tuple[int, int]) -> float:
    """Short side of the resized frame / side of the crop."""
    if fields.values.get("resample", _BILINEAR) not in (_BILINEAR, "bilinear"):
        raise fields.wrong("resample", "2: frames are always resized bilinearly")
    for key in ("do_resize", "do_center_crop"):
        if not fields.flag(key, default=True):
            raise fields.wrong(key, "true: clips are always resized and cropped to the model's image_size")
    crop, short = _crop(fields, image_size), _short_side(fields)
    if short is None:
        return defaults.scale
    scale = short / min(crop)
    if scale < 1:
        raise fields.wrong("size", f"at least {min(crop)}, the crop: a smaller frame would be padded")
    if scale > 1 and crop[0] != crop[1]:
        raise fields.wrong(
            "size", f"{min(crop)}: a crop that is not square is taken from the smallest frame that contains it"
        )
    return scale


def _crop(fields: Fields, image_size: tuple[int, int]) -> tuple[int, int]:
    value = fields.values.get("crop_size", list(image_size))
    if isinstance(value, dict):
        value = [value.get("height"), value.get("width")]
    sides = value if isinstance(value, list) else [value, value]
    if len(sides) != 2 or not all(map(is_size, sides)):
        raise fields.wrong("crop_size", 'a whole number from 1, or {"height": ..., "width": ...}')
    if sides[0] * image_size[1] != sides[1] * image_size[0]:
        raise fields.wrong("crop_size", f"of the aspect ratio of image_size={list(image_size)} in config.json")
    if (sides[0], sides[1]) != image_size:
        # the field of view is kept; the resolution is that of the trained position embedding
        logger.warning(
            "%s: crop_size=%s: clips are resized to %d x %d, the image_size of config.json",
            fields.path, show(fields.values["crop_size"]), *image_size,
        )  # fmt: skip
    return sides[0], sides[1]


def _short_side(fields: Fields) -> int | None:
    """Short side of a resized frame; None if the file leaves it to the default."""
    value: Any = fields.values.get("size")
    if value is None:
        return None
    if isinstance(value, dict):
        given = {key: side for key, side in value.items() if side is not None}
        value = given["shortest_edge"] if list(given) == ["shortest_edge"] else None
    elif fields.values.get("default_to_square"):
        raise fields.wrong("default_to_square", "false: frames keep their aspect ratio")
    if not is_size(value):
        raise fields.wrong("size", 'a whole number from 1, or {"shortest_edge": ...}: frames keep their aspect ratio')
    return value
