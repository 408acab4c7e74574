"""`timesformer bench memory`: peak memory of a forward pass above the weights, each candidate in a separate process."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from statistics import median

import torch

from timesformer.bench import baselines
from timesformer.bench.candidates import select
from timesformer.bench.peak_memory import Peak, peak_above
from timesformer.bench.result import BenchmarkResult
from timesformer.bench.timing import OnProgress
from timesformer.config.presets import preset as preset_config
from timesformer.model.fast import FastTimeSformer
from timesformer.model.timesformer import TimeSformer

OURS, BASELINE = "ours", "transformers"
BUILDERS: dict[str, Callable[[TimeSformer], baselines.Logits]] = {
    OURS: FastTimeSformer,
    "ours block by block": lambda model: model,
    BASELINE: lambda model: baselines.transformers_logits(baselines.transformers_module(model)),
}


def run(
    *, preset: str, rounds: int, only: Sequence[str] = (), on_progress: OnProgress = lambda done, total: None
) -> BenchmarkResult:
    """Measure the peak resident memory of one clip's forward pass above the memory before it.

    Args:
        preset: The model, with random weights.
        rounds: Processes for each candidate; the median of their peaks is given.
        only: Candidates of `BUILDERS` to compare with; all of them by default.
        on_progress: Called after each process.

    Raises:
        ConfigError: There is no such preset or candidate.
        TimeSformerError: This is not Linux, or a candidate failed.
    """
    config = preset_config(preset)
    target = f"{__name__}:prepare"
    names = select(BUILDERS, only)
    peaks: dict[str, list[Peak]] = {name: [] for name in names}
    for done, (_, name) in enumerate(product(range(rounds), names), start=1):
        peaks[name].append(peak_above(target, candidate=name, preset=preset))
        on_progress(done, rounds * len(names))
    return BenchmarkResult(
        name="memory",
        title=f"Memory of one clip of {config.num_frames} x {config.image_size[0]} through {preset}",
        settings={"preset": preset, "clips": 1, "processes": rounds},
        times={},
        ours=OURS,
        details=_details(peaks),
        notes=("above weights: peak resident memory minus that before the first forward pass",),
    )


def prepare(candidate: str, preset: str) -> Callable[[], object]:
    """The forward pass of one clip; only the weights of this candidate are in memory."""
    logits, clip = _load(candidate, preset)

    @torch.inference_mode()
    def work() -> object:
        return logits(clip)

    return work


def _load(candidate: str, preset: str) -> tuple[baselines.Logits, torch.Tensor]:
    config = preset_config(preset)
    clip = torch.randn(1, config.in_channels, config.num_frames, *config.image_size)
    return BUILDERS[candidate](baselines.random_weights(TimeSformer(config))), clip


def _details(peaks: Mapping[str, Sequence[Peak]]) -> dict[str, dict[str, float | None]]:
    above = {name: median(peak.above / 1e6 for peak in measured) for name, measured in peaks.items()}
    return {
        name: {
            "above_weights_mb": above[name],
            "weights_and_libraries_mb": measured[0].base / 1e6,
            "fraction_of_transformers": above[name] / above[BASELINE] if BASELINE in above else None,
        }
        for name, measured in peaks.items()
    }
