"""Sections of the report of a head: baselines, cross-validation, and the most confident mistakes."""

from collections.abc import Sequence

from timesformer.evaluation.baselines import Baselines
from timesformer.evaluation.result import Evaluation
from timesformer.heads.choose import StrengthScore
from timesformer.html import escape

_MOST_MISTAKES = 20


def head_sections(
    evaluation: Evaluation, baselines: Baselines, scores: Sequence[StrengthScore] = (), *, strength: float | None = None
) -> list[str]:
    """The sections, as HTML."""
    return [
        _baselines(evaluation, baselines),
        _strengths(scores, strength=strength),
        _mistakes(evaluation),
    ]


def _baselines(evaluation: Evaluation, baselines: Baselines) -> str:
    rows = {
        "this head": evaluation.top1,
        f"always {baselines.majority_class}, the most frequent class of the training rows": baselines.majority,
        "chance": baselines.chance,
    }
    cells = "".join(
        f'<tr><td>{escape(name)}<td><span class=bar><i style="width:{100 * value:.1f}%"></i></span>{value:.1%}</tr>'
        for name, value in rows.items()
    )
    return (
        "<h2>Baselines</h2><div class=scroll><table class=lines>"
        f"<tr><th>prediction<th>top-1 accuracy</tr>{cells}</table></div>"
    )


def _strengths(scores: Sequence[StrengthScore], *, strength: float | None) -> str:
    if not scores:
        return ""
    rows = "".join(
        f"<tr><td class=number>{score.strength:.3g}<td class=number>{score.nll:.4f}"
        f"<td class=number>{score.accuracy:.1%}<td>{'chosen' if score.strength == strength else ''}</tr>"
        for score in scores
    )
    return (
        "<h2>Strength of the penalty</h2><p class=soft>Cross-validation on the training rows. Negative log-likelihood "
        "(nll) in nats; the lowest is chosen.</p><div class=scroll><table class=lines>"
        f"<tr><th>strength<th>nll<th>accuracy<th></tr>{rows}</table></div>"
    )


def _mistakes(evaluation: Evaluation) -> str:
    wrong = sorted((row for row in evaluation.predictions if row.rank > 1), key=lambda row: -row.probability)
    if not wrong:
        return ""
    rows = "".join(
        f"<tr><td class=name>{escape(row.name)}<td>{escape(row.label)}<td>{escape(row.predicted)}"
        f"<td class=number>{row.probability:.0%}<td class=number>{row.rank}</tr>"
        for row in wrong[:_MOST_MISTAKES]
    )
    shown = f"The first {_MOST_MISTAKES} of {len(wrong)}. " if len(wrong) > _MOST_MISTAKES else ""
    return (
        f"<h2>Most confident mistakes</h2><p class=soft>{shown}Rank: that of the true class.</p><div class=scroll>"
        f"<table class=lines><tr><th>row<th>true class<th>predicted<th>probability<th>rank</tr>{rows}</table></div>"
    )
