"""`timesformer bench cost`: seconds of joint and divided attention as clips grow, beside the closed form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from timesformer.bench.baselines import random_weights
from timesformer.bench.candidates import check_known
from timesformer.bench.matmul_reference import Place, interleave_with_product, matrix_product, setting
from timesformer.bench.result import Bench
from timesformer.bench.timing import OnRound, Timing, Way, interleave
from timesformer.config.presets import preset as preset_config
from timesformer.config.schema import ModelConfig, Precision
from timesformer.model.cost import cost
from timesformer.model.fast import FastTimeSformer
from timesformer.model.timesformer import TimeSformer

SCHEMES = ("joint_space_time", "divided_space_time")
SIZES = ((8, 112), (8, 224), (8, 336), (8, 448), (16, 224), (32, 224), (64, 224), (96, 224))
"""Frames, and side of the square frames in pixels: those of the paper's figure 3, and smaller ones."""


@dataclass(frozen=True, slots=True)
class Point:
    """A scheme at a size of clip."""

    scheme: str
    num_frames: int
    side: int

    def __str__(self) -> str:
        return f"{self.scheme}, {self.num_frames} x {self.side}"


@torch.inference_mode()
def run(
    *,
    preset: str,
    rounds: int,
    only: Sequence[str] = (),
    device: str = "cpu",
    precision: Precision = "fp32",
    on_round: OnRound = lambda done, total: None,
) -> Bench:
    """Time one clip of every size through the first and the last block, and give the time of all blocks.

    The last block answers for the class token alone. Seconds of the whole are those of a model of the last block, and
    for each block more the difference to a model of two.

    Args:
        preset: A name of `PRESETS`, whose sizes of clip are replaced.
        rounds: Rounds that count.
        only: Schemes of `SCHEMES` to run; both by default.
        device: Where to compute, as `Predictor` takes it.
        precision: Numbers to compute in.
        on_round: Hears of every run.

    Raises:
        ConfigError: There is no such preset, scheme or device, or `rounds` is less than 1.
    """
    check_known(only, SCHEMES)
    base, place = preset_config(preset), Place.of(device, precision)
    points = [Point(scheme, *size) for scheme in only or SCHEMES for size in SIZES]
    product = matrix_product(base, place)
    timings, rate = interleave_with_product({}, product, rounds=max(rounds, 5))
    for number, point in enumerate(points):
        timings[str(point)] = _time(_config(base, point), place, rounds=rounds)
        on_round(number + 1, len(points))
    return Bench(
        name="cost",
        title=f"Seconds of one clip through {preset}, by size of clip",
        setting={
            **setting(preset, device, precision),
            "blocks timed": min(base.depth, 2),
            "blocks": base.depth,
            "product_gmac_per_s": rate,
        },
        timings=timings,
        ours="",
        details={str(point): _closed_form(_config(base, point), rate) for point in points},
        notes=(
            f"Measured on the first and the last block, and scaled to {base.depth}: the seconds of the last block, and "
            f"{base.depth - 1} times what the other one adds. closed_form_s is multiply-accumulates of the whole model "
            "over the rate of one matrix product on this machine.",
        ),
    )


def forward(config: ModelConfig, place: Place) -> Callable[[], object]:
    """A forward pass of one clip of the config's size, as `Predictor` computes it."""
    model = FastTimeSformer(random_weights(TimeSformer(config))).to(*place)
    clip = torch.randn(1, config.in_channels, config.num_frames, *config.image_size).to(*place)
    return lambda: place.finish(model(clip))


def _config(base: ModelConfig, point: Point) -> ModelConfig:
    return replace(base, scheme=point.scheme, num_frames=point.num_frames, image_size=(point.side, point.side))


def _time(config: ModelConfig, place: Place, *, rounds: int) -> Timing:
    """Seconds of all blocks, from a model of one block and a model of two, round by round."""
    ways: dict[str, Way] = {
        str(depth): forward(replace(config, depth=depth), place) for depth in (1, min(config.depth, 2))
    }
    found = interleave(ways, rounds=rounds)
    pairs = zip(found["1"].seconds, found[min(ways, key=lambda name: -int(name))].seconds, strict=True)
    return Timing(tuple(last + (config.depth - 1) * (both - last) for last, both in pairs))


def _closed_form(config: ModelConfig, gmac_per_s: float) -> dict[str, float]:
    """Work of the whole model, and the seconds that it would take at the rate of a matrix product."""
    found = cost(config)
    return {
        "num_frames": config.num_frames,
        "side": config.image_size[0],
        "tokens": found.tokens,
        "gmac": found.macs / 1e9,
        "closed_form_s": found.macs / 1e9 / gmac_per_s,
    }
