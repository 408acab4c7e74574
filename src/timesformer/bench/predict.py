"""`timesformer bench predict`: from a video file to class probabilities, decoding included."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from timesformer.bench import baselines
from timesformer.bench.candidates import build_candidates, max_differences
from timesformer.bench.panning_video import PanningVideo, write_panning_video
from timesformer.bench.result import BenchmarkResult
from timesformer.bench.timing import OnProgress, RunTimes, interleave
from timesformer.bench.whole_video import read_whole_video
from timesformer.config.info import ModelInfo
from timesformer.config.presets import clip_preset
from timesformer.config.presets import preset as model_preset
from timesformer.data.clips import sampling, transforms
from timesformer.data.video.reader import probe
from timesformer.errors import ConfigError, DependencyError
from timesformer.inference.fusion import fuse
from timesformer.inference.predictor import Predictor
from timesformer.model.timesformer import TimeSformer

OURS = "ours"

Probabilities = Callable[[Path], Float[Tensor, " k"]]


def run(
    *,
    preset: str,
    rounds: int,
    only: Sequence[str] = (),
    on_progress: OnProgress = lambda done, total: None,
    video: PanningVideo | None = None,
) -> BenchmarkResult:
    """Time a whole prediction: open the file, decode and crop its views, run the model.

    Args:
        preset: The model, with random weights, and its views.
        rounds: Timed rounds.
        only: Baselines to compare with; all of them by default.
        on_progress: Called after each run.
        video: The video to draw; 10 s of 720p by default.

    Raises:
        ConfigError: There is no such preset or baseline, or `rounds` is less than 1.
    """
    video = video or PanningVideo()
    info = ModelInfo(clip=clip_preset(preset))
    candidates, unavailable = _build(baselines.random_weights(TimeSformer(model_preset(preset), info=info)), only)
    times, differences = _measure(candidates, video, rounds=rounds, on_progress=on_progress)
    views = info.clip.num_clips * info.clip.num_crops
    return BenchmarkResult(
        name="predict",
        title=f"A video of {video.num_frames} frames of {video.height}p through {preset}, {views} views",
        settings={"preset": preset, "views": views, "video": asdict(video), "threads": torch.get_num_threads()},
        times=times,
        ours=OURS,
        max_difference=differences,
        unavailable=unavailable,
        notes=(
            "whole video, transformers: decodes every frame, as in the released code, and crops the same views",
            "max diff: largest difference of a probability",
        ),
    )


def _measure(
    candidates: Mapping[str, Probabilities], video: PanningVideo, *, rounds: int, on_progress: OnProgress
) -> tuple[dict[str, RunTimes], dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        write_panning_video(path, video)
        outputs = {name: probabilities(path) for name, probabilities in candidates.items()}
        timed = {name: partial(probabilities, path) for name, probabilities in candidates.items()}
        times = interleave(timed, rounds=rounds, on_progress=on_progress)
    return times, max_differences(outputs, reference=OURS)


def _build(model: TimeSformer, only: Sequence[str]) -> tuple[dict[str, Probabilities], dict[str, str]]:
    """The implementations that can run here, and the reason for each that cannot."""
    builders: Mapping[str, Callable[[], Probabilities]] = {
        OURS: lambda: _predictor(model, fast=True),
        "ours block by block": lambda: _predictor(model, fast=False),
        "whole video, transformers": lambda: _transformers(model),
    }
    # ConfigError: the library has no such model
    return build_candidates(builders, only, unavailable=(DependencyError, ConfigError))


def _predictor(model: TimeSformer, *, fast: bool) -> Probabilities:
    predictor = Predictor(model, device="cpu", fast=fast)

    def probabilities(path: Path) -> Float[Tensor, " k"]:
        prediction = predictor(path, top_k=model.config.num_classes)
        by_class = dict(zip(prediction.indices, prediction.probabilities, strict=True))
        return torch.tensor([by_class[index] for index in range(len(by_class))])

    return probabilities


def _transformers(model: TimeSformer) -> Probabilities:
    logits = baselines.transformers_logits(baselines.transformers_module(model))
    clip, config = model.info.clip, model.config

    @torch.inference_mode()
    def probabilities(path: Path) -> Float[Tensor, " k"]:
        clips = sampling.eval_clips(probe(path), clip, num_frames=config.num_frames)
        frames = [read_whole_video(path, indices) for indices in clips]
        views = [transforms.eval_views(each, clip, image_size=config.image_size) for each in frames]
        return fuse(logits(transforms.to_floats(torch.cat(views), clip)), clip.fusion)

    return probabilities
