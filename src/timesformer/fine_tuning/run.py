"""`fine_tune`: a probe of frozen features, then fine-tuning from its head; the better one is kept."""

import json
import logging
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from timesformer.config.run import RunConfig
from timesformer.data.manifest.inputs import video_files
from timesformer.data.manifest.manifest import Manifest
from timesformer.device import resolve_device
from timesformer.errors import ConfigError
from timesformer.evaluation.baselines import baselines_of, majority_class
from timesformer.evaluation.evaluate import evaluate
from timesformer.evaluation.result import Evaluation
from timesformer.fine_tuning.features import FeatureCache, OnProgress
from timesformer.fine_tuning.folder import ProbeFolder, clear_stages
from timesformer.fine_tuning.job import TOP_K, Job, OnMessage, Progress
from timesformer.fine_tuning.page import write_page
from timesformer.fine_tuning.probe_stage import Probed, describe, run_probe
from timesformer.fine_tuning.result import Candidate, FineTuned, Until
from timesformer.outputs import refuse_inputs
from timesformer.training.dataloaders import load_data, with_num_classes
from timesformer.training.history import read_metrics
from timesformer.training.init_weights import describe_head, initial_model
from timesformer.training.precision import check_precision, chosen_precision
from timesformer.training.restarts import continues, find_jobs, marks_of
from timesformer.training.run_folder import (
    alone_in,
    anchored,
    check_is_free,
    check_keeps_inputs,
    check_same_run,
    clear,
    replace_text,
    tidy,
    write_config,
)
from timesformer.training.train import NO_GROUPS, train
from timesformer.weights.load import load, model_files
from timesformer.weights.model_folder import save

logger = logging.getLogger(__name__)


def fine_tune(
    run: RunConfig,
    *,
    until: Until = "end",
    features: Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    on_message: OnMessage | None = None,
    progress: Progress | None = None,
) -> FineTuned:
    """Fit a probe to the features of the frozen weights, fine-tune the model from its head, and keep the better one.

    The probe is a linear head on the features of `run.probe_views` random clips of each training video. Its penalty,
    and its input among `run.probe_inputs`, are chosen by cross-validation over groups. The fine-tuning is `train` with
    that input and the rest of the run. Both are evaluated on the validation videos with all views; the more accurate
    one becomes `model/`, the probe if both are equally accurate.

    Features are computed once and kept in the folder, so that a run that is killed at any moment and resumed computes
    none of them again.

    Args:
        run: The config, with `probe_views` and `init_from`; `run.output` is the folder.
        until: `probe` stops after the probe, whose model is then the kept one; `resume` goes on from there.
        features: Folder of the features, which several runs may share; None for one in the folder of the run.
        overwrite: Replace a run in the folder; other files in it are kept, and features that are still valid.
        resume: Continue the run in the folder.
        on_message: Called with a line for each event; log messages by default.
        progress: Makes a progress bar; none by default.

    Returns:
        The models, their evaluations, and which one is kept.

    Raises:
        ConfigError: A value is invalid, or as `train`.
        DataError: The videos cannot be used.
        DecodeError: A video cannot be decoded, and `run.data.on_decode_error` is `raise`.
        WeightsError: `run.init_from` cannot be loaded, or a checkpoint is damaged.
        TimeSformerError: As `train`, or the model outputs nan or inf.
    """
    if not run.probe_views:
        raise ConfigError("probe_views=0 fits no probe: set it to the number of clips of each video, or call train")
    if resume and overwrite:
        raise ConfigError("resume and overwrite exclude each other: pass one of them")
    folder = ProbeFolder(Path(run.output).expanduser())
    if continues(find_jobs(os.environ), folder.run):  # the launcher has started this process again
        resume, overwrite = True, False
    if not (resume or overwrite):
        check_is_free(folder.run)
    if until == "probe" and resume and folder.fine_tuning.config.exists():
        raise ConfigError(
            f"output={str(folder.root)!r}: the run has gone on after its probe; resume it without until='probe' "
            "(--until probe)"
        )
    device = resolve_device(run.device)
    run = replace(run, precision=chosen_precision(run, device, resumed=folder.run.config if resume else None))
    check_precision(run, device)
    split = load_data(run.data, seed=run.seed)
    run = with_num_classes(run, split)
    if resume:
        check_same_run(folder.run, run)
    cache = FeatureCache(features or folder.features)
    job = Job(run, folder, cache, device, split, on_message, progress or _no_progress)
    check_keeps_inputs(folder.run, run)
    refuse_inputs(folder.files, (*video_files(*split), *model_files(run.init_from)))
    with alone_in(folder.run):
        return _run(job, until=until, is_new=not resume)


