"""`fine_tune`: a probe of frozen features, then fine-tuning from its head; the better one is kept."""

import json
import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from timesformer.config.compute import ComputeOptions
from timesformer.config.io import to_dict
from timesformer.config.run import RunConfig
from timesformer.data.manifest.durations import median_seconds
from timesformer.data.manifest.inputs import video_files
from timesformer.data.manifest.manifest import Manifest
from timesformer.device import resolve_device
from timesformer.errors import ConfigError, DecodeError
from timesformer.evaluation.baselines import baselines_of, majority_class
from timesformer.evaluation.evaluate import evaluate
from timesformer.evaluation.protocol import describe_protocol
from timesformer.evaluation.result import Evaluation
from timesformer.evaluation.summary import summarize
from timesformer.fine_tuning.features import FeatureCache, Features, OnProgress, Setting, compute_features
from timesformer.fine_tuning.folder import ProbeFolder, clear_stages
from timesformer.fine_tuning.page import write_page
from timesformer.fine_tuning.probe import Probe, fit_probe, predict_outcomes
from timesformer.fine_tuning.result import Candidate, FineTuned, Until
from timesformer.fine_tuning.views import Views
from timesformer.heads.attach import attach
from timesformer.inference.predictor import Predictor
from timesformer.inference.weights_hash import weights_sha256
from timesformer.model.timesformer import TimeSformer
from timesformer.outputs import refuse_inputs
from timesformer.training.dataloaders import Split, load_data, with_num_classes
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

OnMessage = Callable[[str], None]
Progress = Callable[[str], AbstractContextManager[OnProgress]]
"""A progress bar with a description, which gives a function to call with the number done and the total."""

_TOP_K = (1, 5)


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

    The probe is a linear head on the features of `run.probe_views` random clips of each training video, whose penalty
    is chosen by cross-validation over groups. The fine-tuning is `train` with the rest of the run. Both are evaluated
    on the validation videos with all views; the more accurate one becomes `model/`, the probe if both are equally
    accurate.

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
    job = _Job(
        run, folder, cache, device, split, on_message, progress or (lambda text: nullcontext(lambda done, total: None))
    )
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


@dataclass(frozen=True, slots=True)
class _Job:
    """A run with everything known before its first step."""

    run: RunConfig
    folder: ProbeFolder
    cache: FeatureCache
    device: torch.device
    split: Split
    on_message: OnMessage | None
    progress: Progress

    @property
    def say(self) -> OnMessage:
        """Reports an event."""
        return self.on_message or logger.info

    @property
    def options(self) -> ComputeOptions:
        """How features and predictions are computed."""
        data = self.run.data
        return ComputeOptions(
            device=self.run.device,
            precision=self.run.precision,
            num_workers=data.num_workers,
            on_error=data.on_decode_error,
            allow_codecs=data.allow_codecs,
        )


def _run(job: _Job, *, until: Until, is_new: bool) -> FineTuned:
    model = initial_model(job.run, labels=job.split.train.class_names).eval()
    head = _replaced(describe_head(model, job.run))
    if is_new:
        clear_stages(job.folder)
        tidy(job.folder.run)
        clear(job.folder.run)
        write_config(job.folder.run, anchored(job.run), marks=marks_of(find_jobs(os.environ)))
    tidy(job.folder.run)
    job.say(_describe(job, head=head))
    probe, candidate = _probe(job, model)
    result = _result(job, probe, candidate, None, head=head)
    if until == "probe":
        return _finish(job, result)
    _keep(job, result)  # a model to use while the fine-tuning runs
    fine_tuned = _fine_tune(job)
    return _finish(job, _result(job, probe, candidate, fine_tuned, head=head))


def _replaced(head: str) -> str:
    """What becomes of the head of the weights, from `describe_head`."""
    return head if head.startswith("new") else f"new head in place of the {head}" if head else "new head"


def _describe(job: _Job, *, head: str) -> str:
    run, split = job.run, job.split
    groups = f"{len(split.val.groups)} of {split.num_groups} groups" if split.num_groups else NO_GROUPS
    return (
        f"probe: {run.probe_views} clips of each of {split.train.describe_size()} of {run.model.num_classes} classes, "
        f"{split.val.describe_size()} for validation ({groups}); frozen {run.init_from} in {run.precision} on "
        f"{job.device}; {head}"
    )


