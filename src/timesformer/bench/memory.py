"""`timesformer bench memory`: peak memory of a forward pass above the weights, each candidate by itself."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from statistics import median

import torch

from timesformer.bench import baselines
from timesformer.bench.candidates import select
from timesformer.bench.peak_memory import Peak, peak_above, peak_on_gpu
from timesformer.bench.result import BenchmarkResult
from timesformer.bench.settings import DeviceAndDtype, check_clips, config_of, model_settings
from timesformer.bench.timing import OnProgress
from timesformer.config.schema import Precision
from timesformer.device import resolve_device
from timesformer.errors import ConfigError, TimeSformerError
from timesformer.model.fast import FastTimeSformer
from timesformer.model.timesformer import TimeSformer

OURS, BASELINE = "ours", "transformers"
BUILDERS: dict[str, Callable[[TimeSformer], baselines.Logits]] = {
    OURS: FastTimeSformer,
    "ours block by block": lambda model: model,
    BASELINE: lambda model: baselines.transformers_logits(baselines.transformers_module(model)),
}
_NOTES = {
    "cpu": "above weights: peak resident memory minus that before the first forward pass",
    "cuda": "above weights: peak of the allocator in the second forward pass minus what was allocated before it",
}


def run(
    *,
    preset: str,
    rounds: int,
    only: Sequence[str] = (),
    device: str = "cpu",
    precision: Precision = "fp32",
    clips: int = 1,
    on_progress: OnProgress = lambda done, total: None,
) -> BenchmarkResult:
    """Measure the peak memory of a forward pass above the memory before it.

    On a CPU it is the resident memory of a separate process, on a GPU that of the allocator.

    Args:
        preset: The model, with random weights: a name of `PRESETS`, a recipe or a model folder, as in `config_of`.
        rounds: Measurements of each candidate; the median of their peaks is given.
        only: Candidates of `BUILDERS` to compare with; all of them by default.
        device: A CPU or a CUDA GPU.
        precision: Number format to compute in.
        clips: Clips per forward pass.
        on_progress: Called after each measurement.

    Raises:
        ConfigError: There is no such preset, candidate or device, or `clips` is less than 1.
        TimeSformerError: This is not Linux, or ours failed.
    """
    check_clips(clips)
    config, kind = config_of(preset), _kind_of(device)
    measure = partial(_measure, preset=preset, device=device, precision=precision, clips=clips)
    names = select(BUILDERS, only)
    peaks, unavailable = _measure_all(names, measure, rounds=rounds, on_progress=on_progress)
    return BenchmarkResult(
        name="memory",
        title=f"Memory of {clips} x {config.num_frames} x {config.image_size[0]} through {preset}",
        settings=model_settings(preset, device, precision, clips=clips) | {"measurements": rounds},
        times={},
        ours=OURS,
        details=_details(peaks),
        unavailable=unavailable,
        notes=(_NOTES[kind],),
    )


def prepare(
    candidate: str, preset: str, device: str = "cpu", precision: Precision = "fp32", clips: int = 1
) -> Callable[[], object]:
    """The forward pass of clips; only the weights of this candidate are in memory."""
    config, device_dtype = config_of(preset), DeviceAndDtype.of(device, precision)
    logits = BUILDERS[candidate](baselines.random_weights(TimeSformer(config)))
    assert isinstance(logits, torch.nn.Module)
    logits.to(*device_dtype)
    batch = torch.randn(clips, config.in_channels, config.num_frames, *config.image_size).to(*device_dtype)

    @torch.inference_mode()
    def work() -> object:
        return device_dtype.wait_for(logits(batch))

    return work


def _kind_of(device: str) -> str:
    kind = resolve_device(device).type
    if kind not in _NOTES:
        raise ConfigError(f"device={device!r}: memory is measured on a CPU or a CUDA GPU")
    return kind


def _measure_all(
    names: Sequence[str], measure: Callable[[str], Peak], *, rounds: int, on_progress: OnProgress
) -> tuple[dict[str, list[Peak]], dict[str, str]]:
    """Peaks of the candidates that run here, and the reason for each that does not; ours must run."""
    peaks: dict[str, list[Peak]] = {}
    unavailable: dict[str, str] = {}
    for done, (_, name) in enumerate(product(range(rounds), names), start=1):
        try:
            if name not in unavailable:
                peak = measure(name)
                peaks.setdefault(name, []).append(peak)
        except TimeSformerError as error:
            if name == OURS:
                raise
            unavailable[name] = str(error).splitlines()[0]
        on_progress(done, rounds * len(names))
    return peaks, unavailable


def _measure(candidate: str, *, preset: str, device: str, precision: Precision, clips: int) -> Peak:
    if resolve_device(device).type == "cpu":
        return peak_above(f"{__name__}:prepare", candidate=candidate, preset=preset, precision=precision, clips=clips)
    work = prepare(candidate, preset, device, precision, clips)
    work()  # allocates what libraries keep
    return peak_on_gpu(work)


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
