"""One pass over the videos of a manifest: every view of every video once, and what came out of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack

from timesformer.config.compute import ComputeOptions
from timesformer.data.manifest.manifest import Manifest
from timesformer.data.manifest.model_classes import match_classes, read_manifest
from timesformer.errors import ConfigError
from timesformer.evaluation.partition import plan_batches
from timesformer.evaluation.predictions import Outcome, predict_batches
from timesformer.evaluation.protocol import describe_protocol
from timesformer.evaluation.result import Evaluation
from timesformer.evaluation.summary import summarize
from timesformer.inference.onnx_model import Classifier, open_model
from timesformer.inference.options import ComputeKeywords, merge_options

OnProgress = Callable[[int, int], None]


def evaluate(
    model: Classifier | str | Path,
    videos: Manifest | str | Path,
    *,
    options: ComputeOptions | None = None,
    on_progress: OnProgress = lambda done, total: None,
    top_k: Sequence[int] = (1, 5),
    **keywords: Unpack[ComputeKeywords],
) -> Evaluation:
    """Measure a model on videos with known classes, by the views that its `info.clip` asks for.

    Args:
        model: A model, which stays as it is except for its device, or anything that `Predictor` takes.
        videos: A manifest, or what `load_manifest` reads; of a folder that holds splits, validation is taken.
        options: Device, batch size, workers and what an unreadable video does; see `ComputeOptions`.
        on_progress: Called after each video with the number done and their total.
        top_k: The k of `Evaluation.top_k`, 1 or more each.
        **keywords: Fields of `ComputeOptions` instead of `options`, such as `num_workers=0`.

    Raises:
        DecodeError: A video cannot be decoded, and `on_error` is `raise`.
        DataError: The videos have classes that the model does not know, or none of them can be decoded.
        ConfigError: An argument is out of its range or given both ways, a codec is unknown, or the device does not
            exist.
        WeightsError: The weights cannot be loaded.
    """
    options = merge_options(options, keywords)
    check_top_k(top_k)
    model, manifest = open_both(model, videos)
    batches = plan_batches(len(manifest.samples), clip=model.info.clip, batch_size=options.batch_size)
    outcomes = run_batches(model, manifest, batches, options=options, on_progress=on_progress)
    protocol = describe_protocol(model.config, model.info.clip)
    return summarize(manifest, outcomes, protocol=protocol, top_k=top_k)


def check_top_k(top_k: Sequence[int]) -> None:
    """Refuse what no accuracy has.

    Raises:
        ConfigError: There is none, or one is less than 1.
    """
    if not top_k or min(top_k) < 1:
        raise ConfigError(f"top_k={tuple(top_k)} must hold whole numbers from 1")


def open_both(model: Classifier | str | Path, videos: Manifest | str | Path) -> tuple[Classifier, Manifest]:
    """Read a model and videos, whose classes become the model's.

    Raises:
        WeightsError: The weights cannot be loaded.
        DataError: The videos cannot be used, or have classes that the model does not know.
    """
    model = model if isinstance(model, Classifier) else open_model(model)
    manifest = videos if isinstance(videos, Manifest) else read_manifest(videos, labels=model.info.labels)
    return model, match_classes(manifest, labels=model.info.labels, num_classes=model.config.num_classes)


def run_batches(
    model: Classifier,
    manifest: Manifest,
    batches: Sequence[range],
    *,
    options: ComputeOptions,
    on_progress: OnProgress = lambda done, total: None,
    on_batch: Callable[[int, list[Outcome]], None] = lambda number, outcomes: None,
) -> list[Outcome]:
    """Predict batches, and leave the model in the mode in which it came.

    Args:
        model: The model.
        manifest: The videos.
        batches: Places of the videos in the manifest.
        options: Device, batch size, workers, errors.
        on_progress: Called after each video with the number done and the manifest's total.
        on_batch: Called after each batch with its number, from 0, and what came out of it.

    Raises:
        TimeSformerError: What `predict_batches` raises.
    """
    was_training = model.training
    outcomes: list[Outcome] = []
    try:
        for number, batch in enumerate(predict_batches(model, manifest, batches, options=options)):
            on_batch(number, batch)
            for outcome in batch:
                outcomes.append(outcome)
                on_progress(len(outcomes), len(manifest.samples))
    finally:
        model.train(was_training)
    return outcomes
