"""Options that several verbs share: one meaning, one help text and one group in `--help` for each."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from cyclopts import Group, Parameter, Token

from timesformer.config.compute import DEFAULTS, ComputeOptions
from timesformer.config.io import parse_overrides
from timesformer.config.old_spellings import current_value
from timesformer.config.schema import ModelConfig, OnDecodeError, PrecisionName
from timesformer.errors import ConfigError

DATA = Group("Data", sort_key=1)
MODEL = Group("Model", sort_key=2)
OPTIMIZATION = Group("Optimization", sort_key=3)
COMPUTE = Group("Compute", sort_key=4)
OUTPUT = Group("Output", sort_key=5)
JOB = Group("Batch job", sort_key=6)

DEFAULT_MODEL = "runs/demo"
"""The model of `predict` and `evaluate` unless one is named: what `timesformer demo` trains."""


def split_list(type_: Any, tokens: Sequence[Token]) -> tuple[str, ...]:
    """Items of a list option: `--top-k 1,5` and `--top-k 1 --top-k 5` are the same."""
    return tuple(item.strip() for token in tokens for item in token.value.split(","))


def choice(key: str, allowed: Sequence[str]) -> Parameter:
    """An option with a fixed set of values, which its help text lists; old spellings of values are still read."""

    def read(type_: Any, tokens: Sequence[Token]) -> str:
        value = current_value(key, tokens[0].value)
        if value not in allowed:
            raise ValueError(f"{value!r} is not one of {', '.join(allowed)}")
        return value

    return Parameter(converter=read, show_choices=False)


def join_list(items: Sequence[object]) -> str | None:
    """A list as it is written on the command line, for `--help`."""
    return ",".join(map(str, items)) or None


LIST = Parameter(converter=split_list, negative=(), show_default=join_list)
FLAG = Parameter(negative=())

_CODECS = Parameter(
    name="--allow-codec",
    group=DATA,
    metavar="NAME,...",
    help="Also decode these codecs, by FFmpeg's names, such as `magicyuv`; for files that you trust.",
)
_DEVICES = "Device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`"
_PRECISION = (
    "Floating-point type: `auto` is `bf16` where the GPU or CPU computes it faster, else `fp32`; `fp16` is for GPUs"
)

Val = Annotated[str, Parameter(group=DATA, metavar="PATH", help="Validation videos, if DATA does not contain them.")]
ListFile = Annotated[
    Path | None,
    Parameter(
        name="--list",
        group=DATA,
        metavar="FILE",
        help="File with the path of a video on each line, or CSV with a column `path` and, for segments, `start` and "
        "`end`; relative paths start at its folder.",
    ),
]
AllowCodecs = Annotated[tuple[str, ...], LIST, _CODECS]
Device = Annotated[str, Parameter(group=COMPUTE, metavar="DEVICE", help=f"{_DEVICES}.")]
DeviceOfConfig = Annotated[str | None, Parameter(group=COMPUTE, metavar="DEVICE", help=f"{_DEVICES} (default: auto).")]
ComputeIn = Annotated[PrecisionName, Parameter(group=COMPUTE, help=f"{_PRECISION}.")]
ComputeInOrDefault = Annotated[PrecisionName | None, Parameter(group=COMPUTE, help=f"{_PRECISION} (default: fp32).")]
"""None if it is not given, so that a run can tell what `auto` would gain."""
PrecisionOfConfig = Annotated[
    PrecisionName | None,
    Parameter(group=COMPUTE, help=f"{_PRECISION}. Weights and optimizer stay in fp32 (default: fp32)."),
]
MODEL_NAMES = Parameter(name=("--model", "-m"), group=MODEL, metavar="MODEL")
Model = Annotated[
    str,
    MODEL_NAMES,
    Parameter(
        help="Model folder, run folder, released `.pyth`, `transformers` folder or hub id (`owner/name@revision`), "
        "mmaction2 `.pth`, exported `.onnx` file, or preset.",
    ),
]
Overrides = Annotated[
    tuple[str, ...],
    FLAG,
    Parameter(
        name="--set",
        group=MODEL,
        metavar="KEY=VALUE",
        help="Change a field of the model's config, such as `num_frames=16`; repeatable.",
    ),
]
RunOverrides = Annotated[
    tuple[str, ...],
    FLAG,
    Parameter(
        name="--set",
        group=OPTIMIZATION,
        metavar="KEY=VALUE",
        help="Change any other field of the run, such as `model.scheme=axial` or `optim.weight_decay=0.1`; repeatable.",
    ),
]
OUTPUT_NAMES = Parameter(name=("--output", "-o"), group=OUTPUT, metavar="PATH")
Overwrite = Annotated[bool, FLAG, Parameter(group=OUTPUT, help="Replace existing files.")]
Overwriting = Annotated[bool, FLAG, Parameter(group=JOB, help="Remove the job in the folder and start anew.")]
EngineName = Literal["local", "ray"]
AsJson = Annotated[bool, FLAG, Parameter(name="--json", group=OUTPUT, help="Print results as JSON.")]


@Parameter(name="*", group=JOB)
@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How the work on many videos is done."""

    engine: Annotated[str, choice("engine", get_args(EngineName)), Parameter(metavar="ENGINE")] = "local"
    """Where the workers run: `local`, this machine, or `ray`, a Ray cluster."""
    ray_address: Annotated[str, Parameter(metavar="ADDRESS")] = ""
    """Address of the Ray cluster (default: `RAY_ADDRESS` or, without it, a cluster on this machine for this job)."""
    workers: Annotated[int | None, Parameter(metavar="N")] = None
    """Worker processes, each with its own model (default: one for each GPU, or for each 8 cores)."""
    shard: Annotated[str, Parameter(metavar="I/N")] = ""
    """Compute part I of N of the job, from 0, next to the drivers of the other parts: for job arrays."""
    retry: Annotated[bool, FLAG] = False
    """Compute the videos in quarantine again."""
    seconds_per_video: Annotated[float, Parameter(metavar="SECONDS")] = 300
    """Time limit for a video; in timeline, for a step of one."""
    memory_per_worker: Annotated[float, Parameter(metavar="GIB", show_default=False)] = 0.0
    """Limit of the memory of a worker process (default: none)."""


