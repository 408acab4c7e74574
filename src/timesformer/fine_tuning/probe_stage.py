"""The first stage of a run with a probe: a probe for each input, the choice among them, its evaluation and model
folder."""

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import torch

from timesformer.config.io import to_dict
from timesformer.config.run import ProbeInput, RunConfig
from timesformer.config.schema import ClipConfig, Precision
from timesformer.data.manifest.durations import median_seconds
from timesformer.errors import DecodeError
from timesformer.evaluation.protocol import describe_protocol
from timesformer.evaluation.summary import summarize
from timesformer.fine_tuning.features import Features, Setting, compute_features
from timesformer.fine_tuning.inputs import input_clips
from timesformer.fine_tuning.job import TOP_K, Job
from timesformer.fine_tuning.probe import Probe, fit_probe, predict_outcomes
from timesformer.fine_tuning.result import Candidate, InputScore
from timesformer.fine_tuning.views import Views
from timesformer.heads.attach import attach
from timesformer.inference.predictor import Predictor
from timesformer.inference.weights_hash import weights_sha256
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.model_folder import save

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Tried:
    """The probe of an input."""

    run: RunConfig
    """With the clip settings of the input."""
    precision: Precision
    probe: Probe
    val: tuple[Features | DecodeError, ...]
    keys: tuple[str, ...]
    """Of the features in the cache."""
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Probed:
    """The probe of the best input."""

    run: RunConfig
    """The run that goes on from it, with the clip settings of that input."""
    probe: Probe
    candidate: Candidate
    input: ProbeInput
    inputs: tuple[InputScore, ...]


def run_probe(job: Job, model: TimeSformer) -> Probed:
    """Fit the probe of each input, and keep that with the lowest negative log-likelihood in cross-validation."""
    tried: dict[ProbeInput, _Tried] = {}
    sha256 = _backbone_sha256(model)
    for name, clip in input_clips(job.run.clip, job.run.probe_inputs).items():
        tried[name] = _try_input(job, model, name, clip, sha256=sha256)
    if job.cache.folder == job.folder.features:
        job.cache.prune(key for each in tried.values() for key in each.keys)
    name = min(tried, key=lambda name: tried[name].probe.nll)
    best, probe = tried[name], tried[name].probe
    if len(tried) > 1:
        job.say(f"probe: input {name} of {', '.join(tried)}")
    run = best.run
    protocol = describe_protocol(run.model, run.clip, precision=best.precision)
    outcomes = predict_outcomes(probe.head, best.val, fusion=run.clip.fusion)
    evaluation = summarize(job.split.val, outcomes, protocol=protocol, top_k=TOP_K)
    _save_probe(job, model, probe, clip=run.clip)
    seconds = sum(each.seconds for each in tried.values())
    candidate = Candidate(way="probe", evaluation=evaluation, minutes=seconds / 60, model=job.folder.probe)
    job.say(describe(candidate))
    scores = [InputScore(name=name, nll=each.probe.nll, accuracy=each.probe.accuracy) for name, each in tried.items()]
    return Probed(run, probe, candidate, name, tuple(scores))


def _try_input(job: Job, model: TimeSformer, name: ProbeInput, clip: ClipConfig, *, sha256: str) -> _Tried:
    """Fit the probe of an input."""
    run, split = replace(job.run, clip=clip), job.split
    model.info = replace(model.info, clip=clip)
    predictor = Predictor(model, options=job.options.for_predictor())
    setting = Setting(sha256, _backbone_config(run), predictor.precision)
    videos = [Views(run, sample, "training") for sample in split.train.samples]
    videos += [Views(run, sample, "validation") for sample in split.val.samples]
    found = _features(job, predictor, videos, setting)
    train, val = found[: len(split.train.samples)], found[len(split.train.samples) :]
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
    job.say(
        f"probe of {name}: {probe.accuracy:.1%} in cross-validation, strength {probe.strength:.3g} chosen among "
        f"{len(probe.scores)} by {probe.folds}"
    )
    seconds = sum(each.seconds for each in found if isinstance(each, Features)) + probe.seconds
    keys = tuple(setting.key(each) for each in videos)
    return _Tried(run, predictor.precision, probe, tuple(val), keys, seconds)


def _features(
    job: Job, predictor: Predictor, videos: Sequence[Views], setting: Setting
) -> list[Features | DecodeError]:
    """Features of videos, or the error of each that cannot be decoded and is skipped."""

    def on_error(error: DecodeError) -> None:
        if job.run.data.on_decode_error == "raise":
            raise error
        logger.warning("skipped: %s", error)

    with job.progress("computing features") as on_progress:
        return compute_features(
            predictor, videos, setting=setting, cache=job.cache, on_error=on_error, on_progress=on_progress
        )


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


def _save_probe(job: Job, model: TimeSformer, probe: Probe, *, clip: ClipConfig) -> None:
    headed = deepcopy(model)
    attach(headed, probe.head, mean=probe.mean, variance=probe.variance)
    seconds = median_seconds(job.split.train.samples, allow_codecs=job.run.data.allow_codecs)
    source = f"linear probe of {job.run.init_from}"
    headed.info = replace(headed.info, clip=clip, clip_seconds=seconds, source=source)
    save(headed, job.folder.probe, overwrite=True)


def describe(candidate: Candidate) -> str:
    """Accuracy and time of a model, in a line."""
    evaluation = candidate.evaluation
    return (
        f"{candidate.way}: {evaluation.top1:.1%} of {evaluation.num_videos} validation videos, 95 % interval "
        f"{evaluation.describe_interval()}; {candidate.minutes:.1f} minutes"
    )