def _no_progress(description: str) -> AbstractContextManager[OnProgress]:
    """No progress bar."""
    return nullcontext(lambda done, total: None)


def continue_fine_tuning(run: RunConfig, *, until: Until = "end", features: Path | None = None) -> Path:
    """`fine_tune`, or its resumption if the folder holds the run; gives the folder.

    Raises:
        TimeSformerError: As `fine_tune`.
    """
    folder = ProbeFolder(Path(run.output).expanduser())
    return fine_tune(run, until=until, features=features, resume=folder.run.config.exists()).folder


def _run(job: Job, *, until: Until, is_new: bool) -> FineTuned:
    model = initial_model(job.run, labels=job.split.train.class_names).eval()
    head = _replaced(describe_head(model, job.run))
    if is_new:
        clear_stages(job.folder)
        tidy(job.folder.run)
        clear(job.folder.run)
        write_config(job.folder.run, anchored(job.run), marks=marks_of(find_jobs(os.environ)))
    tidy(job.folder.run)
    job.say(_describe(job, head=head))
    probed = run_probe(job, model)
    result = _result(job, probed, None, head=head)
    if until == "probe":
        return _finish(job, result)
    _keep(job, result)  # a model to use while the fine-tuning runs
    fine_tuned = _fine_tune(job, probed.run)
    return _finish(job, _result(job, probed, fine_tuned, head=head))


def _replaced(head: str) -> str:
    """What becomes of the head of the weights, from `describe_head`."""
    return head if head.startswith("new") else f"new head in place of the {head}" if head else "new head"


def _describe(job: Job, *, head: str) -> str:
    run, split = job.run, job.split
    groups = f"{len(split.val.groups)} of {split.num_groups} groups" if split.num_groups else NO_GROUPS
    return (
        f"probe: {run.probe_views} clips of each of {split.train.describe_size()} of {run.model.num_classes} classes, "
        f"{split.val.describe_size()} for validation ({groups}); frozen {run.init_from} in {run.precision} on "
        f"{job.device}; {head}"
    )


def _fine_tune(job: Job, run: RunConfig) -> Candidate:
    """Fine-tune from the head of the probe, and evaluate the result."""
    folder = job.folder.fine_tuning
    run = replace(run, probe_views=0, probe_inputs=("given",), init_head=str(job.folder.probe), output=str(folder.root))
    train(run, resume=folder.config.exists(), on_message=job.on_message)
    with job.progress("evaluating") as on_progress:
        evaluation = _evaluate(job, folder.model, on_progress=on_progress)
    seconds = sum(record.seconds for record in read_metrics(folder.metrics))
    candidate = Candidate(way="fine-tuned", evaluation=evaluation, minutes=seconds / 60, model=folder.model)
    job.say(describe(candidate))
    return candidate


def _evaluate(job: Job, model: Path, *, on_progress: OnProgress) -> Evaluation:
    videos: Manifest = job.split.val
    return evaluate(load(model), videos, options=job.options, on_progress=on_progress, top_k=TOP_K)


def _result(job: Job, probed: Probed, second: Candidate | None, *, head: str) -> FineTuned:
    names = job.split.train.class_names
    most = majority_class([names[sample.label] for sample in job.split.train.samples], names)
    return FineTuned(
        folder=job.folder.root,
        model=job.folder.run.model,
        probe=probed.candidate,
        fine_tuned=second,
        baselines=baselines_of(probed.candidate.evaluation, majority_class=most),
        input=probed.input,
        inputs=probed.inputs,
        strength=probed.probe.strength,
        scores=probed.probe.scores,
        head=head,
    )


def _keep(job: Job, result: FineTuned) -> None:
    """Copy the better model to `model/`."""
    save(load(result.kept.model), job.folder.run.model, overwrite=True)


def _finish(job: Job, result: FineTuned) -> FineTuned:
    _keep(job, result)
    title = f"{Path(job.run.init_from).name} on {job.run.data.train}"
    write_page(result, job.folder, title=title, allow_codecs=job.run.data.allow_codecs)
    replace_text(job.folder.result, json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n")
    job.say(result.reason)
    return result
