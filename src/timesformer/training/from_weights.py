"""Defaults of a run that starts from weights: their architecture, unless a key is set explicitly."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from timesformer.config.io import to_dict
from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError
from timesformer.weights.adapt import FIXED_BY_WEIGHTS
from timesformer.weights.load import config_of, is_image_model

_CLIP_OF_WEIGHTS = ("mean", "std", "channel_order")
"""Clip keys that define the pixel values that the weights were trained on."""
_CLIP_OF_IMAGES = {"sampling": "segment", "num_crops": 1}
"""Clip settings of few videos for weights that have none."""


class _Stated(NamedTuple):
    """A value that was set, and its source for messages."""

    value: Any
    source: str


def fill_from_weights(
    table: Mapping[str, Any], *, weights: str, source: str = "", overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Fill in missing keys of a run from its weights: the model and the clip settings.

    A table with a section `clip` gets only the pixel values (`mean`, `std`, `channel_order`) of the weights' clips. For
    a run with a probe from an image ViT, which has no clip settings, a clip has a frame of each of T segments of the
    whole video, in one crop, and half the image size, which takes a fourth of the time.

    Args:
        table: The unvalidated run, as read from a file.
        weights: The weights that the run starts from: anything that `load` accepts.
        source: Source of the table, for messages.
        overrides: Dotted keys set on the command line, which override the table.

    Returns:
        The table with complete sections `model` and `clip`; existing keys are unchanged.

    Raises:
        ConfigError: Keys that were set do not match the weights; one line for each, with its source.
        WeightsError: The weights cannot be read.
    """
    stated = _stated(table, source=source, overrides=overrides or {})
    heads = stated["model.num_heads"].value if "model.num_heads" in stated else None
    heads = heads if type(heads) is int else None
    config, info = config_of(weights, num_heads=heads)
    conflicts = list(_conflicts(config, stated, weights=weights))
    if conflicts:
        raise ConfigError("\n".join(conflicts))
    clip, model = to_dict(info.clip), to_dict(config)
    if (overrides or {}).get("probe_views", table.get("probe_views")) and is_image_model(weights, num_heads=heads):
        clip |= _CLIP_OF_IMAGES
        model["image_size"] = [max(side // 2 // config.patch_size, 1) * config.patch_size for side in config.image_size]
    if "clip" in table:  # the file describes other videos than those of the weights
        clip = {name: clip[name] for name in _CLIP_OF_WEIGHTS}
    sections = {"model": model, "clip": clip}
    return {**table, **{name: _completed(table.get(name, {}), values) for name, values in sections.items()}}


def _completed(section: Any, values: Mapping[str, Any]) -> Any:
    """A section with missing values filled in; anything but a section is left to later validation."""
    return {**values, **section} if isinstance(section, Mapping) else section


def _stated(table: Mapping[str, Any], *, source: str, overrides: Mapping[str, Any]) -> dict[str, _Stated]:
    model = table.get("model")
    written = model.items() if isinstance(model, Mapping) else ()
    stated = {f"model.{name}": _Stated(value, f"{source}: model.{name}") for name, value in written}
    return stated | {key: _Stated(value, f"--set {key}") for key, value in overrides.items()}


def _conflicts(config: ModelConfig, stated: Mapping[str, _Stated], *, weights: str) -> Iterator[str]:
    for name in FIXED_BY_WEIGHTS:
        if f"model.{name}" not in stated:
            continue
        value, source = stated[f"model.{name}"]
        expected = getattr(config, name)
        # values of other types are refused by the config's own checks
        if isinstance(value, int | float) and value != expected:
            yield (
                f"{source}={_written(value)} does not match the weights of the run: {weights} has {name}="
                f"{_written(expected)}; omit model.{name}, or start from other weights{_heads_hint(name, config)}"
            )
    depth, source = stated.get("model.depth", _Stated(0, ""))
    if isinstance(depth, int) and depth > config.depth:
        yield (
            f"{source}={depth} does not match the weights of the run: {weights} has {config.depth} blocks; use "
            f"{config.depth} or fewer"
        )


def _written(value: bool | int | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _heads_hint(name: str, config: ModelConfig) -> str:
    if name != "num_heads" or config.embed_dim % 64:
        return ""
    return (
        ". A file that does not store its number of heads is assumed to have embed_dim / 64; for another number, run "
        "`timesformer convert` with --set num_heads=N first"
    )
