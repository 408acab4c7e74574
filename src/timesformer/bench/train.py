"""`timesformer bench train`: one training step, ours beside what else a user would take, on the same weights."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from timesformer.bench import peers
from timesformer.bench.peak import peak_above
from timesformer.bench.peers import Logits
from timesformer.bench.result import Bench
from timesformer.bench.rounds import OnRound, interleave
from timesformer.bench.ways import build_ways
from timesformer.config.presets import preset as preset_config
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.layouts import layout_for

OURS, CHECKPOINTED, PEER = "ours", "ours, checkpointed", "transformers"
WAYS = (OURS, CHECKPOINTED, PEER)
_CLIPS = 2
_NOTES = (
    "A step is forward, backward and SGD with momentum, fused for all ways, in fp32, without stochastic depth.",
    "memory: the peak of a second step in a process of its own, above weights, gradients and momentum of the first.",
)


class Learner:
    """A model, clips to learn and an optimiser: one way to take a training step."""

    def __init__(self, module: nn.Module, logits: Logits, clips: Tensor, names: Mapping[str, str]) -> None:
        self.module, self.clips = module.train(), clips
        self._logits, self._names = logits, names
        self._labels = torch.arange(len(clips))
        self._optimizer = torch.optim.SGD(module.parameters(), lr=1e-6, momentum=0.9, nesterov=True, fused=True)

    def gradients(self) -> dict[str, Tensor]:
        """Gradients of the loss by our names, and the loss itself as `loss`."""
        loss = self._backward()
        parameters = dict(self.module.named_parameters())
        return {ours: _gradient(parameters[theirs]) for ours, theirs in self._names.items()} | {"loss": loss.detach()}

    def step(self) -> None:
        """Forward, backward and a step of the optimiser."""
        self._backward()
        self._optimizer.step()

    def _backward(self) -> Tensor:
        self._optimizer.zero_grad()
        loss = F.cross_entropy(self._logits(self.clips), self._labels)
        loss.backward()
        return loss


def run(*, preset: str, rounds: int, only: Sequence[str] = (), on_round: OnRound = lambda done, total: None) -> Bench:
    """Time training steps of two clips from random weights, compare gradients, and measure peaks of memory.

    Args:
        preset: A name of `PRESETS`.
        rounds: Rounds that count.
        only: Ways of `WAYS` to run beside ours; all of them by default.
        on_round: Hears of every run.

    Raises:
        ConfigError: There is no such preset or way, or `rounds` is less than 1.
        TimeSformerError: The system does not tell a process its peak of memory.
    """
    learners, absent = build_ways({way: partial(_learner, way, preset) for way in WAYS}, only)
    agreement = _compare(learners)
    timings = interleave({name: learner.step for name, learner in learners.items()}, rounds=rounds, on_round=on_round)
    config = preset_config(preset)
    ways = list(learners)
    learners.clear()  # or the processes below would find less memory
    return Bench(
        name="train",
        title=f"A training step of {_CLIPS} clips of {config.num_frames} x {config.image_size[0]} through {preset}",
        setting={"preset": preset, "clips": _CLIPS, "threads": torch.get_num_threads(), "optimizer": "sgd, momentum"},
        timings=timings,
        ours=OURS,
        details=_memory(ways, preset),
        agreement=agreement,
        absent=absent,
        notes=_NOTES,
    )


def prepare(way: str, preset: str) -> Callable[[], None]:
    """A training step, with gradients and the optimiser's state of an earlier one in place."""
    learner = _learner(way, preset)
    learner.step()
    return learner.step


def _learner(way: str, preset: str) -> Learner:
    """One of `WAYS`; equal presets have equal weights and clips.

    Raises:
        DependencyError: The library is not installed.
        ConfigError: It has no such model.
    """
    # the peer has no norm of features, and draws of its own for stochastic depth
    config = replace(preset_config(preset), drop_path=0.0, head_norm="none")
    model = peers.random_weights(TimeSformer(config))
    shape = (_CLIPS, config.in_channels, config.num_frames, *config.image_size)
    clips = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    names = [name for name, _ in model.named_parameters()]
    if way == PEER:
        module = peers.transformers_module(model)
        theirs = layout_for("transformers", config.scheme).rename_all(names)
        return Learner(module, peers.transformers_logits(module), clips, theirs)
    model.checkpoint_activations = way == CHECKPOINTED
    return Learner(model, model, clips, {name: name for name in names})


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


def _memory(ways: Sequence[str], preset: str) -> dict[str, dict[str, float | str]]:
    """Peak of each way in MB, and as a share of that of the peer."""
    peaks = {way: peak_above(f"{__name__}:prepare", way=way, preset=preset).above for way in ways}
    details: dict[str, dict[str, float | str]] = {way: {"memory_mb": peak / 1e6} for way, peak in peaks.items()}
    if PEER in peaks:
        for way, peak in peaks.items():
            details[way]["of_peer"] = peak / peaks[PEER]
    return details
