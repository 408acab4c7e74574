"""The first stage of a run with a probe: features of the frozen model, a head, its evaluation and model folder."""

import logging
from copy import deepcopy
from dataclasses import replace

import torch

from timesformer.config.io import to_dict
from timesformer.config.run import RunConfig
from timesformer.data.manifest.durations import median_seconds
from timesformer.errors import DecodeError
from timesformer.evaluation.protocol import describe_protocol
from timesformer.evaluation.summary import summarize
from timesformer.fine_tuning.features import Features, Setting, compute_features
from timesformer.fine_tuning.job import TOP_K, Job
from timesformer.fine_tuning.probe import Probe, fit_probe, predict_outcomes
from timesformer.fine_tuning.result import Candidate
from timesformer.fine_tuning.views import Views
from timesformer.heads.attach import attach
from timesformer.inference.predictor import Predictor
from timesformer.inference.weights_hash import weights_sha256
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.model_folder import save

logger = logging.getLogger(__name__)


def run_probe(job: Job, model: TimeSformer) -> tuple[Probe, Candidate]:
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
    evaluation = summarize(split.val, outcomes, protocol=protocol, top_k=TOP_K)
    _save_probe(job, model, probe)
    seconds = sum(each.seconds for each in (*train, *val) if isinstance(each, Features)) + probe.seconds
    candidate = Candidate(way="probe", evaluation=evaluation, minutes=seconds / 60, model=job.folder.probe)
    job.say(describe(candidate))
    return probe, candidate


def _features(
    job: Job, model: TimeSformer, predictor: Predictor
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


def _save_probe(job: Job, model: TimeSformer, probe: Probe) -> None:
    headed = deepcopy(model)
    attach(headed, probe.head, mean=probe.mean, variance=probe.variance)
    seconds = median_seconds(job.split.train.samples, allow_codecs=job.run.data.allow_codecs)
    source = f"linear probe of {job.run.init_from}"
    headed.info = replace(headed.info, clip_seconds=seconds, source=source)
    save(headed, job.folder.probe, overwrite=True)


def describe(candidate: Candidate) -> str:
    """What was measured, in a line."""
    evaluation = candidate.evaluation
    return (
        f"{candidate.way}: {evaluation.top1:.1%} of {evaluation.num_videos} validation videos, 95 % interval "
        f"{evaluation.describe_interval()}; {candidate.minutes:.1f} minutes"
    )
