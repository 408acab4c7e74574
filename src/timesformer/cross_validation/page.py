"""Page of a cross-validation: the table of folds, then all sections of an evaluation's report."""

from pathlib import Path

from timesformer.config.run import RunConfig
from timesformer.cross_validation.result import CrossValidation, FoldResult
from timesformer.evaluation.intervals import format_interval
from timesformer.evaluation.report.page import write_report
from timesformer.html import escape
from timesformer.inference.onnx_model import Classifier


def write_page(result: CrossValidation, path: Path, *, run: RunConfig, model: Classifier) -> None:
    """Write the page; an existing one is replaced.

    Args:
        result: The cross-validation.
        path: The HTML file.
        run: Its run.
        model: The model of a fold, whose clips are shown.

    Raises:
        DataError: The file cannot be written.
    """
    write_report(
        result.evaluation,
        path,
        model=model,
        title=f"Cross-validation on {run.data.train}",
        lead=[folds_section(result)],
        overwrite=True,
        allow_codecs=run.data.allow_codecs,
    )


def folds_section(result: CrossValidation) -> str:
    """The table of folds, next to the majority class and chance."""
    rows = "".join(map(_row, result.folds))
    has_groups = any(fold.groups for fold in result.folds)
    group = "<th>groups" if has_groups else ""
    interval = format_interval(*result.evaluation.top1_interval)
    return (
        f"<h2>Folds</h2><p class=soft>Each video is predicted by the model of the fold that it was kept out of; "
        f"{escape(result.describe_choice())}.</p><div class=scroll><table class=lines>"
        f"<tr><th>held-out fold<th>top-1 accuracy<th>videos<th>trained on<th>minutes{group}</tr>{rows}"
        f"<tr><td>all<td>{_bar(result.evaluation.top1)} ({interval})<td class=number>{result.evaluation.num_videos}<td>"
        f"<td class=number>{result.seconds / 60:.1f}{'<td>' * has_groups}</tr>"
        f"<tr><td>always {escape(result.majority_class)}<td>{_bar(result.majority)}<td><td><td>{'<td>' * has_groups}"
        f"</tr><tr><td>chance<td>{_bar(result.chance)}<td><td><td>{'<td>' * has_groups}</tr></table></div>"
    )


def _row(fold: FoldResult) -> str:
    names = ", ".join(fold.groups[:8]) + (", ..." if len(fold.groups) > 8 else "")
    groups = f"<td>{escape(names)}" if fold.groups else ""
    return (
        f"<tr><td>{fold.fold}<td>{_bar(fold.top1)}<td class=number>{fold.num_videos}<td class=number>{fold.num_train}"
        f"<td class=number>{fold.seconds / 60:.1f}{groups}</tr>"
    )


def _bar(fraction: float) -> str:
    if fraction != fraction:
        return "no video could be decoded"
    return f'<span class=bar><i style="width:{100 * fraction:.1f}%"></i></span>{fraction:.1%}'
