"""`timesformer bench model`: one forward pass, ours against other implementations, with the same weights."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from timesformer.bench import baselines
from timesformer.bench.baselines import Logits, OnnxPrecision
from timesformer.bench.candidates import build_candidates, max_differences
from timesformer.bench.matmul_reference import interleave_with_matmul, rates
from timesformer.bench.result import BenchmarkResult
from timesformer.bench.settings import DeviceAndDtype, check_clips, config_of, model_settings
from timesformer.bench.timing import Candidate, OnProgress
from timesformer.config.schema import Precision
from timesformer.errors import ConfigError, DependencyError
from timesformer.model.cost import cost, multiply_accumulates
from timesformer.model.fast import FastTimeSformer, layout_of
from timesformer.model.timesformer import TimeSformer

OURS = "ours"


def _in_onnx_runtime(model: TimeSformer, clip: Tensor, *, precision: OnnxPrecision) -> Logits:
    return baselines.onnx_logits(
        baselines.transformers_logits(baselines.transformers_module(model)), clip, precision=precision
    )


def _exported(model: TimeSformer, clip: Tensor, *, precision: OnnxPrecision) -> Logits:
    """The file that `timesformer export` writes, as `predict` runs it."""
    with baselines.requiring_packages("the export"):
        from timesformer.export.traced import TracedForm
    return baselines.onnx_logits(TracedForm(FastTimeSformer(model)), clip, precision=precision)


def _transformers(model: TimeSformer, clip: Tensor, *, attention: baselines.Attention) -> Logits:
    return baselines.transformers_logits(baselines.transformers_module(model, attention=attention))


BUILDERS: Mapping[str, Callable[[TimeSformer, Tensor], Logits]] = {
    OURS: lambda model, clip: FastTimeSformer(model),
    "ours block by block": lambda model, clip: model,
    "ours compiled": lambda model, clip: baselines.compiled(FastTimeSformer(model)),
    "ours exported": partial(_exported, precision="fp32"),
    "ours exported in int8": partial(_exported, precision="int8"),
    "transformers": partial(_transformers, attention="eager"),
    "transformers sdpa": partial(_transformers, attention="sdpa"),
    "transformers compiled": lambda model, clip: baselines.compiled_logits(baselines.transformers_module(model)),
    "transformers in ONNX Runtime": partial(_in_onnx_runtime, precision="fp32"),
    "transformers in ONNX Runtime in int8": partial(_in_onnx_runtime, precision="int8"),
    "timesformer-pytorch": lambda model, clip: baselines.lucidrains_logits(model.config),
}
"""A builder for each implementation, from a model and clips of its size, both on the CPU."""
OTHER_WEIGHTS = ("timesformer-pytorch",)
"""Baselines that cannot have our weights, so their logits are not compared."""


@torch.no_grad()
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
    """Time a forward pass of clips through a model with random weights.

    Args:
        preset: A name of `PRESETS`, a recipe or a model folder, as in `config_of`.
        rounds: Timed rounds.
        only: Implementations of `BUILDERS` to compare with; all of them by default.
        device: A device name, as in `Predictor`.
        precision: Number format to compute in.
        clips: Clips per forward pass.
        on_progress: Called after each run.

    Raises:
        ConfigError: There is no such preset, implementation or device, or `rounds` or `clips` is less than 1.
    """
    check_clips(clips)
    device_dtype = DeviceAndDtype.of(device, precision)
    model = baselines.random_weights(TimeSformer(config_of(preset)))
    config = model.config
    batch = torch.randn(clips, config.in_channels, config.num_frames, *config.image_size)
    candidates, unavailable = _build(model, batch, only, device_dtype)
    batch = batch.to(*device_dtype)
    differences = _compare(candidates, batch)
    timed = {name: _forward_pass(logits, batch, device_dtype) for name, logits in candidates.items()}
    # the comparison has warmed all of them up, and long clips take long; a GPU's graph is recorded in the second run
    warmup = 2 if device_dtype.device.type == "cuda" else 0
    times, matmul_rate = interleave_with_matmul(
        timed, config, device_dtype=device_dtype, rounds=rounds, warmup=warmup, on_progress=on_progress
    )
    work = {"gmac": clips * cost(config).macs / 1e9, "gmac_of_ours": clips * multiply_accumulates(config) / 1e9}
    work |= rates(work["gmac_of_ours"], times[OURS].median, matmul_rate=matmul_rate)
    return BenchmarkResult(
        name="model",
        title=f"{clips} x {config.num_frames} x {config.image_size[0]} through {preset}, {config.scheme_text}",
        settings=model_settings(preset, device, precision, clips=clips) | work,
        times=times,
        ours=OURS,
        max_difference=differences,
        unavailable=unavailable,
        notes=(_work_note(work), f"Token layout of fast inference: {layout_of(model.scheme)}."),
    )


def _work_note(work: Mapping[str, float]) -> str:
    return (
        f"Fast inference computes {work['gmac_of_ours']:.4g} of {work['gmac']:.4g} GMAC, at "
        f"{work['ours_gmac_per_s']:.1f} GMAC/s: {work['fraction_of_matmul']:.1%} of the rate of a matrix product here."
    )


def _forward_pass(logits: Logits, clips: Tensor, device_dtype: DeviceAndDtype) -> Candidate:
    return lambda: device_dtype.wait_for(logits(clips))


def _build(
    model: TimeSformer, clips: Tensor, only: Sequence[str], device_dtype: DeviceAndDtype
) -> tuple[dict[str, Logits], dict[str, str]]:
    """The implementations that can run here, ours first, and the reason for each that cannot."""
    builders = {name: partial(build, model, clips) for name, build in BUILDERS.items()}
    # ConfigError: the library has no such model
    candidates, unavailable = build_candidates(builders, only, unavailable=(DependencyError, ConfigError))
    for name, logits in list(candidates.items()):
        if isinstance(logits, nn.Module):
            logits.to(*device_dtype)
            if isinstance(logits, FastTimeSformer):
                logits.pack()
        elif device_dtype.device.type != "cpu" or device_dtype.dtype != torch.float32:
            del candidates[name]
            unavailable[name] = "runs on the CPU in fp32"
    return candidates, unavailable


def _compare(candidates: Mapping[str, Logits], clips: Tensor) -> dict[str, float]:
    """Largest difference between the logits of each implementation and ours; runs each once."""
    # a copy: the next CUDA graph may write to the memory of this one
    logits = {name: candidate(clips).clone() for name, candidate in candidates.items()}
    return max_differences({name: found for name, found in logits.items() if name not in OTHER_WEIGHTS}, reference=OURS)
