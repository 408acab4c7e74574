"""`timesformer bench memory`: what a forward pass takes above the weights, each way in a process of its own."""

from collections.abc import Callable, Sequence
from itertools import product

import torch

from timesformer.bench import baselines
from timesformer.bench.candidates import choose
from timesformer.bench.peak_memory import Peak, peak_above
from timesformer.bench.result import Bench
from timesformer.bench.timing import OnRound, quartiles
from timesformer.config.presets import preset as preset_config
from timesformer.model.fast import FastTimeSformer
from timesformer.model.timesformer import TimeSformer

OURS = "ours"
MAKERS: dict[str, Callable[[TimeSformer], baselines.Logits]] = {
    OURS: FastTimeSformer,
    "ours block by block": lambda model: model,
    "transformers": lambda model: baselines.transformers_logits(baselines.transformers_module(model)),
}


def run(*, preset: str, rounds: int, only: Sequence[str] = (), on_round: OnRound = lambda done, total: None) -> Bench:
    """Measure the peak of resident memory of one clip's forward pass above what stands before it.

    Args:
        preset: The model, with random weights.
        rounds: Processes for each way; the median of their peaks is given.
        only: Ways of `MAKERS` to run beside ours; all of them by default.
        on_round: Hears of every process.

    Raises:
        ConfigError: There is no such preset or way.
        TimeSformerError: This is not Linux, or a way failed.
    """
    config = preset_config(preset)
    target = f"{__name__}:prepare"
    ways = choose(MAKERS, only)
    peaks: dict[str, list[Peak]] = {name: [] for name in ways}
    for done, (_, name) in enumerate(product(range(rounds), ways), start=1):
        peaks[name].append(peak_above(target, way=name, preset=preset))
        on_round(done, rounds * len(ways))
    above = {name: quartiles(tuple(peak.above / 1e6 for peak in found))[1] for name, found in peaks.items()}
    return Bench(
        name="memory",
        title=f"Memory of one clip of {config.num_frames} x {config.image_size[0]} through {preset}",
        setting={"preset": preset, "clips": 1, "processes": rounds},
        timings={},
        ours=OURS,
        details={
            name: {
                "above_weights_mb": above[name],
                "weights_and_libraries_mb": peaks[name][0].base / 1e6,
                "share_of_transformers": above[name] / above["transformers"] if "transformers" in above else None,
            }
            for name in ways
        },
        notes=("above weights: the peak of resident memory less what stood before the first forward pass",),
    )


def prepare(way: str, preset: str) -> Callable[[], object]:
    """The forward pass of one clip, with the weights of that way alone in place."""
    logits, clip = _load(way, preset)

    @torch.inference_mode()
    def work() -> object:
        return logits(clip)

    return work


def _load(way: str, preset: str) -> tuple[baselines.Logits, torch.Tensor]:
    config = preset_config(preset)
    clip = torch.randn(1, config.in_channels, config.num_frames, *config.image_size)
    return MAKERS[way](baselines.random_weights(TimeSformer(config))), clip
