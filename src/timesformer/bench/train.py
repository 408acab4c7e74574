"""`timesformer bench train`: one training step, ours against `transformers`, with the same weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.bench import baselines
from timesformer.bench.baselines import Logits
from timesformer.bench.candidates import build_candidates
from timesformer.bench.matmul_reference import interleave_with_matmul, rates
from timesformer.bench.peak_memory import peak_above, peak_on_gpu
from timesformer.bench.result import BenchmarkResult
from timesformer.bench.settings import DeviceAndDtype, check_clips, config_of, model_settings
from timesformer.bench.timing import OnProgress
from timesformer.config.schema import Precision
from timesformer.errors import ConfigError, DependencyError
from timesformer.model.cost import cost
from timesformer.model.timesformer import TimeSformer

OURS, CHECKPOINTED, BASELINE = "ours", "ours, checkpointed", "transformers"
PLAIN, COMPILED = "ours in plain layers", "ours compiled"
SDPA, BASELINE_COMPILED = "transformers sdpa", "transformers compiled"
CANDIDATES = (OURS, CHECKPOINTED, BASELINE, PLAIN, COMPILED, SDPA, BASELINE_COMPILED)
THEIRS = (BASELINE, SDPA, BASELINE_COMPILED)
ON_CPU = (OURS, CHECKPOINTED, BASELINE)
"""Candidates of a CPU unless others are asked for: compiling a step takes minutes there."""
_NOTES = (
    "A step: forward, backward and SGD with momentum (fused for all), without stochastic depth.",
    "memory: peak of the second step above weights, gradients and momentum of the first.",
)


class TrainingStep:
    """The training step of one implementation: a model, a batch of clips and an optimizer."""

    def __init__(
        self,
        module: nn.Module,
        logits: Logits,
        clips: Tensor,
        *,
        names: Mapping[str, str],
        device_dtype: DeviceAndDtype,
    ) -> None:
        device = device_dtype.device
        self.module, self.clips = module.to(device).train(), clips.to(device)
        self._logits, self._names, self._device_dtype = logits, names, device_dtype
        self._labels = torch.arange(len(clips), device=device)
        self._optimizer = torch.optim.SGD(module.parameters(), lr=1e-6, momentum=0.9, nesterov=True, fused=True)

    def gradients(self) -> dict[str, Tensor]:
        """Gradients by our parameter names, and the loss as `loss`."""
        loss = self._backward()
        parameters = dict(self.module.named_parameters())
        return {ours: _gradient(parameters[theirs]) for ours, theirs in self._names.items()} | {"loss": loss.detach()}

    def run(self) -> None:
        """Forward, backward and an optimizer step."""
        self._backward()
        self._device_dtype.wait_for(self._optimizer.step())

    def _backward(self) -> Tensor:
        self._optimizer.zero_grad()
        device, dtype = self._device_dtype
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            logits = self._logits(self.clips).float()
            loss = F.cross_entropy(logits, self._labels % logits.shape[1])
        loss.backward()
        return loss


def run(
    *,
    preset: str,
    rounds: int,
    only: Sequence[str] = (),
    device: str = "cpu",
    precision: Precision = "fp32",
    clips: int = 2,
    on_progress: OnProgress = lambda done, total: None,
) -> BenchmarkResult:
    """Time training steps from random weights, compare gradients, and measure peak memory.

    Args:
        preset: A name of `PRESETS`, a recipe or a model folder, as in `config_of`.
        rounds: Timed rounds.
        only: Names of `CANDIDATES` to compare with; by default all of them on a GPU, and `ON_CPU` elsewhere.
        device: A device name, as in `Predictor`.
        precision: `fp32`, or `bf16` for autocast.
        clips: Clips per step.
        on_progress: Called after each run.

    Raises:
        ConfigError: There is no such preset, candidate or device, `rounds` or `clips` is less than 1, or the precision
            is `fp16`, which would need loss scaling.
        TimeSformerError: Peak memory cannot be measured on this system.
    """
    _check_arguments(clips, precision)
    config, device_dtype = config_of(preset), DeviceAndDtype.of(device, precision)
    builders = {name: partial(_step, name, preset, device_dtype=device_dtype, clips=clips) for name in CANDIDATES}
    chosen = only or (CANDIDATES if device_dtype.device.type == "cuda" else ON_CPU)
    # ConfigError: the library has no such model
    steps, unavailable = build_candidates(builders, chosen, unavailable=(DependencyError, ConfigError))
    differences = _compare(steps)
    timed = {name: step.run for name, step in steps.items()}
    times, matmul_rate = interleave_with_matmul(
        timed, config, device_dtype=device_dtype, rounds=rounds, on_progress=on_progress
    )
    timed.clear()  # frees the models together with `steps`
    peaks = _peaks(steps, preset=preset, clips=clips, device_dtype=device_dtype, precision=precision)
    work = {"gmac": 3 * clips * cost(config).macs / 1e9}
    work |= rates(work["gmac"], times[OURS].median, matmul_rate=matmul_rate)
    settings = model_settings(preset, device, precision, clips=clips)
    return BenchmarkResult(
        name="train",
        title=f"A training step of {clips} x {config.num_frames} x {config.image_size[0]} through {preset}",
        settings=settings | {"optimizer": "sgd, momentum"} | work,
        times=times,
        ours=OURS,
        details=_memory_details(peaks),
        max_difference=differences,
        unavailable=unavailable,
        notes=(*_NOTES, _work_note(work)),
    )


def _check_arguments(clips: int, precision: Precision) -> None:
    check_clips(clips)
    if precision == "fp16":
        raise ConfigError("precision='fp16' would need loss scaling: bench train accepts fp32 and bf16")


def _work_note(work: Mapping[str, float]) -> str:
    return (
        f"Ours computes the {work['gmac']:.4g} GMAC of a plain step, three forward passes, at "
        f"{work['fraction_of_matmul']:.1%} of the rate of a matrix product here."
    )


def prepare(
    candidate: str, preset: str, clips: int = 2, precision: Precision = "fp32", device: str = "cpu"
) -> Callable[[], None]:
    """A training step, after a first one that allocates gradients and the optimizer's state."""
    step = _step(candidate, preset, device_dtype=DeviceAndDtype.of(device, precision), clips=clips)
    step.run()
    return step.run


