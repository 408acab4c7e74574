"""Options that several verbs take, with one meaning and one help text each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from timesformer.config.io import parse_overrides
from timesformer.config.schema import ModelConfig, Precision
from timesformer.errors import ConfigError

AsJson = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON for machines.")]
Overwrite = Annotated[bool, Parameter(negative=(), help="Replace files that already exist.")]
Device = Annotated[str, Parameter(help="`auto`, `cpu`, `cuda`, `cuda:N` or `mps`.")]
Fast = Annotated[
    bool,
    Parameter(help="Do less work for the same answers, equal to rounding; `--no-fast` computes block by block."),
]
Compile = Annotated[
    bool,
    Parameter(
        negative=(),
        help="Compile the model by torch.compile first: for a GPU; a minute on a CPU, where it gains nothing.",
    ),
]
ComputeIn = Annotated[
    Precision, Parameter(name="--precision", help="Numbers to compute in; `bf16` and `fp16` are for GPUs.")
]
AllowCodecs = Annotated[
    tuple[str, ...],
    Parameter(
        name="--allow-codec",
        negative=(),
        help="Also decode a codec that few videos have, by FFmpeg's name of it, such as `magicyuv`: for files that you "
        "trust; can be given several times.",
    ),
]
Overrides = Annotated[
    tuple[str, ...],
    Parameter(
        name="--set",
        negative=(),
        help="Change one field of the model's config, such as `--set num_frames=16`; can be given several times.",
    ),
]


DEFAULT_MODEL = "runs/demo"
"""The model of the verbs that use one: what `timesformer demo` leaves."""


def given_model(name: str) -> str:
    """The model to use.

    Raises:
        ConfigError: None was named, and the demo's is not there yet.
    """
    if name == DEFAULT_MODEL and not Path(name).exists():
        raise ConfigError(f"{name} is not there: run `timesformer demo` first, or name a model with --model")
    return name


def model_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """Fields of `ModelConfig` from texts such as `num_frames=16`, values written as in TOML.

    Whether a value can work depends on the model, which checks it.

    Raises:
        ConfigError: A text has no `=`, or its key is no field of `ModelConfig`.
    """
    return parse_overrides(texts, kind=ModelConfig)
