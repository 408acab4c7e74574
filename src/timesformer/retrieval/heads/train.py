"""`train_head`: train a head on stored features into a run folder."""

import csv
import io
import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from timesformer.config.io import dump_toml
from timesformer.device import resolve_device
from timesformer.errors import DataError
from timesformer.evaluation.baselines import Baselines, baselines_of, majority_class
from timesformer.evaluation.report.page import write_measures
from timesformer.evaluation.result import Evaluation, write_predictions
from timesformer.files import replacing_durably
from timesformer.heads.choose import StrengthScore, best_strength, score_strengths
from timesformer.heads.fit import PRECISE, Fit, fit_path, refuse_empty_classes
from timesformer.heads.head import Head, zero_head
from timesformer.outputs import check_folder, locked, refuse_inputs, writing
from timesformer.retrieval.embeddings import embedding_files
from timesformer.retrieval.heads.backbone import load_backbone, with_head
from timesformer.retrieval.heads.evaluate import evaluate_rows
from timesformer.retrieval.heads.folder import HeadFolder, StoredHead, check_target, save_head
from timesformer.retrieval.heads.page import head_sections
from timesformer.retrieval.heads.rows import Rows, read_rows
from timesformer.retrieval.heads.run import HeadRun
from timesformer.retrieval.heads.split import describe_folds, fold_numbers, split_rows
from timesformer.weights.load import model_files
from timesformer.weights.model_folder import save

logger = logging.getLogger(__name__)