def _step(candidate: str, preset: str, *, device_dtype: DeviceAndDtype, clips: int) -> TrainingStep:
    """The step of one of `CANDIDATES`; equal presets have equal weights and clips.

    Raises:
        DependencyError: The library is not installed.
        ConfigError: It has no such model.
    """
    # transformers has no norm of features, and its own random draws for stochastic depth
    config = replace(config_of(preset), drop_path=0.0, head_norm="none")
    model = baselines.random_weights(TimeSformer(config))
    shape = (clips, config.in_channels, config.num_frames, *config.image_size)
    batch = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    step = partial(TrainingStep, clips=batch, device_dtype=device_dtype)
    return _their_step(candidate, model, step) if candidate in THEIRS else _our_step(candidate, model, step)


def _our_step(candidate: str, model: TimeSformer, step: Callable[..., TrainingStep]) -> TrainingStep:
    model.checkpoint_activations = candidate == CHECKPOINTED
    if candidate == PLAIN:
        baselines.by_plain_layers(model)
    # no CUDA graphs, whose outputs, the gradients, would not outlive the next step
    logits = baselines.compiled(model, mode="default") if candidate == COMPILED else model
    return step(model, logits, names={name: name for name, _ in model.named_parameters()})


def _their_step(candidate: str, model: TimeSformer, step: Callable[..., TrainingStep]) -> TrainingStep:
    module = baselines.transformers_module(model, attention="sdpa" if candidate == SDPA else "eager")
    from timesformer.weights.layouts import layout_for  # needs packages that `transformers_module` has checked

    names = [name for name, _ in model.named_parameters()]
    called = baselines.compiled(module, mode="default") if candidate == BASELINE_COMPILED else module
    theirs = layout_for("transformers", model.config.scheme).rename_all(names)
    return step(module, baselines.transformers_logits(called), names=theirs)


def _compare(steps: Mapping[str, TrainingStep]) -> dict[str, float]:
    """Largest difference from our loss and gradients, relative to the largest value of each tensor."""
    ours = steps[OURS].gradients()
    return {
        name: max(_relative_difference(ours[key], theirs) for key, theirs in step.gradients().items())
        for name, step in steps.items()
        if name != OURS
    }


def _relative_difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / ours.abs().max().clamp_min(1e-12))


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None  # every parameter is trained
    return parameter.grad.clone()


def _peaks(
    steps: dict[str, TrainingStep], *, preset: str, clips: int, device_dtype: DeviceAndDtype, precision: Precision
) -> dict[str, int]:
    """Peak memory of a step of each candidate, in bytes; on a CPU, `steps` is emptied first."""
    if device_dtype.device.type == "cuda":
        return {name: peak_on_gpu(step.run).above for name, step in steps.items()}
    names = list(steps)
    steps.clear()  # leaves the memory to the processes below
    peak = partial(peak_above, f"{__name__}:prepare", preset=preset, clips=clips, precision=precision)
    return {name: peak(candidate=name).above for name in names}


def _memory_details(peaks: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """Peak memory of each candidate in MB, and as a fraction of the peak of `transformers`."""
    details = {name: {"memory_mb": peak / 1e6} for name, peak in peaks.items()}
    if BASELINE in peaks:
        for name, peak in peaks.items():
            details[name]["fraction_of_transformers"] = peak / peaks[BASELINE]
    return details
