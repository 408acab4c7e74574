"""The page of a run with a probe: both models next to chance and the majority class, then the kept one in detail."""

from timesformer.evaluation.intervals import format_interval
from timesformer.evaluation.report.page import write_report
from timesformer.fine_tuning.folder import ProbeFolder
from timesformer.fine_tuning.result import Candidate, FineTuned
from timesformer.html import escape
from timesformer.weights.load import load


def write_page(result: FineTuned, folder: ProbeFolder, *, title: str, allow_codecs: tuple[str, ...]) -> None:
    """Write `report.html`.

    Raises:
        DataError: The file cannot be written.
    """
    write_report(
        result.kept.evaluation,
        folder.report,
        model=load(result.model),
        title=title,
        curve=folder.fine_tuning.curve if result.fine_tuned is not None else None,
        lead=[_comparison(result)],
        sections=[_inputs(result), _strengths(result)],
        overwrite=True,
        allow_codecs=allow_codecs,
    )


def _comparison(result: FineTuned) -> str:
    candidates = [each for each in (result.probe, result.fine_tuned) if each is not None]
    rows = "".join(_candidate(each, is_kept=each is result.kept) for each in candidates)
    base = result.baselines
    rows += _row(f"always {base.majority_class}, the most frequent class of the training videos", base.majority)
    rows += _row("chance", base.chance)
    return (
        f"<h2>Probe and fine-tuning</h2><p>{escape(result.reason)}</p><p class=soft>Both are evaluated with all views "
        "of the same validation videos. The choice between them makes the accuracy of the kept model slightly too "
        f"high; other videos give an unbiased one. Head of both: that of the probe ({escape(result.head)}).</p>"
        "<div class=scroll><table class=lines><tr><th>model<th>top-1 accuracy<th>95 % interval<th>minutes<th></tr>"
        f"{rows}</table></div>"
    )


def _candidate(candidate: Candidate, *, is_kept: bool) -> str:
    names = {"probe": "probe: linear head on frozen features", "fine-tuned": "fine-tuned from the head of the probe"}
    interval = format_interval(*candidate.evaluation.top1_interval)
    minutes = f"{candidate.minutes:.1f}"
    return _row(names[candidate.way], candidate.top1, interval, minutes, "kept" if is_kept else "")


def _row(name: str, value: float, interval: str = "", minutes: str = "", kept: str = "") -> str:
    return (
        f'<tr><td>{escape(name)}<td><span class=bar><i style="width:{100 * value:.1f}%"></i></span>{value:.1%}'
        f"<td>{interval}<td class=number>{minutes}<td>{kept}</tr>"
    )


def _inputs(result: FineTuned) -> str:
    """The inputs that were tried; empty if there was no choice."""
    if len(result.inputs) == 1:
        return ""
    about = {
        "given": "clips as they are",
        "moments": "luma of three moments in the channels of each frame",
        "motion": "the same without what stands still",
    }
    rows = "".join(
        f"<tr><td>{score.name}: {about[score.name]}<td class=number>{score.nll:.4f}"
        f"<td class=number>{score.accuracy:.1%}<td>{'chosen' if score.name == result.input else ''}</tr>"
        for score in result.inputs
    )
    return (
        "<h2>Input of the model</h2><p class=soft>Cross-validation of the probe over the training videos, each view by "
        "itself, with the best penalty of each input. The lowest negative log-likelihood (nll, in nats) is chosen.</p>"
        f"<div class=scroll><table class=lines><tr><th>input<th>nll<th>accuracy<th></tr>{rows}</table></div>"
    )


def _strengths(result: FineTuned) -> str:
    rows = "".join(
        f"<tr><td class=number>{score.strength:.3g}<td class=number>{score.nll:.4f}"
        f"<td class=number>{score.accuracy:.1%}<td>{'chosen' if score.strength == result.strength else ''}</tr>"
        for score in result.scores
    )
    return (
        "<h2>Strength of the penalty of the probe</h2><p class=soft>Cross-validation over the training videos, each "
        "view by itself. Negative log-likelihood (nll) in nats; the lowest is chosen.</p><div class=scroll>"
        f"<table class=lines><tr><th>strength<th>nll<th>accuracy<th></tr>{rows}</table></div>"
    )
