"""`timesformer bench explain`: which explanation method points at the evidence, measured on planted evidence.

For each scheme, a small model learns clips in which one of four moving objects decides the class, so it is known where
and when the evidence is. Every method explains the same clips; maps that know no model are measured next to them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast, get_args

import torch

from timesformer.bench.explain_methods import METHODS
from timesformer.bench.explain_models import LESSONS, trained_model
from timesformer.bench.explain_result import ExplainResult, Table
from timesformer.bench.explain_table import draw_examples, make_table
from timesformer.bench.timing import OnProgress
from timesformer.config.checks import check_count
from timesformer.config.schema import SchemeName
from timesformer.device import resolve_device
from timesformer.errors import ConfigError, did_you_mean
from timesformer.model.timesformer import TimeSformer

PAPER_SCHEMES: tuple[SchemeName, ...] = (
    "space_only",
    "joint_space_time",
    "divided_space_time",
    "sparse_local_global",
    "axial",
)
"""The schemes of the paper's figure 2, compared by default."""


def run(
    *,
    schemes: Sequence[str] = (),
    methods: Sequence[str] = (),
    clips: int = 64,
    models: Path | None = None,
    device: str = "cpu",
    on_progress: OnProgress = lambda done, total: None,
) -> ExplainResult:
    """Train the models that are missing, and measure methods and null maps on each.

    Args:
        schemes: Named schemes; those of the paper by default.
        methods: Names of `METHODS`; all by default.
        clips: Test clips of each model; explained are those whose evidence decides, see `Examples`.
        models: Folder of trained models: those in it are reused, others are trained and saved. None saves none.
        device: A device name, as in `Predictor`.
        on_progress: Called with the number of models measured and their total.

    Raises:
        ConfigError: A scheme, a method or the device is unknown, `clips` is not a whole number from 1, or the folder
            has a model that was trained otherwise.
        DataError: The evidence decides in none of the clips.
    """
    check_count("clips", clips)
    schemes = _select("schemes", schemes, known=get_args(SchemeName), default=PAPER_SCHEMES)
    methods = _select("methods", methods, known=tuple(METHODS), default=tuple(METHODS))
    where, start = resolve_device(device), time.perf_counter()
    jobs = [(cast(SchemeName, scheme), evidence) for scheme in schemes for evidence in LESSONS]
    tables: list[Table] = []
    model: TimeSformer | None = None
    for scheme, evidence in jobs:
        tell = _part_of(on_progress, len(tables), len(jobs))
        before = None if evidence == next(iter(LESSONS)) else model
        model = trained_model(scheme, evidence, folder=models, start=before, device=where, on_progress=tell(0))
        examples = draw_examples(evidence, count=clips, model=model, device=where)
        tables.append(make_table(model, scheme, evidence, examples=examples, methods=methods, on_progress=tell(1)))
    return ExplainResult(
        tables=tuple(tables),
        settings={
            "clips": clips,
            "device": device,
            "threads": torch.get_num_threads(),
            "lessons": {name: asdict(lesson) for name, lesson in LESSONS.items()},
        },
        seconds=time.perf_counter() - start,
    )


def _select(name: str, given: Sequence[str], *, known: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
    """The given names, each once and in their order, or the default.

    Raises:
        ConfigError: One is unknown.
    """
    for each in given:
        if each not in known:
            allowed = ", ".join(map(repr, known))
            raise ConfigError(f"{name}: {each!r} is not one of {allowed}{did_you_mean(each, known)}")
    return tuple(dict.fromkeys(given or default))


def _part_of(on_progress: OnProgress, job: int, num_jobs: int) -> Callable[[int], OnProgress]:
    """Progress callbacks for the two halves of a job, training and measuring, in percent of a job."""

    def half(which: int) -> OnProgress:
        return lambda done, total: on_progress(100 * job + 50 * which + 50 * done // total, 100 * num_jobs)

    return half
