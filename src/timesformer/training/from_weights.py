"""A run whose architecture follows the weights that it starts from, but for the keys that were really set."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from timesformer.config.io import to_dict
from timesformer.config.schema import ModelConfig
from timesformer.errors import ConfigError
from timesformer.weights.adapt import FIXED_BY_WEIGHTS
from timesformer.weights.load import config_of

_CLIP_OF_WEIGHTS = ("mean", "std", "channel_order")
"""Keys of a clip that say which numbers the weights were trained on."""


class _Stated(NamedTuple):
    """A value that somebody set, and where."""

    value: Any
    source: str


def fill_from_weights(
    table: Mapping[str, Any], *, weights: str, source: str = "", overrides: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Complete the table of a run by what its weights say: the model, and how its clips are made.

    A table that has a section `clip` takes from the clips of the weights only which numbers they are made of.

    Args:
        table: The run as a file has it, unchecked, with only the keys that are there.
        weights: What the run starts from: anything that `load` takes.
        source: Where the table came from, for messages.
        overrides: Dotted keys that were set on the command line, which win over the table.

    Returns:
        The table with sections `model` and `clip`; what was in it stays.

    Raises:
        ConfigError: A key that was set does not fit the weights; one line for each, with where it was set.
        WeightsError: The weights cannot be read.
    """
    stated = _stated(table, source=source, overrides=overrides or {})
    heads = stated["model.num_heads"].value if "model.num_heads" in stated else None
    config, info = config_of(weights, num_heads=heads if type(heads) is int else None)
    conflicts = list(_conflicts(config, stated, weights=weights))
    if conflicts:
        raise ConfigError("\n".join(conflicts))
    clip = to_dict(info.clip)
    if "clip" in table:  # what a file says of clips was written for other videos than those of the weights
        clip = {name: clip[name] for name in _CLIP_OF_WEIGHTS}
    sections = {"model": to_dict(config), "clip": clip}
    return {**table, **{name: _completed(table.get(name, {}), values) for name, values in sections.items()}}


def _completed(section: Any, values: Mapping[str, Any]) -> Any:
    """A section with the values that it lacks; what is no section is left to the checks that name it."""
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
        value, where = stated[f"model.{name}"]
        theirs = getattr(config, name)
        # a value of another type is refused by the checks of the config
        if isinstance(value, int | float) and value != theirs:
            yield (
                f"{where}={_written(value)} does not fit the weights of the run: {weights} has {name}="
                f"{_written(theirs)}; leave model.{name} out, or start from other weights{_of_heads(name, config)}"
            )
    depth, where = stated.get("model.depth", _Stated(0, ""))
    if isinstance(depth, int) and depth > config.depth:
        yield (
            f"{where}={depth} does not fit the weights of the run: {weights} has {config.depth} blocks; take as many "
            f"or fewer"
        )


def _written(value: bool | int | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _of_heads(name: str, config: ModelConfig) -> str:
    if name != "num_heads" or config.embed_dim % 64:
        return ""
    return (
        ". A file that does not say how many heads it has is taken to have one for each 64 of width; for others, "
        "`timesformer convert` it with --set num_heads=N first"
    )