def _probe(job: _Job, model: TimeSformer) -> tuple[Probe, Candidate]:
    """Fit the probe, evaluate it, and write its model folder."""
    run, split = job.run, job.split
    predictor = Predictor(model, options=job.options.for_predictor())
    train, val = _features(job, model, predictor)
    pairs = zip(train, split.train.samples, strict=True)
    used = [(each, sample) for each, sample in pairs if isinstance(each, Features)]
    with job.progress("choosing the penalty") as on_fold:
        probe = fit_probe(
            [each for each, _ in used],
            [sample for _, sample in used],
            num_classes=run.model.num_classes,
            seed=run.seed,
            on_fold=on_fold,
        )
    job.say(f"probe: strength {probe.strength:.3g} chosen among {len(probe.scores)} by {probe.folds}")
    outcomes = predict_outcomes(probe.head, val, fusion=run.clip.fusion)
    protocol = describe_protocol(run.model, run.clip, precision=predictor.precision)
    evaluation = summarize(split.val, outcomes, protocol=protocol, top_k=_TOP_K)
    _save_probe(job, model, probe)
    seconds = sum(each.seconds for each in (*train, *val) if isinstance(each, Features)) + probe.seconds
    candidate = Candidate(way="probe", evaluation=evaluation, minutes=seconds / 60, model=job.folder.probe)
    job.say(_measured(candidate))
    return probe, candidate


def _features(
    job: _Job, model: TimeSformer, predictor: Predictor
) -> tuple[list[Features | DecodeError], list[Features | DecodeError]]:
    """Features of the training and of the validation videos."""
    run, split = job.run, job.split
    setting = Setting(_backbone_sha256(model), _backbone_config(run), predictor.precision)
    videos = [Views(run, sample, "training") for sample in split.train.samples]
    videos += [Views(run, sample, "validation") for sample in split.val.samples]

    def on_error(error: DecodeError) -> None:
        if run.data.on_decode_error == "raise":
            raise error
        logger.warning("skipped: %s", error)

    with job.progress("computing features") as on_progress:
        found = compute_features(
            predictor, videos, setting=setting, cache=job.cache, on_error=on_error, on_progress=on_progress
        )
    if job.cache.folder == job.folder.features:
        job.cache.prune(setting.key(each) for each in videos)
    return found[: len(split.train.samples)], found[len(split.train.samples) :]


def _backbone_sha256(model: TimeSformer) -> str:
    """Hash of all weights but the head."""
    copy = deepcopy(model)
    for parameter in copy.head.parameters():
        torch.nn.init.zeros_(parameter)
    return weights_sha256(copy)


def _backbone_config(run: RunConfig) -> dict[str, object]:
    """Fields of the model that features depend on besides its weights."""
    model = run.model
    return {"num_frames": model.num_frames, "image_size": model.image_size, "scheme": to_dict(model)["scheme"]}


def _save_probe(job: _Job, model: TimeSformer, probe: Probe) -> None:
    headed = deepcopy(model)
    attach(headed, probe.head, mean=probe.mean, variance=probe.variance)
    seconds = median_seconds(job.split.train.samples, allow_codecs=job.run.data.allow_codecs)
    source = f"linear probe of {job.run.init_from}"
    headed.info = replace(headed.info, clip_seconds=seconds, source=source)
    save(headed, job.folder.probe, overwrite=True)


def _fine_tune(job: _Job) -> Candidate:
    """Fine-tune from the head of the probe, and evaluate the result."""
    folder = job.folder.fine_tuning
    run = replace(job.run, probe_views=0, init_head=str(job.folder.probe), output=str(folder.root))
    train(run, resume=folder.config.exists(), on_message=job.on_message)
    with job.progress("evaluating") as on_progress:
        evaluation = _evaluate(job, folder.model, on_progress=on_progress)
    seconds = sum(record.seconds for record in read_metrics(folder.metrics))
    candidate = Candidate(way="fine-tuned", evaluation=evaluation, minutes=seconds / 60, model=folder.model)
    job.say(_measured(candidate))
    return candidate


def _evaluate(job: _Job, model: Path, *, on_progress: OnProgress) -> Evaluation:
    videos: Manifest = job.split.val
    return evaluate(load(model), videos, options=job.options, on_progress=on_progress, top_k=_TOP_K)


def _measured(candidate: Candidate) -> str:
    evaluation = candidate.evaluation
    return (
        f"{candidate.way}: {evaluation.top1:.1%} of {evaluation.num_videos} validation videos, 95 % interval "
        f"{evaluation.describe_interval()}; {candidate.minutes:.1f} minutes"
    )


def _result(job: _Job, probe: Probe, first: Candidate, second: Candidate | None, *, head: str) -> FineTuned:
    names = job.split.train.class_names
    most = majority_class([names[sample.label] for sample in job.split.train.samples], names)
    return FineTuned(
        folder=job.folder.root,
        model=job.folder.run.model,
        probe=first,
        fine_tuned=second,
        baselines=baselines_of(first.evaluation, majority_class=most),
        strength=probe.strength,
        scores=probe.scores,
        head=head,
    )


def _keep(job: _Job, result: FineTuned) -> None:
    """Copy the better model to `model/`."""
    save(load(result.kept.model), job.folder.run.model, overwrite=True)


def _finish(job: _Job, result: FineTuned) -> FineTuned:
    _keep(job, result)
    title = f"{Path(job.run.init_from).name} on {job.run.data.train}"
    write_page(result, job.folder, title=title, allow_codecs=job.run.data.allow_codecs)
    replace_text(job.folder.result, json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n")
    job.say(result.reason)
    return result
