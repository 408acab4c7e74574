"""Evaluation of a model on labeled videos."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack

from timesformer.config.compute import ComputeOptions
from timesformer.data.clips.worker_errors import naming_dead_workers
from timesformer.data.manifest.background import BACKGROUND, with_background
from timesformer.data.manifest.manifest import Manifest
from timesformer.data.manifest.model_classes import match_classes, read_manifest
from timesformer.errors import ConfigError, DataError
from timesformer.evaluation.partition import plan_batches
from timesformer.evaluation.predictions import Outcome, predict_batches
from timesformer.evaluation.protocol import describe_protocol
from timesformer.evaluation.result import Evaluation
from timesformer.evaluation.summary import summarize
from timesformer.inference.onnx_model import Classifier, opened
from timesformer.inference.options import ComputeKeywords, merge_options, precision_of
from timesformer.inference.throughput import Meter

OnProgress = Callable[[int, int], None]

_BACKGROUND_SEED = 0
"""Fixed, so that all models are evaluated on the same background; also the default seed of a run."""


def evaluate(
    model: Classifier | str | Path,
    videos: Manifest | str | Path,
    *,
    options: ComputeOptions | None = None,
    on_progress: OnProgress = lambda done, total: None,
    top_k: Sequence[int] = (1, 5),
    background: float = 0.0,
    meter: Meter | None = None,
    **keywords: Unpack[ComputeKeywords],
) -> Evaluation:
    """Evaluate a model on labeled videos, with the views that its `info.clip` defines.

    Args:
        model: A model, of which only the device changes, or anything that `Predictor` accepts.
        videos: A manifest, or anything that `load_manifest` reads; a folder with splits gives its validation split.
        options: Device, batch size, workers and handling of unreadable videos; see `ComputeOptions`.
        on_progress: Progress callback, called after each video with the number done and their total.
        top_k: Values of k for `Evaluation.top_k`, each at least 1.
        background: Seconds of unlabeled time to evaluate per labeled second, as the class `background` of a model that
            was trained with `data.background`; 0 evaluates the labeled segments alone.
        meter: Counts the videos, and the time in which the model waits for them.
        **keywords: Fields of `ComputeOptions` instead of `options`, such as `num_workers=0`.

    Raises:
        DecodeError: A video cannot be decoded, and `on_error` is `raise`.
        DataError: The videos have classes that the model does not have, none of them can be decoded, or `background` is
            given and the model has no such class or the videos have no segments.
        ConfigError: An argument is out of its range or given both ways, a codec is unknown, or the device does not
            exist.
        WeightsError: The weights cannot be loaded.
    """
    options = merge_options(options, keywords)
    check_top_k(top_k)
    model, manifest = open_both(model, videos)
    manifest = add_background(manifest, model=model, ratio=background, options=options)
    batches = plan_batches(len(manifest.samples), clip=model.info.clip, batch_size=options.batch_size)
    meter = meter or Meter()
    outcomes = run_batches(model, manifest, batches, options=options, on_progress=on_progress, meter=meter)
    meter.stop()
    protocol = describe_protocol(model.config, model.info.clip, precision=precision_of(options, model))
    return summarize(manifest, outcomes, protocol=protocol, top_k=top_k)


def check_top_k(top_k: Sequence[int]) -> None:
    """Check the values of k.

    Raises:
        ConfigError: `top_k` is empty or has a value below 1.
    """
    if not top_k or min(top_k) < 1:
        raise ConfigError(f"top_k={tuple(top_k)} must hold whole numbers of at least 1, such as (1, 5)")


def open_both(model: Classifier | str | Path, videos: Manifest | str | Path) -> tuple[Classifier, Manifest]:
    """Open a model and a manifest, and match the classes of the manifest to the model's.

    Raises:
        WeightsError: The weights cannot be loaded.
        DataError: The manifest cannot be read, or has classes that the model does not have.
    """
    model = opened(model, {})
    manifest = videos if isinstance(videos, Manifest) else read_manifest(videos, labels=model.info.labels)
    return model, match_classes(manifest, labels=model.info.labels, num_classes=model.config.num_classes)


def add_background(manifest: Manifest, *, model: Classifier, ratio: float, options: ComputeOptions) -> Manifest:
    """The manifest with segments of background; unchanged if `ratio` is 0.

    Args:
        manifest: The labeled segments, with the classes of the model.
        model: The model; `background` must be one of its classes.
        ratio: Seconds of background per labeled second.
        options: Codecs, and handling of unreadable videos.

    Raises:
        DataError, DecodeError, ConfigError: As `timesformer.data.manifest.background.with_background`, or the model has
            no such class.
    """
    if ratio == 0:
        return manifest
    if BACKGROUND not in model.info.labels:
        raise DataError(
            f"background={ratio:g} needs a model with the class {BACKGROUND!r}: train one with data.background"
        )
    return with_background(
        manifest,
        ratio=ratio,
        seed=_BACKGROUND_SEED,
        allow_codecs=options.allow_codecs,
        skips_unreadable=options.on_error == "skip",
    )


def run_batches(
    model: Classifier,
    manifest: Manifest,
    batches: Sequence[range],
    *,
    options: ComputeOptions,
    on_progress: OnProgress = lambda done, total: None,
    on_batch: Callable[[int, list[Outcome]], None] = lambda number, outcomes: None,
    meter: Meter | None = None,
) -> list[Outcome]:
    """Predict batches; the model keeps its train or eval mode.

    Args:
        model: The model.
        manifest: The videos.
        batches: Indices of the videos of each batch.
        options: Device, batch size, workers, precision and `on_error`.
        on_progress: Progress callback, called after each video with the number done and the manifest's total.
        on_batch: Called after each batch with its number, from 0, and its outcomes.
        meter: As in `evaluate`.

    Raises:
        TimeSformerError: As `predict_batches`.
    """
    was_training = model.training
    outcomes: list[Outcome] = []
    try:
        with naming_dead_workers("num_workers (--num-workers)"):
            predicted = predict_batches(model, manifest, batches, options=options, meter=meter or Meter())
            for number, batch in enumerate(predicted):
                on_batch(number, batch)
                for outcome in batch:
                    outcomes.append(outcome)
                    on_progress(len(outcomes), len(manifest.samples))
    finally:
        model.train(was_training)
    return outcomes
