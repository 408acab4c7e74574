"""One evaluation by several processes: each answers some batches, and process 0 has the result."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from timesformer.config.compute import ComputeOptions
from timesformer.data.manifest.manifest import Manifest
from timesformer.errors import DataError
from timesformer.evaluation.evaluate import OnProgress, check_top_k, evaluate, open_both, run_batches
from timesformer.evaluation.partition import deal, merge, plan_batches
from timesformer.evaluation.predictions import Outcome
from timesformer.evaluation.process_group import (
    ProcessGroup,
    from_text,
    local_device,
    receive,
    refuse_failure,
    send,
    to_text,
)
from timesformer.evaluation.protocol import describe_protocol
from timesformer.evaluation.result import Evaluation
from timesformer.evaluation.summary import summarize
from timesformer.inference.onnx_model import Classifier

_TASK = "task"


def evaluate_shared(
    model: Classifier | str | Path,
    videos: Manifest | str | Path,
    *,
    team: ProcessGroup | None,
    options: ComputeOptions,
    on_progress: OnProgress = lambda done, total: None,
    top_k: Sequence[int] = (1, 5),
) -> Evaluation | None:
    """Measure a model together with other processes, each of which calls this once with equal arguments.

    Every video is answered by one process, in the batch in which a single process would answer it: on equal machines
    with equally many threads the result is that of `evaluate`, to the last bit.

    Args:
        model: As in `evaluate`.
        videos: As in `evaluate`.
        team: This process and its way to the others; None where it is alone.
        options: Device (`auto` and `cuda` give each process of a machine its own GPU), batch size, workers, errors.
        on_progress: Called with the number of videos that this process has or knows to be done, and the total of all.
        top_k: As in `evaluate`.

    Returns:
        The result in process 0, None in the others.

    Raises:
        TimeSformerError: What `evaluate` raises; or another process failed, vanished or sees other videos.
    """
    if team is None:
        return evaluate(model, videos, options=options, on_progress=on_progress, top_k=top_k)
    check_top_k(top_k)
    place = team.place
    model, manifest = open_both(model, videos)
    options = replace(options, device=local_device(options.device, place))
    batches = plan_batches(len(manifest.samples), clip=model.info.clip, batch_size=options.batch_size)
    own = deal(batches, rank=place.rank, num_processes=place.num_processes)
    fingerprint = _fingerprint(model, manifest, options)
    if place.rank > 0:
        send(team, _TASK, fingerprint)
        run_batches(
            model,
            manifest,
            own,
            options=options,
            on_batch=lambda number, outcomes: send(team, str(number), to_text(outcomes)),
        )
        return None
    outcomes = run_batches(
        model, manifest, own, options=options, on_progress=on_progress, on_batch=lambda *_: refuse_failure(team)
    )
    for outcome in _collect(team, batches, fingerprint=fingerprint):
        outcomes.append(outcome)
        on_progress(len(outcomes), len(manifest.samples))
    protocol = describe_protocol(model.config, model.info.clip)
    merged = merge(outcomes, num_videos=len(manifest.samples))
    return summarize(manifest, merged, protocol=protocol, top_k=top_k)


def _collect(team: ProcessGroup, batches: Sequence[range], *, fingerprint: str) -> Iterator[Outcome]:
    """What the other processes found."""
    num_processes = team.place.num_processes
    for rank in range(1, num_processes):
        if receive(team, _TASK, rank=rank) != fingerprint:
            raise DataError(f"process {rank} has other videos, views or options than process 0: start all alike")
        for number in range(len(deal(batches, rank=rank, num_processes=num_processes))):
            yield from from_text(receive(team, str(number), rank=rank))


def _fingerprint(model: Classifier, manifest: Manifest, options: ComputeOptions) -> str:
    """What must be equal in all processes; folders may have other names on other machines."""
    samples = [(sample.path.name, sample.label) for sample in manifest.samples]
    how = options.batch_size, options.on_error, sorted(options.allow_codecs)
    task = (samples, manifest.class_names, model.config, model.info.clip, *how)
    return hashlib.sha256(repr(task).encode()).hexdigest()
