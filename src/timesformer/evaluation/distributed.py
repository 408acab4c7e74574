"""One evaluation by several processes: each predicts some of the batches, and rank 0 has the result."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from timesformer.config.compute import ComputeOptions
from timesformer.data.manifest.manifest import Manifest
from timesformer.errors import DataError
from timesformer.evaluation.evaluate import OnProgress, add_background, check_top_k, evaluate, open_both, run_batches
from timesformer.evaluation.partition import merge, partition, plan_batches
from timesformer.evaluation.predictions import Outcome
from timesformer.evaluation.process_group import (
    ProcessGroup,
    from_text,
    local_device,
    raise_failure,
    receive,
    send,
    to_text,
)
from timesformer.evaluation.protocol import describe_protocol
from timesformer.evaluation.result import Evaluation
from timesformer.evaluation.summary import summarize
from timesformer.inference.onnx_model import Classifier
from timesformer.inference.options import precision_of
from timesformer.inference.throughput import Meter

_TASK = "task"


def evaluate_distributed(
    model: Classifier | str | Path,
    videos: Manifest | str | Path,
    *,
    group: ProcessGroup | None,
    options: ComputeOptions,
    on_progress: OnProgress = lambda done, total: None,
    top_k: Sequence[int] = (1, 5),
    background: float = 0.0,
    meter: Meter | None = None,
) -> Evaluation | None:
    """Evaluate a model in a group of processes, each of which calls this once with equal arguments.

    On equal machines with the same number of threads, the result equals that of `evaluate` to the last bit.

    Args:
        model, videos, top_k, background: As in `evaluate`.
        group: The process group; None for a single process.
        options: As in `evaluate`; `auto` and `cuda` give each process of a machine its own GPU.
        on_progress: Progress callback, called in rank 0 after each video with the number done and their total.
        meter: Counts the videos of rank 0, and the time in which its model waits for them.

    Returns:
        The result in rank 0, None in the others.

    Raises:
        TimeSformerError: As `evaluate`; or another process failed, timed out or has other videos, views or options.
    """
    if group is None:
        return evaluate(
            model, videos, options=options, on_progress=on_progress, top_k=top_k, background=background, meter=meter
        )
    check_top_k(top_k)
    model, manifest = open_both(model, videos)
    manifest = add_background(manifest, model=model, ratio=background, options=options)
    options = replace(options, device=local_device(options.device, group.process))
    if group.process.rank > 0:
        _send_outcomes(group, model, manifest, options=options)
        return None
    meter = meter or Meter()
    outcomes = _all_outcomes(group, model, manifest, options=options, on_progress=on_progress, meter=meter)
    meter.stop()
    protocol = describe_protocol(model.config, model.info.clip, precision=precision_of(options, model))
    return summarize(manifest, outcomes, protocol=protocol, top_k=top_k)


def _send_outcomes(group: ProcessGroup, model: Classifier, manifest: Manifest, *, options: ComputeOptions) -> None:
    """Predict the batches of this process and send them to rank 0."""
    send(group, _TASK, _fingerprint(model, manifest, options))
    run_batches(
        model,
        manifest,
        _batches(model, manifest, options, rank=group.process.rank, num_processes=group.process.num_processes),
        options=options,
        on_batch=lambda number, outcomes: send(group, str(number), to_text(outcomes)),
    )


def _all_outcomes(
    group: ProcessGroup,
    model: Classifier,
    manifest: Manifest,
    *,
    options: ComputeOptions,
    on_progress: OnProgress,
    meter: Meter,
) -> list[Outcome]:
    """Predict the batches of rank 0, then receive all others."""
    outcomes = run_batches(
        model,
        manifest,
        _batches(model, manifest, options, rank=0, num_processes=group.process.num_processes),
        options=options,
        on_progress=on_progress,
        on_batch=lambda number, outcomes: raise_failure(group),
        meter=meter,
    )
    for outcome in _receive_outcomes(group, model, manifest, options=options):
        outcomes.append(outcome)
        on_progress(len(outcomes), len(manifest.samples))
    return merge(outcomes, num_videos=len(manifest.samples))


def _receive_outcomes(
    group: ProcessGroup, model: Classifier, manifest: Manifest, *, options: ComputeOptions
) -> Iterator[Outcome]:
    """Outcomes of the other processes, rank by rank."""
    fingerprint, num_processes = _fingerprint(model, manifest, options), group.process.num_processes
    for rank in range(1, num_processes):
        if receive(group, _TASK, rank=rank) != fingerprint:
            raise DataError(f"rank {rank} has other videos, views or options than rank 0: start all ranks alike")
        for number in range(len(_batches(model, manifest, options, rank=rank, num_processes=num_processes))):
            yield from from_text(receive(group, str(number), rank=rank))


def _batches(
    model: Classifier, manifest: Manifest, options: ComputeOptions, *, rank: int, num_processes: int
) -> list[range]:
    batches = plan_batches(len(manifest.samples), clip=model.info.clip, batch_size=options.batch_size)
    return partition(batches, rank=rank, num_processes=num_processes)


def _fingerprint(model: Classifier, manifest: Manifest, options: ComputeOptions) -> str:
    """Hash of all that must be equal in all processes; folder names may differ between machines."""
    samples = [(sample.path.name, sample.label, sample.segment) for sample in manifest.samples]
    computing = options.batch_size, options.on_error, sorted(options.allow_codecs), precision_of(options, model)
    task = (samples, manifest.class_names, model.config, model.info.clip, *computing)
    return hashlib.sha256(repr(task).encode()).hexdigest()
