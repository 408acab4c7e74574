"""`timesformer bench predict`: from a video file to the probabilities of its classes, decoding included."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from timesformer.bench import baselines
from timesformer.bench.candidates import build_ways
from timesformer.bench.result import Bench
from timesformer.bench.scenes import Scene, write_scene
from timesformer.bench.timing import OnRound, Way, interleave
from timesformer.bench.video_readers import Read, readers
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
_GOP = 250
_READER = "whole video"

Probabilities = Callable[[Path], Float[Tensor, " k"]]


def run(
    *,
    preset: str,
    rounds: int,
    only: Sequence[str] = (),
    on_round: OnRound = lambda done, total: None,
    scene: Scene | None = None,
) -> Bench:
    """Time all of a prediction: the file is opened, its views are decoded and cut, and the model answers.

    Args:
        preset: The model, with random weights, and its views.
        rounds: Rounds that count.
        only: Ways to run beside ours; all of them by default.
        on_round: Hears of every run.
        scene: The video that is drawn; 10 s of 720p by default.

    Raises:
        ConfigError: There is no such preset or way, or `rounds` is less than 1.
    """
    scene = scene or Scene()
    info = ModelInfo(clip=clip_preset(preset))
    model = baselines.random_weights(TimeSformer(model_preset(preset), info=info))
    ways, absent = _build(model, only)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scene.mp4"
        write_scene(scene, {_GOP: path})
        expected = ways[OURS](path)
        agreement = {name: float((way(path) - expected).abs().max()) for name, way in ways.items() if name != OURS}
        timed: dict[str, Way] = {name: lambda way=way: way(path) for name, way in ways.items()}
        timings = interleave(timed, rounds=rounds, on_round=on_round)
    views = info.clip.num_clips * info.clip.num_crops
    return Bench(
        name="predict",
        title=f"A video of {scene.num_frames} frames of {scene.height}p through {preset}, {views} views",
        setting={
            "preset": preset,
            "views": views,
            "scene": asdict(scene),
            "gop": _GOP,
            "threads": torch.get_num_threads(),
        },
        timings=timings,
        ours=OURS,
        agreement=agreement,
        absent=absent,
        notes=(
            "whole video, transformers: every frame is decoded as in the released code, the same views are cut",
            "differs by: largest difference of a probability",
        ),
    )


def _build(model: TimeSformer, only: Sequence[str]) -> tuple[dict[str, Probabilities], dict[str, str]]:
    """The ways that can run here, and why the others cannot."""
    present, _ = readers((_READER,))
    builders: Mapping[str, Callable[[], Probabilities]] = {
        OURS: lambda: _predictor(model, fast=True),
        "ours block by block": lambda: _predictor(model, fast=False),
        "whole video, transformers": lambda: _transformers(model, present[_READER]),
    }
    return build_ways(builders, only, unavailable=(DependencyError, ConfigError))  # or has no such model


def _predictor(model: TimeSformer, *, fast: bool) -> Probabilities:
    predictor = Predictor(model, device="cpu", fast=fast)

    def probabilities(path: Path) -> Float[Tensor, " k"]:
        prediction = predictor(path, top_k=model.config.num_classes)
        by_class = dict(zip(prediction.indices, prediction.probabilities, strict=True))
        return torch.tensor([by_class[index] for index in range(len(by_class))])

    return probabilities


def _transformers(model: TimeSformer, read: Read) -> Probabilities:
    logits = baselines.transformers_logits(baselines.transformers_module(model))
    clip, config = model.info.clip, model.config

    @torch.inference_mode()
    def probabilities(path: Path) -> Float[Tensor, " k"]:
        chosen = sampling.eval_clips(probe(path), clip, num_frames=config.num_frames)
        views = [transforms.eval_views(read(path, frames), clip, image_size=config.image_size) for frames in chosen]
        return fuse(logits(transforms.to_floats(torch.cat(views), clip)), clip.fusion)

    return probabilities
