"""How a model computes and how videos are read: one description for `Predictor`, `evaluate` and the command line."""

from collections.abc import Collection
from dataclasses import dataclass, fields, replace

from timesformer.config.checks import MOST_IN_BATCH, MOST_WORKERS, check_choice, check_count
from timesformer.config.schema import OnDecodeError, PrecisionName

EVALUATION_ONLY = ("num_workers", "on_error")
"""Options of `evaluate` without effect on `Predictor`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeOptions:
    """Device, batch size, precision and reading of videos, for `Predictor` and `evaluate`.

    Both accept `options=ComputeOptions(...)` or the same fields as keywords.

    Raises:
        ConfigError: A value is out of its range.
    """

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:N` or `mps`; `auto` is a GPU if there is one."""
    batch_size: int = 8
    """Clips (views) per forward pass, of one video or several."""
    num_workers: int = 2
    """Processes that decode videos; 0 decodes in the main process. For `evaluate` only."""
    on_error: OnDecodeError = "raise"
    """On a video that cannot be decoded: `raise` stops, `skip` leaves it out and lists it. For `evaluate` only."""
    fast: bool = True
    """Compute by `FastTimeSformer`: equal predictions up to rounding, in less time and memory. A model with hooks is
    computed block by block, so that they run."""
    compile: bool = False
    """Compile the model with `torch.compile` at the first batch of each size: a minute or more on a CPU, kept in
    torch's cache on disk. On a GPU, kernels then start as one graph. On a CPU it gains nothing over `fast`."""
    precision: PrecisionName = "fp32"
    """Floating-point type of the model. `bf16` is faster than `fp32` on GPUs and on CPUs with AVX-512 BF16, AMX or the
    BF16 instructions of Arm, and slower on other CPUs; `auto` takes the faster one. `fp16` is for GPUs."""
    allow_codecs: Collection[str] = ()
    """Codecs to decode in addition to `timesformer.data.video.codecs.DEFAULT_CODECS`, by FFmpeg's names."""

    def __post_init__(self) -> None:
        check_count("batch_size", self.batch_size, most=MOST_IN_BATCH)
        check_count("num_workers", self.num_workers, least=0, most=MOST_WORKERS)
        check_choice("on_error", self.on_error, OnDecodeError)
        check_choice("precision", self.precision, PrecisionName)
        if not isinstance(self.allow_codecs, str):  # which is refused when the codecs are looked up
            object.__setattr__(self, "allow_codecs", tuple(self.allow_codecs))

    def for_predictor(self) -> "ComputeOptions":
        """The same options, with those that only `evaluate` uses at their defaults."""
        return replace(self, **{name: DEFAULTS[name] for name in EVALUATION_ONLY})


DEFAULTS = {field.name: field.default for field in fields(ComputeOptions)}
"""Default of each option."""