NO_WORK = Work()


@Parameter(name="*", group=JOB)
@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A batch job: where its results lie, and how the work is done."""

    job: Annotated[str, Parameter(metavar="DIR")] = ""
    """Compute a row for each video in worker processes, into this folder; the same command goes on after a kill."""
    work: Work = NO_WORK

    def refuse_without_job(self) -> None:
        """Refuse options that have an effect on a job only.

        Raises:
            ConfigError: One is given without `--job`.
        """
        for name, value in asdict(self.work).items():
            if value != getattr(NO_WORK, name):
                raise ConfigError(f"--{name.replace('_', '-')} has no effect without --job, the folder of a batch job")


NO_JOB = Job()


_COMPUTE: Mapping[str, Any] = {
    "device": Device,
    "batch_size": Annotated[int, Parameter(group=COMPUTE, help="Clips (views) per forward pass.")],
    "num_workers": Annotated[
        int, Parameter(group=COMPUTE, help="Processes that decode videos; 0 decodes in the main process.")
    ],
    "fast": Annotated[
        bool,
        Parameter(
            group=COMPUTE,
            show_default=False,
            help="Compute block by block, slower; predictions are equal up to rounding.",
        ),
    ],
    "compile": Annotated[
        bool, FLAG, Parameter(group=COMPUTE, help="Compile the model with torch.compile first; for GPUs.")
    ],
    "precision": ComputeInOrDefault,
    "on_error": Annotated[
        OnDecodeError, Parameter(group=DATA, help="On an unreadable video: stop, or skip it and list it.")
    ],
    "allow_codecs": AllowCodecs,
}
"""Type and option of each field of `ComputeOptions`, in the order of `--help`."""


def _arguments(*, without: Sequence[str] = ()) -> Any:
    """A dataclass of fields of `ComputeOptions`, which become one option each."""
    fields: list[tuple[str, Any, Any]] = [
        (name, typed, field(default=None if name == "precision" else DEFAULTS[name]))
        for name, typed in _COMPUTE.items()
        if name not in without
    ]
    # cyclopts does not look into classes of the module `types`, where dataclasses are made
    made = make_dataclass("Compute", fields, frozen=True, kw_only=True, namespace={"__module__": __name__})
    return Parameter(name="*")(made)


if TYPE_CHECKING:
    EvaluateCompute = PredictCompute = ComputeOptions
else:
    EvaluateCompute = _arguments()
    PredictCompute = _arguments(without=("num_workers", "on_error"))

EVALUATE_COMPUTE, PREDICT_COMPUTE = EvaluateCompute(), PredictCompute()


def compute_options(arguments: ComputeOptions) -> ComputeOptions:
    """The options given on a command line, checked.

    Raises:
        ConfigError: A value is out of its range.
    """
    return ComputeOptions(**{name: value for name, value in asdict(arguments).items() if value is not None})


def gives_precision(arguments: ComputeOptions) -> bool:
    """Whether `--precision` is given on a command line."""
    return arguments.precision is not None


def given_model(name: str) -> str:
    """The model to use.

    Raises:
        ConfigError: None was named, and the demo has not been trained yet.
    """
    if name == DEFAULT_MODEL and not Path(name).exists():
        raise ConfigError(f"{name} does not exist: run `timesformer demo` first, or name a model with --model")
    return name


def model_overrides(texts: Sequence[str]) -> dict[str, Any]:
    """Fields of `ModelConfig` from texts such as `num_frames=16`, values written as in TOML.

    Whether a value can work depends on the model, which checks it.

    Raises:
        ConfigError: A text has no `=`, or its key is not a field of `ModelConfig`.
    """
    return parse_overrides(texts, kind=ModelConfig)


def parse_top_k(items: Sequence[str]) -> list[int]:
    """The numbers of `--top-k`.

    Raises:
        ConfigError: One is not a whole number from 1.
    """
    if not all(item.isdecimal() and int(item) > 0 for item in items):
        raise ConfigError(f"--top-k {','.join(items)!r} is not a list of whole numbers from 1, such as 1,5,10")
    return [int(item) for item in items]