OnMessage = Callable[[str], None]
_LOOSE = 1e-5
"""Largest entry of the gradient with which an optimum counts as reached."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedHead:
    """What a training wrote, and measured on the validation rows."""

    folder: Path
    stored: StoredHead
    scores: tuple[StrengthScore, ...]
    """The cross-validation, the strongest penalty first; empty with a single strength."""
    strength: float
    """The strength of the head."""
    evaluation: Evaluation
    baselines: Baselines
    model: Path | None
    """The model folder, if `run.model` names the model that computed the features."""


def train_head(run: HeadRun, *, overwrite: bool = False, on_message: OnMessage | None = None) -> TrainedHead:
    """Train a head on stored features, evaluate it on validation rows, and write the run folder.

    The strength of the L2 penalty is chosen by cross-validation over groups of the training rows; the head is then
    trained on all of them, in double precision and over all rows at once, and stored in single precision.

    Args:
        run: The config; `run.output` is the folder.
        overwrite: Replace a run of a head in the folder; other files in it are kept.
        on_message: Called with a line for each event; log messages by default.

    Raises:
        ConfigError: A value is invalid, the folder holds a run or inputs of this one, or `run.model` is not the model
            of the features.
        DataError: The rows cannot be used: a column is missing, a class has no training row, a group would be in both
            training and validation.
        DependencyError: pyarrow is not installed.
        WeightsError: `run.model` cannot be loaded, or the disk refused.
    """
    say = on_message or logger.info
    folder = HeadFolder(Path(run.output).expanduser())
    check_target(folder, overwrite=overwrite)
    check_folder(folder.root)
    sources = [file for source in (run.features, run.val) if source for file in embedding_files(source)]
    refuse_inputs([*folder.files, *folder.model.glob("*")], [*sources, *model_files(run.model)])
    device = resolve_device(run.device)
    train, val = _read(run, say)
    class_names = train.manifest().class_names
    backbone = load_backbone(run.model, train) if run.model else None
    scores, fit = _fit(run, train, class_names, device=device, say=say)
    stored = _stored(run, train, fit.head, class_names)
    evaluation = evaluate_rows(stored, val)
    baselines = baselines_of(evaluation, majority_class=stored.majority_class)
    message = f"output={run.output!r}: another process is training into it: name another folder"
    with locked(folder.root / ".training.lock", message=message):
        check_target(folder, overwrite=overwrite)
        _clear(folder)
        _write(folder, run, scores, fit.strength, evaluation, baselines)
        if backbone is not None:
            headed = with_head(backbone, stored, clip_seconds=train.median_seconds())
            save(headed, folder.model, overwrite=overwrite)
        save_head(stored, folder)
    return TrainedHead(
        folder=folder.root,
        stored=stored,
        scores=tuple(scores),
        strength=fit.strength,
        evaluation=evaluation,
        baselines=baselines,
        model=folder.model if backbone else None,
    )


def _read(run: HeadRun, say: OnMessage) -> tuple[Rows, Rows]:
    """Training and validation rows, the training rows in canonical order."""
    read = partial(
        read_rows,
        embedding_column=run.embedding_column,
        label_column=run.label_column,
        group_column=run.group_column,
    )
    rows = read(run.features, needs_groups=bool(run.val_groups))
    if len(set(rows.labels)) < 2:
        raise DataError(f"{run.features}: has one class ({rows.labels[0]!r}); a classifier needs at least two")
    say(rows.describe())
    other = read(run.val) if run.val else None
    if other is not None:
        say(other.describe())
    train, val = split_rows(rows, other, run)
    if other is None:
        _refuse_classes_without_rows(train, rows)
    groups = f" ({len({*val.groups} - {''})} groups)" if val.has_groups else ""
    say(f"training on {len(train)} rows, validation on {len(val)}{groups}")
    return train.canonical(), val


def _refuse_classes_without_rows(train: Rows, rows: Rows) -> None:
    names = rows.manifest().class_names
    index = {name: number for number, name in enumerate(names)}
    refuse_empty_classes(torch.tensor([index[label] for label in train.labels]), names)


def _fit(
    run: HeadRun, rows: Rows, class_names: Sequence[str], *, device: torch.device, say: OnMessage
) -> tuple[list[StrengthScore], Fit]:
    """The cross-validation, and the head for all rows."""
    index = {name: number for number, name in enumerate(class_names)}
    labels = torch.tensor([index[label] for label in rows.labels], device=device)
    features = torch.from_numpy(rows.features).to(device, torch.float64)
    start = partial(_start, run, rows.shape, device=device)
    scores: list[StrengthScore] = []
    strength = run.strengths[0]
    if len(run.strengths) > 1:
        start(len(class_names))  # refuses features of another shape before the work
        folds = fold_numbers(rows, folds=run.folds, seed=run.seed)
        say(f"choosing among {len(run.strengths)} strengths by {describe_folds(folds, has_groups=rows.has_groups)}")
        scores = score_strengths(run.head, start, features, labels, folds=folds, strengths=run.strengths)
        strength = best_strength(scores)
        say(f"chosen: strength {strength:.3g}")
        _warn_at_the_edge(strength, run.strengths)
    path = [each for each in run.strengths if each >= strength] if run.head == "attentive" else [strength]
    *_, fit = fit_path(run.head, start(len(class_names)), features, labels, strengths=path, tolerance=PRECISE)
    if fit.gradient > _LOOSE:
        logger.warning("the optimization stopped early: the largest entry of the gradient is %.1e", fit.gradient)
    return scores, fit


def _warn_at_the_edge(strength: float, strengths: Sequence[float]) -> None:
    if strength == max(strengths):
        message = "the best strength, %.3g, is the largest of strengths: the features say little about the classes"
        logger.warning(message, strength)
    elif strength == min(strengths):
        message = "the best strength, %.3g, is the smallest of strengths: a smaller one may be better"
        logger.warning(message, strength)


def _start(run: HeadRun, shape: tuple[int, ...], num_classes: int, *, device: torch.device) -> Mapping[str, Tensor]:
    return zero_head(run.head, shape, num_classes=num_classes, attention_heads=run.attention_heads, device=device)


def _stored(run: HeadRun, rows: Rows, head: Head, class_names: tuple[str, ...]) -> StoredHead:
    return StoredHead(
        head=Head(head.kind, {name: tensor.float().cpu() for name, tensor in head.tensors.items()}),
        class_names=class_names,
        origin=rows.origin,
        majority_class=majority_class(rows.labels, class_names),
        embedding_column=run.embedding_column,
        label_column=run.label_column,
        group_column=run.group_column,
    )


def _clear(folder: HeadFolder) -> None:
    """Remove the files of an earlier head, the one that makes the folder valid first.

    The folder of the head is made before and stays: it marks the run as that of a head, also if killed in between.
    """
    with writing(folder.root):
        folder.head.parent.mkdir(parents=True, exist_ok=True)
        for path in folder.files:
            path.unlink(missing_ok=True)
        if folder.model.exists():
            shutil.rmtree(folder.model)


def _write(
    folder: HeadFolder,
    run: HeadRun,
    scores: Sequence[StrengthScore],
    strength: float,
    evaluation: Evaluation,
    baselines: Baselines,
) -> None:
    _write_text(folder.config, "# The full configuration of this head: timesformer train --features\n" + dump_toml(run))
    _write_text(folder.metrics, format_scores(scores, chosen=strength))
    write_predictions(evaluation, folder.predictions)
    content = {**evaluation.to_dict(), "baselines": baselines.to_dict()}
    _write_text(folder.evaluation, json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_measures(
        evaluation,
        folder.page,
        title=f"A {run.head} head on {run.features}",
        sections=head_sections(evaluation, baselines, scores, strength=strength),
    )


def _write_text(path: Path, text: str) -> None:
    with writing(path), replacing_durably(path) as partial:
        partial.write_text(text, "utf-8")


def format_scores(scores: Sequence[StrengthScore], *, chosen: float) -> str:
    """The cross-validation as CSV: strength, negative log-likelihood, accuracy, whether it was chosen.

    A single strength, which was not compared, has no measures.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["strength", "cv_nll", "cv_accuracy", "chosen"])
    for score in scores:
        measures = [f"{score.nll:.6f}", f"{score.accuracy:.6f}"]
        writer.writerow([f"{score.strength:.6g}", *measures, int(score.strength == chosen)])
    if not scores:
        writer.writerow([f"{chosen:.6g}", "", "", 1])
    return text.getvalue()
