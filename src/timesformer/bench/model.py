"""`timesformer bench model`: one forward pass, ours beside what else a user would take, on the same weights."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from timesformer.bench import baselines
from timesformer.bench.baselines import Logits
from timesformer.bench.candidates import build_ways
from timesformer.bench.matmul_reference import (
    Place,
    check_clips,
    interleave_with_product,
    matrix_product,
    rates,
    setting,
)
from timesformer.bench.result import Bench
from timesformer.bench.timing import OnRound, Way
from timesformer.config.presets import preset as preset_config
from timesformer.config.schema import Precision
from timesformer.errors import ConfigError, DependencyError
from timesformer.export.onnx import OnnxPrecision
from timesformer.export.onnxruntime import OrtForm
from timesformer.model.cost import cost, multiply_accumulates
from timesformer.model.fast import FastTimeSformer, layout_of
from timesformer.model.timesformer import TimeSformer

OURS = "ours"


def _in_onnx_runtime(model: TimeSformer, clip: Tensor, *, precision: OnnxPrecision) -> Logits:
    return baselines.onnx_logits(
        baselines.transformers_logits(baselines.transformers_module(model)), clip, precision=precision
    )


def _exported(model: TimeSformer, clip: Tensor, *, precision: OnnxPrecision) -> Logits:
    """What `timesformer export` writes, as `predict` runs it."""
    return baselines.onnx_logits(OrtForm(FastTimeSformer(model)), clip, precision=precision)


BUILDERS: Mapping[str, Callable[[TimeSformer, Tensor], Logits]] = {
    OURS: lambda model, clip: FastTimeSformer(model),
    "ours block by block": lambda model, clip: model,
    "ours compiled": lambda model, clip: baselines.compiled(FastTimeSformer(model)),
    "ours exported": partial(_exported, precision="fp32"),
    "ours exported in int8": partial(_exported, precision="int8"),
    "transformers": lambda model, clip: baselines.transformers_logits(baselines.transformers_module(model)),
    "transformers compiled": lambda model, clip: baselines.compiled_logits(baselines.transformers_module(model)),
    "transformers in ONNX Runtime": partial(_in_onnx_runtime, precision="fp32"),
    "transformers in ONNX Runtime in int8": partial(_in_onnx_runtime, precision="int8"),
    "timesformer-pytorch": lambda model, clip: baselines.lucidrains_logits(model.config),
}
"""Each way to classify, made from a model and clips of its size, both on the CPU."""
OTHER_WEIGHTS = ("timesformer-pytorch",)
"""Ways whose logits cannot be those of the others."""


@torch.no_grad()
def run(
    *,
    preset: str,
    rounds: int,
    only: Sequence[str] = (),
    device: str = "cpu",
    precision: Precision = "fp32",
    clips: int = 1,
    on_round: OnRound = lambda done, total: None,
) -> Bench:
    """Time a forward pass of clips through a model with random weights.

    Args:
        preset: A name of `PRESETS`.
        rounds: Rounds that count.
        only: Ways of `BUILDERS` to run beside ours; all of them by default.
        device: Where to compute, as `Predictor` takes it.
        precision: Numbers to compute in.
        clips: Clips that go through at a time.
        on_round: Hears of every run.

    Raises:
        ConfigError: There is no such preset, way or device, or `rounds` or `clips` is less than 1.
    """
    check_clips(clips)
    place = Place.of(device, precision)
    model = baselines.random_weights(TimeSformer(preset_config(preset)))
    config = model.config
    batch = torch.randn(clips, config.in_channels, config.num_frames, *config.image_size)
    ways, absent = _build(model, batch, only, place)
    batch = batch.to(*place)
    agreement = _compare(ways, batch)
    product = matrix_product(config, place)
    timed: dict[str, Way] = {name: lambda logits=logits: place.finish(logits(batch)) for name, logits in ways.items()}
    # the comparison has warmed all ways up; a warm-up of long clips would take as long as a round
    timings, limit = interleave_with_product(timed, product, rounds=rounds, warmup=0, on_round=on_round)
    whole, left = (clips * macs / 1e9 for macs in (cost(config).macs, multiply_accumulates(config)))
    rate = rates(left, timings[OURS].median, limit)
    return Bench(
        name="model",
        title=f"{clips} x {config.num_frames} x {config.image_size[0]} through {preset}, {config.scheme_text}",
        setting=setting(preset, device, precision, clips=clips) | {"gmac": whole, "gmac_of_ours": left} | rate,
        timings=timings,
        ours=OURS,
        agreement=agreement,
        absent=absent,
        notes=(
            f"Of {whole:.4g} GMAC {left:.4g} are left. Ours does {rate['ours_gmac_per_s']:.1f} in a second, "
            f"{rate['share_of_product']:.1%} of what one matrix product does here.",
            f"Layout of tokens in fast inference: {layout_of(model.scheme)}.",
        ),
    )


def _build(
    model: TimeSformer, clips: Tensor, only: Sequence[str], place: Place
) -> tuple[dict[str, Logits], dict[str, str]]:
    """The ways that can run here, ours first, and why the others cannot."""
    builders = {name: partial(build, model, clips) for name, build in BUILDERS.items()}
    ways, absent = build_ways(builders, only, unavailable=(DependencyError, ConfigError))  # or has no such model
    for name, way in list(ways.items()):
        if isinstance(way, nn.Module):
            way.to(*place)
        elif place.device.type != "cpu" or place.dtype != torch.float32:
            del ways[name]
            absent[name] = "runs on the CPU in fp32"
    return ways, absent


def _compare(ways: Mapping[str, Logits], clips: Float[Tensor, "b c t h w"]) -> dict[str, float]:
    """Largest difference of the logits of each way from ours; all ways run once."""
    logits = {name: way(clips) for name, way in ways.items()}
    others = [name for name in ways if name not in (OURS, *OTHER_WEIGHTS)]
    return {name: float((logits[name] - logits[OURS]).abs().max()) for name in others}
