"""`timesformer bench cost`: seconds of joint and divided attention by clip size, next to the closed form."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from timesformer.bench.baselines import random_weights
from timesformer.bench.candidates import check_only
from timesformer.bench.matmul_reference import interleave_with_matmul
from timesformer.bench.result import BenchmarkResult
from timesformer.bench.settings import DeviceAndDtype, check_clips, config_of, model_settings
from timesformer.bench.timing import Candidate, OnProgress, RunTimes, interleave
from timesformer.config.schema import ModelConfig, Precision
from timesformer.model.cost import cost
from timesformer.model.fast import FastTimeSformer
from timesformer.model.timesformer import TimeSformer

COMPARED_SCHEMES = ("joint_space_time", "divided_space_time")
CLIP_SIZES = ((8, 112), (8, 224), (8, 336), (8, 448), (16, 224), (32, 224), (64, 224), (96, 224))
"""Frames, and side of the square frames in pixels: those of the paper's figure 3, and smaller ones."""


@dataclass(frozen=True, slots=True)
class Point:
    """A scheme at a clip size: one point of the plot."""

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
    clips: int = 1,
    on_progress: OnProgress = lambda done, total: None,
) -> BenchmarkResult:
    """Time clips of each size through the first and the last block, and extrapolate to all blocks.

    The last block computes the class token alone. The time of the whole model is that of the last block, plus, for
    each other block, the difference between a model of two blocks and a model of one.

    Args:
        preset: A name of `PRESETS`, a recipe or a model folder, as in `config_of`; its clip size is replaced.
        rounds: Timed rounds.
        only: Schemes of `COMPARED_SCHEMES` to run; both by default.
        device: A device name, as in `Predictor`.
        precision: Number format to compute in.
        clips: Clips per forward pass.
        on_progress: Called after each point.

    Raises:
        ConfigError: There is no such preset, scheme or device, or `rounds` or `clips` is less than 1.
    """
    check_clips(clips)
    check_only(only, COMPARED_SCHEMES)
    base, device_dtype = config_of(preset), DeviceAndDtype.of(device, precision)
    points = [Point(scheme, *size) for scheme in only or COMPARED_SCHEMES for size in CLIP_SIZES]
    times, matmul_rate = interleave_with_matmul({}, base, device_dtype=device_dtype, rounds=max(rounds, 5))
    for number, point in enumerate(points, start=1):
        times[str(point)] = _time(_config(base, point), device_dtype, clips=clips, rounds=rounds)
        on_progress(number, len(points))
    settings = model_settings(preset, device, precision, clips=clips)
    return BenchmarkResult(
        name="cost",
        title=f"Seconds of {_clips(clips)} through {preset}, by clip size",
        settings=settings
        | {"blocks timed": min(base.depth, 2), "blocks": base.depth, "matmul_gmac_per_s": matmul_rate},
        times=times,
        ours="",
        details={str(point): _closed_form(_config(base, point), matmul_rate, clips=clips) for point in points},
        notes=(
            f"Measured on the first and the last block and extrapolated to {base.depth}: the seconds of the last block "
            f"plus {base.depth - 1} times those of the other. closed_form_s: multiply-accumulates of the whole model "
            "divided by the rate of one matrix product on this machine.",
        ),
    )


def _clips(count: int) -> str:
    return "one clip" if count == 1 else f"{count} clips"


def forward_pass(config: ModelConfig, device_dtype: DeviceAndDtype, *, clips: int = 1) -> Callable[[], object]:
    """A forward pass of clips of the config's size, as `Predictor` computes it."""
    model = FastTimeSformer(random_weights(TimeSformer(config))).to(*device_dtype).pack()
    batch = torch.randn(clips, config.in_channels, config.num_frames, *config.image_size).to(*device_dtype)
    return lambda: device_dtype.wait_for(model(batch))


def _config(base: ModelConfig, point: Point) -> ModelConfig:
    return replace(base, scheme=point.scheme, num_frames=point.num_frames, image_size=(point.side, point.side))


def _time(config: ModelConfig, device_dtype: DeviceAndDtype, *, clips: int, rounds: int) -> RunTimes:
    """Seconds of all blocks in each round, from a model of one block and a model of two."""
    depths = (1, min(config.depth, 2))
    models: dict[str, Candidate] = {
        str(depth): forward_pass(replace(config, depth=depth), device_dtype, clips=clips) for depth in depths
    }
    times = interleave(models, rounds=rounds)
    last, both = (times[str(depth)].seconds for depth in depths)
    return RunTimes(tuple(a + (config.depth - 1) * (b - a) for a, b in zip(last, both, strict=True)))


def _closed_form(config: ModelConfig, gmac_per_s: float, *, clips: int) -> dict[str, float]:
    """Work of the whole model, and its seconds at the rate of a matrix product."""
    total = cost(config)
    gmac = clips * total.macs / 1e9
    return {
        "num_frames": config.num_frames,
        "side": config.image_size[0],
        "tokens": total.tokens,
        "gmac": gmac,
        "closed_form_s": gmac / gmac_per_s,
    }
