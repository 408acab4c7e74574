"""`timesformer bench train`: one training step, ours beside what else a user would take, on the same weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
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
from timesformer.bench.peak_memory import peak_above
from timesformer.bench.result import Bench
from timesformer.bench.timing import OnRound, Way
from timesformer.config.presets import preset as preset_config
from timesformer.config.schema import Precision
from timesformer.errors import ConfigError
from timesformer.model.cost import cost
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.layouts import layout_for

OURS, CHECKPOINTED, PEER = "ours", "ours, checkpointed", "transformers"
WAYS = (OURS, CHECKPOINTED, PEER)
_NOTES = (
    "A step is forward, backward and SGD with momentum, fused for all ways, without stochastic depth.",
    "memory: the peak of a second step, above weights, gradients and momentum of the first.",
)


class Learner:
    """A model, clips to learn and an optimizer: one way to take a training step."""

    def __init__(
        self, module: nn.Module, logits: Logits, clips: Tensor, names: Mapping[str, str], place: Place
    ) -> None:
        self.module, self.clips = module.to(place.device).train(), clips.to(place.device)
        self._logits, self._names, self._place = logits, names, place
        self._labels = torch.arange(len(clips), device=place.device)
        self._optimizer = torch.optim.SGD(module.parameters(), lr=1e-6, momentum=0.9, nesterov=True, fused=True)

    def gradients(self) -> dict[str, Tensor]:
        """Gradients of the loss by our names, and the loss itself as `loss`."""
        loss = self._backward()
        parameters = dict(self.module.named_parameters())
        return {ours: _gradient(parameters[theirs]) for ours, theirs in self._names.items()} | {"loss": loss.detach()}

    def step(self) -> None:
        """Forward, backward and a step of the optimizer."""
        self._backward()
        self._place.finish(self._optimizer.step())

    def _backward(self) -> Tensor:
        self._optimizer.zero_grad()
        device, dtype = self._place
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss = F.cross_entropy(self._logits(self.clips).float(), self._labels)
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
    on_round: OnRound = lambda done, total: None,
) -> Bench:
    """Time training steps from random weights, compare gradients, and measure peaks of memory.

    Args:
        preset: A name of `PRESETS`.
        rounds: Rounds that count.
        only: Ways of `WAYS` to run beside ours; all of them by default.
        device: Where to compute, as `Predictor` takes it.
        precision: `fp32`, or `bf16` for what autocast computes in it.
        clips: Clips of a step.
        on_round: Hears of every run.

    Raises:
        ConfigError: There is no such preset, way or device, `rounds` or `clips` is less than 1, or the precision is
            `fp16`, whose loss would have to be scaled.
        TimeSformerError: The system does not tell a process its peak of memory.
    """
    check_clips(clips)
    if precision == "fp16":
        raise ConfigError("precision='fp16' would need its loss scaled: bench train takes fp32 and bf16")
    place = Place.of(device, precision)
    builders = {way: partial(_learner, way, preset, place=place, clips=clips) for way in WAYS}
    learners, absent = build_ways(builders, only)
    agreement = _compare(learners)
    config = preset_config(preset)
    product = matrix_product(config, place)
    steps: dict[str, Way] = {name: learner.step for name, learner in learners.items()}
    timings, limit = interleave_with_product(steps, product, rounds=rounds, on_round=on_round)
    gmac = 3 * clips * cost(config).macs / 1e9
    rate = rates(gmac, timings[OURS].median, limit)
    on_gpu = place.device.type == "cuda"
    peaks = {way: _peak_on_gpu(learner) for way, learner in learners.items()} if on_gpu else {}
    ways = list(learners)
    steps.clear()
    learners.clear()  # or the processes below would find less memory
    peaks = peaks or {way: peak_above(f"{__name__}:prepare", way=way, preset=preset, clips=clips).above for way in ways}
    return Bench(
        name="train",
        title=f"A training step of {clips} x {config.num_frames} x {config.image_size[0]} through {preset}",
        setting=setting(preset, device, precision, clips=clips) | {"optimizer": "sgd, momentum", "gmac": gmac} | rate,
        timings=timings,
        ours=OURS,
        details=_memory(peaks),
        agreement=agreement,
        absent=absent,
        notes=(
            *_NOTES,
            f"Ours does the {gmac:.4g} GMAC of a plain step, three forward passes, at {rate['share_of_product']:.1%} "
            "of the rate of one matrix product here.",
        ),
    )


def prepare(way: str, preset: str, clips: int = 2) -> Callable[[], None]:
    """A training step on the CPU, with gradients and the optimizer's state of an earlier one in place."""
    learner = _learner(way, preset, place=Place.of("cpu", "fp32"), clips=clips)
    learner.step()
    return learner.step


def _learner(way: str, preset: str, *, place: Place, clips: int) -> Learner:
    """One of `WAYS`; equal presets have equal weights and clips.

    Raises:
        DependencyError: The library is not installed.
        ConfigError: It has no such model.
    """
    # the peer has no norm of features, and draws of its own for stochastic depth
    config = replace(preset_config(preset), drop_path=0.0, head_norm="none")
    model = baselines.random_weights(TimeSformer(config))
    shape = (clips, config.in_channels, config.num_frames, *config.image_size)
    batch = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    names = [name for name, _ in model.named_parameters()]
    if way == PEER:
        module = baselines.transformers_module(model)
        theirs = layout_for("transformers", config.scheme).rename_all(names)
        return Learner(module, baselines.transformers_logits(module), batch, theirs, place)
    model.checkpoint_activations = way == CHECKPOINTED
    return Learner(model, model, batch, {name: name for name in names}, place)


def _compare(learners: Mapping[str, Learner]) -> dict[str, float]:
    """Largest difference from our loss and gradients, each as a share of the largest number of its tensor."""
    ours = learners[OURS].gradients()
    return {
        name: max(_difference(ours[key], theirs) for key, theirs in learner.gradients().items())
        for name, learner in learners.items()
        if name != OURS
    }


def _difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / ours.abs().max().clamp_min(1e-12))


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None  # every parameter learns
    return parameter.grad.clone()


def _peak_on_gpu(learner: Learner) -> int:
    """The most memory, in bytes, that a step takes above what lies there before it."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    learner.step()
    return torch.cuda.max_memory_allocated() - before


def _memory(peaks: Mapping[str, int]) -> dict[str, dict[str, float | str]]:
    """Peak of each way in MB, and as a share of that of the peer."""
    details: dict[str, dict[str, float | str]] = {way: {"memory_mb": peak / 1e6} for way, peak in peaks.items()}
    if PEER in peaks:
        for way, peak in peaks.items():
            details[way]["of_peer"] = peak / peaks[PEER]
    return details
