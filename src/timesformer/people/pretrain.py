"""`pretrain_people`: pretrain a model on generated people into a run folder."""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from timesformer.config.info import ModelInfo
from timesformer.config.io import read_config
from timesformer.config.run import OptimConfig, RunConfig
from timesformer.device import resolve_device, resolve_precision, warn_if_slow
from timesformer.errors import ConfigError, TimeSformerError
from timesformer.files import replacing
from timesformer.model.timesformer import TimeSformer
from timesformer.outputs import check_folder, locked, refuse_inputs, writing
from timesformer.people.batch import CHANNELS, CLIPS, Look, draw_batch
from timesformer.people.config import PeopleRun
from timesformer.people.folder import (
    PeopleFolder,
    Record,
    begin,
    check_is_free,
    check_is_ours,
    check_same_run,
    draw_curve,
    has_our_config,
    read_checkpoint,
    write_checkpoint,
    write_metrics,
)
from timesformer.people.pretext import Pretext
from timesformer.people.render import Frame
from timesformer.people.sheet import draw_sheet
from timesformer.signals import EndRequest
from timesformer.training.init_weights import initial_model
from timesformer.training.optim import parameter_groups
from timesformer.weights.load import model_files
from timesformer.weights.model_folder import save

logger = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]

CHECKPOINT_STEPS = 200
"""Steps between checkpoints."""
RECORD_STEPS = 50
"""Steps of a row of metrics."""
LICENSE = "Apache-2.0"
SOURCE = "pretrained on generated people: drawn bodies in motion, no data of anybody"
_WARMUP_STEPS = 100
_CLIP_NORM = 1.0


