"""Tables of the report: classes, confusion matrix and most confused pairs."""

import numpy as np
from jaxtyping import Int, UInt8

from timesformer.evaluation.metrics import most_confused
from timesformer.evaluation.result import Evaluation
from timesformer.html import data_url, encode, escape

_MAX_CONFUSION_CLASSES = 40
_MAX_PAIRS = 12
_BLUE = np.array([59, 111, 212])


def class_table(evaluation: Evaluation) -> str:
    """Accuracy, precision and number of videos per class, lowest accuracy first, classes without videos last."""
    supports = evaluation.confusion.sum(axis=1)
    rows = []
    for index in np.argsort(evaluation.per_class, kind="stable"):  # nan comes last
        accuracy, precision = evaluation.per_class[index], evaluation.precision[index]
        bar = "" if np.isnan(accuracy) else _bar(accuracy)
        rows.append(
            f"<tr><td>{escape(evaluation.class_names[index])}<td>{bar or 'no videos'}"
            f"<td class=number>{'–' if np.isnan(precision) else f'{precision:.0%}'}<td class=number>{supports[index]}"
        )
    return (
        "<h2>Classes</h2><p class=soft>Lowest accuracy first. Accuracy (recall): fraction of the videos of a class "
        "that are predicted correctly. Precision: fraction of the predictions of a class that are correct.</p>"
        "<div class=scroll><table class=lines>"
        f"<tr><th>class<th>accuracy<th>precision<th>videos</tr>{'</tr>'.join(rows)}</tr></table></div>"
    )


def _bar(accuracy: float) -> str:
    return f'<span class=bar><i style="width:{100 * accuracy:.1f}%"></i></span>{accuracy:.0%}'


def mistakes_table(evaluation: Evaluation) -> str:
    """The most frequent pairs of true and predicted class; empty without mistakes."""
    pairs = most_confused(evaluation.confusion, count=_MAX_PAIRS)
    if not pairs:
        return ""
    names, supports = evaluation.class_names, evaluation.confusion.sum(axis=1)
    rows = "".join(
        f"<tr><td>{escape(names[true])}<td>{escape(names[other])}<td class=number>{count}"
        f"<td class=number>{count / supports[true]:.0%}</tr>"
        for true, other, count in pairs
    )
    head = "<tr><th>true class<th>predicted<th>videos<th>fraction of the class</tr>"
    return f"<h2>Most confused</h2><table class=lines>{head}{rows}</table>"


def confusion_table(evaluation: Evaluation) -> str:
    """The confusion matrix, as a table up to 40 classes and as an image beyond."""
    intro = "<h2>Confusion matrix</h2><p class=soft>Rows are true classes, columns are predicted classes.</p>"
    if len(evaluation.class_names) > _MAX_CONFUSION_CLASSES:
        side = min(800, 8 * len(evaluation.class_names))
        address = data_url(encode(confusion_image(evaluation.confusion), kind="png"), "png")
        return f'{intro}<img class=pixels width="{side}" alt="confusion matrix" src="{address}">'
    head = "".join(f"<th><span>{escape(name)}</span></th>" for name in evaluation.class_names)
    rows = "".join(
        f"<tr><th>{escape(name)}</th>{_cells(row, true_index=index)}</tr>"
        for index, (name, row) in enumerate(zip(evaluation.class_names, evaluation.confusion, strict=True))
    )
    return (
        f"{intro}<div class=scroll><table class=confusion><thead><tr><th></th>{head}</tr></thead>{rows}</table></div>"
    )


def confusion_image(confusion: Int[np.ndarray, "k k"]) -> UInt8[np.ndarray, "k k 3"]:
    """One pixel per pair of classes, from white (no video of the row's class) to blue (all of them)."""
    fractions = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    return np.round(255 + fractions[..., None] * (_BLUE - 255)).astype(np.uint8)


def _cells(row: Int[np.ndarray, " k"], *, true_index: int) -> str:
    """Cells in blue on the diagonal and red elsewhere; opacity is the fraction of the class."""
    return "".join(
        f'<td style="{_colors(count / row.sum(), is_correct=index == true_index)}">{count}</td>'
        if count
        else "<td></td>"
        for index, count in enumerate(row)
    )


def _colors(fraction: float, *, is_correct: bool) -> str:
    background = f"background:rgba({'59,111,212' if is_correct else '192,57,43'},{max(fraction, 0.12):.2f})"
    return background + (";color:#fff" if fraction > 0.6 else "")
