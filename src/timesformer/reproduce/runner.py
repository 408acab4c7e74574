"""Execution of an experiment: each training runs once, then each variant is evaluated."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from timesformer.config.run import RunConfig
from timesformer.device import processor_name, resolve_device, resolve_precision
from timesformer.evaluation.result import Evaluation
from timesformer.model.cost import cost
from timesformer.reproduce.experiment import MAIN, Experiment, Variant
from timesformer.reproduce.measure import hits, interval_over_seeds, measure
from timesformer.reproduce.result import Result, TableRow
from timesformer.reproduce.videos import VideoSet, write_fraction
from timesformer.training.history import read_metrics
from timesformer.training.train import is_finished, train

logger = logging.getLogger(__name__)

Say = Callable[[str], None]


def run_experiment(
    experiment: Experiment,
    videos: Mapping[str, VideoSet],
    folder: Path,
    *,
    scale: str,
    seeds: int = 1,
    overwrite: bool = False,
    say: Say = logger.info,
) -> Result:
    """Train and evaluate all variants.

    Finished trainings in the folder are reused; interrupted ones are resumed.

    Args:
        experiment: What to run.
        videos: Video sets by name.
        folder: Holds a run folder per training and seed.
        scale: Description of the size, for the table.
        seeds: Models per training; their seeds count up from that of the base run.
        overwrite: Repeat trainings that exist in the folder.
        say: Called with one line per event.

    Raises:
        ConfigError: The folder holds a training with another config, or a value is out of range.
        TimeSformerError: As `timesformer.training.train.train` and `timesformer.evaluation.evaluate`.
    """
    base = experiment.base
    precision = resolve_precision(base.precision, resolve_device(base.device))  # one for all trainings
    experiment = replace(experiment, base=replace(base, precision=precision))
    runs = _plan(experiment, videos, folder, seeds=seeds)
    for number, ((name, seed), run) in enumerate(runs.items(), start=1):
        is_done = is_finished(run) and not overwrite
        say(f"[{number}/{len(runs)}] {name}, seed {seed}{': already trained' if is_done else ''}")
        if not is_done:
            train(run, resume=not overwrite and (Path(run.output) / "config.toml").exists(), overwrite=overwrite)
    rows = tuple(_row(experiment, variant, videos, runs, say=say) for variant in experiment.variants)
    return _result(experiment, rows, videos[MAIN], scale=scale, seeds=seeds)


def _result(experiment: Experiment, rows: tuple[TableRow, ...], videos: VideoSet, *, scale: str, seeds: int) -> Result:
    """The table with its settings and reference levels."""
    levels = {"chance": 1 / videos.num_classes}
    if videos.is_paired:
        levels["best without the order of frames"] = 0.5
    return Result(
        name=experiment.name,
        shows=experiment.shows,
        title=experiment.title,
        quantity="top-1 accuracy",
        setting={
            "Scale": scale,
            "Videos": f"{videos.description}; {videos.num_train} to train on, {videos.num_val} to test on",
            "Interval": _describe_interval(videos),
            "Training": _describe_training(experiment.base, seeds=seeds),
            "Hardware": describe_hardware(experiment.base.device),
        },
        levels=levels,
        rows=rows,
        notes=(_HOW_MEASURED, *experiment.notes),
    )


_HOW_MEASURED = (
    "Each number is top-1 accuracy with its 95 % interval over the test videos, of the model after the last epoch: no "
    "epoch was chosen by the test videos. The paper's numbers are for other data and full-size models: "
    "compare the order of the rows, not the values."
)

Runs = Mapping[tuple[str, int], RunConfig]


def _plan(experiment: Experiment, videos: Mapping[str, VideoSet], folder: Path, *, seeds: int) -> Runs:
    """Runs by training and seed, in the order of their dependencies."""
    runs: dict[tuple[str, int], RunConfig] = {}
    for training in experiment.trainings:
        video_set = videos[training.videos]
        write_fraction(video_set, fraction=training.fraction, seed=experiment.base.seed)
        for seed in range(experiment.base.seed, experiment.base.seed + seeds):
            run = training.run(experiment.base)
            start = runs[training.start, seed].output if training.start else run.init_from
            runs[training.name, seed] = replace(
                run,
                data=video_set.data(run.data, fraction=training.fraction),
                seed=seed,
                init_from=start,
                output=str(folder / f"{training.name}_seed{seed}"),
            )
    return runs


def _seconds(run: RunConfig) -> float:
    return sum(epoch.seconds for epoch in read_metrics(Path(run.output).expanduser() / "metrics.csv"))


def _row(experiment: Experiment, variant: Variant, videos: Mapping[str, VideoSet], runs: Runs, *, say: Say) -> TableRow:
    by_seed = {seed: run for (name, seed), run in runs.items() if name == variant.training.name}
    evaluations = {seed: _measure(variant, run, videos[MAIN]) for seed, run in by_seed.items()}
    seeds = {seed: evaluation.top1 for seed, evaluation in evaluations.items()}
    value = float(np.mean(list(seeds.values())))
    say(f"{variant.label}: {100 * value:.1f} %")
    first = next(iter(by_seed.values()))
    model = replace(first.model, num_classes=videos[MAIN].num_classes)
    return TableRow(
        label=variant.label,
        series=variant.series,
        panel=variant.panel,
        x=variant.x,
        value=value,
        interval=_interval(list(evaluations.values())),
        parameters=cost(model).parameters,
        seeds=seeds,
        paper=variant.paper,
        remarks={**variant.remarks, **_remarks(list(evaluations.values()), list(by_seed.values()))},
    )


def _interval(evaluations: Sequence[Evaluation]) -> tuple[float, float]:
    groups = [video.unit for video in evaluations[0].predictions]
    return interval_over_seeds([hits(evaluation) for evaluation in evaluations], groups=groups)


def _measure(variant: Variant, run: RunConfig, videos: VideoSet) -> Evaluation:
    return measure(
        variant,
        Path(run.output),
        videos.val,
        device=run.device,
        num_workers=run.data.num_workers,
        allow_codecs=run.data.allow_codecs,
    )


def _remarks(evaluations: Sequence[Evaluation], runs: Sequence[RunConfig]) -> dict[str, str]:
    views = np.mean([video.num_views for video in evaluations[0].predictions])
    return {
        "views": f"{views:.3g}",
        "protocol": evaluations[0].protocol,
        "training, s": f"{np.mean([_seconds(run) for run in runs]):.0f}",
    }


def _describe_interval(videos: VideoSet) -> str:
    if videos.num_groups == 0:
        return "95 %, Wilson, over the test videos"
    return f"95 %, over groups of test videos ({videos.num_groups}): bootstrap, or Wilson if too few or too alike"


def _describe_training(base: RunConfig, *, seeds: int) -> str:
    optim = base.optim
    start = f"from {base.init_from}" if base.init_from else "from scratch"
    return (
        f"{start}, {base.epochs} epochs, {base.batch_size} clips a step, {optim.optimizer}, {optim.schedule} schedule "
        f"from {optim.lr:g}, {base.precision}, {seeds} seed{'s' * (seeds > 1)} from {base.seed}"
    )


def describe_hardware(device: str) -> str:
    """Name of the GPU, or of the processor with torch's number of threads."""
    found = resolve_device(device)
    if found.type == "cuda":
        return torch.cuda.get_device_name(found)
    return f"{processor_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}"
