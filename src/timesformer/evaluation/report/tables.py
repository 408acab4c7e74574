"""Tables of the report: classes, confusion, and the pairs that are confused most."""

import numpy as np
from jaxtyping import Int, UInt8

from timesformer.evaluation.metrics import most_confused
from timesformer.evaluation.result import Evaluation
from timesformer.html import data_url, encode, escape

_MAX_CONFUSION_CLASSES = 40
_MAX_PAIRS = 12
_BLUE = np.array([59, 111, 212])


def class_table(evaluation: Evaluation) -> str:
    """Every class with its accuracy, precision and number of videos: the worst first, those without videos last."""
    supports = evaluation.confusion.sum(axis=1)
    rows = []
    for index in np.argsort(evaluation.per_class, kind="stable"):  # nan comes last
        share, precision = evaluation.per_class[index], evaluation.precision[index]
        bar = "" if np.isnan(share) else f'<span class=bar><i style="width:{100 * share:.1f}%"></i></span>{share:.0%}'
        rows.append(
            f"<tr><td>{escape(evaluation.class_names[index])}<td>{bar or 'no videos'}"
            f"<td class=number>{'–' if np.isnan(precision) else f'{precision:.0%}'}<td class=number>{supports[index]}"
        )
    return (
        "<h2>Classes</h2><p class=soft>The worst first. Accuracy (recall): of the videos of the class, how many are "
        "called so. Precision: of the videos that are called so, how many are.</p><div class=scroll><table class=lines>"
        f"<tr><th>class<th>accuracy<th>precision<th>videos</tr>{'</tr>'.join(rows)}</tr></table></div>"
    )


def mistakes_table(evaluation: Evaluation) -> str:
    """The pairs of true and predicted class that occur most; nothing where all is right."""
    pairs = most_confused(evaluation.confusion, count=_MAX_PAIRS)
    if not pairs:
        return ""
    names, supports = evaluation.class_names, evaluation.confusion.sum(axis=1)
    rows = "".join(
        f"<tr><td>{escape(names[true])}<td>{escape(names[other])}<td class=number>{count}"
        f"<td class=number>{count / supports[true]:.0%}</tr>"
        for true, other, count in pairs
    )
    head = "<tr><th>true<th>taken for<th>videos<th>of the class</tr>"
    return f"<h2>Most confused</h2><table class=lines>{head}{rows}</table>"


def confusion_table(evaluation: Evaluation) -> str:
    """The confusion matrix: with numbers for few classes, as a picture for many."""
    intro = "<h2>Confusion</h2><p class=soft>Rows are the true classes, columns the predicted ones.</p>"
    if len(evaluation.class_names) > _MAX_CONFUSION_CLASSES:
        side = min(800, 8 * len(evaluation.class_names))
        address = data_url(encode(confusion_picture(evaluation.confusion), kind="png"), "png")
        return f'{intro}<img class=pixels width="{side}" alt="confusion matrix" src="{address}">'
    head = "".join(f"<th><span>{escape(name)}</span></th>" for name in evaluation.class_names)
    rows = "".join(
        f"<tr><th>{escape(name)}</th>{_cells(row, own=index)}</tr>"
        for index, (name, row) in enumerate(zip(evaluation.class_names, evaluation.confusion, strict=True))
    )
    return (
        f"{intro}<div class=scroll><table class=confusion><thead><tr><th></th>{head}</tr></thead>{rows}</table></div>"
    )


def confusion_picture(confusion: Int[np.ndarray, "k k"]) -> UInt8[np.ndarray, "k k 3"]:
    """A pixel for each pair of classes: white for no video of the row's class, blue for all of them."""
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    return np.round(255 + shares[..., None] * (_BLUE - 255)).astype(np.uint8)


def _cells(row: Int[np.ndarray, " k"], *, own: int) -> str:
    """Right answers on blue, mistakes on red, the stronger the larger their share of the class."""
    return "".join(
        f'<td style="{_colors(count / row.sum(), is_right=index == own)}">{count}</td>' if count else "<td></td>"
        for index, count in enumerate(row)
    )


def _colors(share: float, *, is_right: bool) -> str:
    background = f"background:rgba({'59,111,212' if is_right else '192,57,43'},{max(share, 0.12):.2f})"
    return background + (";color:#fff" if share > 0.6 else "")