@dataclass(slots=True, eq=False)
class _State:
    """Everything that changes during a run."""

    model: TimeSformer
    pretext: Pretext
    optimizer: torch.optim.Optimizer
    step: int = 0
    history: list[Record] = field(default_factory=list)
    seconds: float = 0.0
    """Time of the steps, those before a resumption included."""
    drawing_s: float = 0.0
    """Of that, for drawing."""
    sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Sums of measures since the last record."""


def pretrain_people(
    run: PeopleRun, *, overwrite: bool = False, resume: bool = False, on_progress: OnProgress | None = None
) -> Path:
    """Pretrain a model on generated people, and write the run folder:

        config.toml      the full config, with the precision that `auto` was
        metrics.csv      losses, accuracies and explained variance of the joints, a row for every 50 steps
        curve.png        the same as curves
        people.png       some of the motions that are drawn
        model/           the model folder, at each checkpoint
        checkpoint.pt    the state to resume from, every 200 steps

    Each batch is new and depends on the seed and the number of its step only. On one machine, equal runs give equal
    weights, even if killed at any moment and resumed, provided that the device is deterministic, as a CPU is.

    Args:
        run: The config; `run.output` is the folder.
        overwrite: Replace an existing pretraining in the folder; other files in it are kept.
        resume: Continue the pretraining in the folder from its last checkpoint. Keys that change the result must be
            those of that run.
        on_progress: Called after each step with the number of steps done and the total.

    Returns:
        The folder.

    Raises:
        ConfigError: A value is invalid, or the folder holds a run and neither flag is set, or another kind of run.
        DependencyError: matplotlib is not installed.
        WeightsError: `run.init_from` cannot be loaded, or the checkpoint to resume from is damaged.
        TimeSformerError: The loss is no longer finite, or the disk refused.
        SystemExit: SIGTERM, SIGHUP or SIGUSR1 asked to end; a checkpoint after the present step is kept.
    """
    if resume and overwrite:
        raise ConfigError("resume and overwrite exclude each other: pass one of them")
    folder = PeopleFolder(Path(run.output).expanduser())
    device = resolve_device(run.device)
    check_folder(folder.root)
    refuse_inputs([*folder.files, *folder.model.glob("*")], model_files(run.init_from))
    precision = _precision(run, folder, device, resume=resume)
    warn_if_slow(precision, device)
    run = replace(run, precision=precision)
    message = f"output={str(folder.root)!r}: another process is training into it: name another folder"
    _check_folder(folder, run, overwrite=overwrite, resume=resume)
    with locked(folder.root / ".training.lock", message=message):
        _check_folder(folder, run, overwrite=overwrite, resume=resume)  # another process may have finished since
        state = _start(run, folder, device, resume=resume)
        _train(run, folder, state, device=device, on_progress=on_progress or (lambda done, total: None))
    return folder.root


def _precision(
    run: PeopleRun, folder: PeopleFolder, device: torch.device, *, resume: bool
) -> Literal["fp32", "bf16", "fp16"]:
    """The precision of the run; one that is resumed goes on in its own, whatever `auto` is on this device."""
    name = run.precision
    if name == "auto" and resume and has_our_config(folder):
        name = read_config(folder.config, kind=PeopleRun).precision
    return resolve_precision(name, device)


def _check_folder(folder: PeopleFolder, run: PeopleRun, *, overwrite: bool, resume: bool) -> None:
    if resume:
        check_same_run(folder, run)
    elif overwrite:
        check_is_ours(folder)
    else:
        check_is_free(folder)


def _start(run: PeopleRun, folder: PeopleFolder, device: torch.device, *, resume: bool) -> _State:
    """A new run in the folder, or the one that it holds, at its last checkpoint."""
    stored = read_checkpoint(folder) if resume else None
    state = _new_state(run, device)
    if stored is None:
        begin(folder, run)
        _write_sheet(run, folder)
        return state
    for name in ("model", "pretext", "optimizer"):
        getattr(state, name).load_state_dict(stored[name])
    state.step, state.history = stored["step"], list(stored["history"])
    state.seconds, state.drawing_s = stored["seconds"], stored["drawing_s"]
    state.sums.update(stored["sums"])
    return state


def _new_state(run: PeopleRun, device: torch.device) -> _State:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        model = _new_model(run)
        pretext = Pretext(run.model.embed_dim, moments=clip_size(run).moments)
    model, pretext = model.to(device).train(), pretext.to(device).train()
    return _State(model, pretext, _optimizer(run, model, pretext))


def _new_model(run: PeopleRun) -> TimeSformer:
    """The model before the first step."""
    if run.init_from:
        model = initial_model(RunConfig(model=run.model, init_from=run.init_from, seed=run.seed), labels=())
    else:
        model = TimeSformer(run.model)
    model.info = ModelInfo(clip=CLIPS[looks_of(run)[0]], license=LICENSE, source=SOURCE)
    return model


def _optimizer(run: PeopleRun, *modules: nn.Module) -> torch.optim.Optimizer:
    """AdamW, with weight decay on matrices."""
    optim = OptimConfig(lr=run.lr, weight_decay=run.weight_decay)
    groups = parameter_groups(nn.ModuleList(modules), optim=optim)
    return torch.optim.AdamW(groups, lr=run.lr, fused=True)


def _train(
    run: PeopleRun, folder: PeopleFolder, state: _State, *, device: torch.device, on_progress: OnProgress
) -> None:
    if state.step == run.steps:
        _write_missing(run, folder, state)
    end = EndRequest()
    with end.listening():
        while state.step < run.steps:
            began = time.perf_counter()
            _take_step(run, state, device)
            state.seconds += time.perf_counter() - began
            is_asked_to_end = bool(end.number)  # once: a signal that comes later lets the next step end
            is_last = state.step == run.steps or is_asked_to_end
            if state.step % RECORD_STEPS == 0 or state.step == run.steps:
                _record(folder, state)
            if state.step % CHECKPOINT_STEPS == 0 or is_last:
                _write(folder, state)
            on_progress(state.step, run.steps)
            if is_asked_to_end:
                raise SystemExit(end.status)


def _take_step(run: PeopleRun, state: _State, device: torch.device) -> None:
    for group in state.optimizer.param_groups:
        group["lr"] = run.lr * lr_factor(state.step, steps=run.steps)
    began = time.perf_counter()
    batch = draw_batch(
        seed=run.seed,
        number=state.step,
        motions=run.batch_size // 2,
        looks=looks_of(run),
        size=clip_size(run),
        device=device,
    )
    state.drawing_s += time.perf_counter() - began
    # a function of seed and step only, so that a resumed run draws the same dropout
    torch.manual_seed(int(np.random.SeedSequence((run.seed, state.step)).generate_state(1)[0]))
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=run.precision == "bf16"):
        features = state.model.features(batch.clips)
    losses = state.pretext(features, batch)
    losses.total.backward()
    parameters = [p for module in (state.model, state.pretext) for p in module.parameters() if p.grad is not None]
    norm = nn.utils.clip_grad_norm_(parameters, _CLIP_NORM)
    if not torch.isfinite(norm):
        raise TimeSformerError(
            f"step {state.step + 1}: the loss is {losses.total.item():g} and the norm of the gradients "
            f"{norm.item():g}; try a lower lr than {run.lr:g}, or precision='fp32'"
        )
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.step += 1
    for name, value in losses.measures.items():
        state.sums[name] += value.item()
    state.sums["steps"] += 1


def lr_factor(step: int, *, steps: int) -> float:
    """Learning rate of a step, counted from 0, relative to the peak: a warm-up of 100 steps, times a cosine to 0."""
    return min((step + 1) / _WARMUP_STEPS, 1.0) * (1 + math.cos(math.pi * step / steps)) / 2


def _record(folder: PeopleFolder, state: _State) -> None:
    steps = state.sums.pop("steps")
    means = {name: total / steps for name, total in state.sums.items()}
    state.history.append({"step": state.step, "seconds": state.seconds, "drawing_s": state.drawing_s, **means})
    state.sums.clear()
    write_metrics(folder, state.history)


def _write(folder: PeopleFolder, state: _State) -> None:
    """Write the checkpoint, then what can be made again from it."""
    stored = {name: getattr(state, name).state_dict() for name in ("model", "pretext", "optimizer")}
    for name in ("step", "history", "seconds", "drawing_s"):
        stored[name] = getattr(state, name)
    write_checkpoint(folder, {**stored, "sums": dict(state.sums)})
    _write_results(folder, state)


def _write_results(folder: PeopleFolder, state: _State) -> None:
    save(state.model, folder.model, overwrite=True)
    write_metrics(folder, state.history)
    if state.history:
        draw_curve(folder, state.history)


def _write_missing(run: PeopleRun, folder: PeopleFolder, state: _State) -> None:
    """Write the files of a finished run that are missing, as after a kill between its last checkpoint and its end."""
    if not folder.sheet.exists():
        _write_sheet(run, folder)
    _write_results(folder, state)


def _write_sheet(run: PeopleRun, folder: PeopleFolder) -> None:
    sheet = draw_sheet(seed=run.seed, looks=looks_of(run), size=clip_size(run))
    with writing(folder.sheet), replacing(folder.sheet) as partial:
        sheet.save(partial, format="PNG")


def looks_of(run: PeopleRun) -> tuple[Look, Look]:
    """Look of the first body of each motion, and of the second."""
    return ("depth", "color") if run.appearance == "both" else (run.appearance, run.appearance)


def clip_size(run: PeopleRun) -> Frame:
    """Size of the clips of a run."""
    height, width = run.model.image_size
    return Frame(height=height, width=width, moments=CHANNELS * run.model.num_frames)
