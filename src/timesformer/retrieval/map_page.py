"""The map of an index as one HTML file, which loads nothing from elsewhere."""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from timesformer.evaluation.report.page import write_page
from timesformer.html import document, escape
from timesformer.retrieval.map import COLORED_BY, EmbeddingMap
from timesformer.retrieval.pictures import Clip, OnProgress, PictureOptions, pictures
from timesformer.timelines.colors import DARK, DARK_PAPER, LIGHT, LIGHT_PAPER

_PLACES = 3
_ASPECT = 0.74
"""Height of the plot over its width, without margins."""
_STYLE, _SCRIPT = "map.css", "map.js"


def write_map(
    found: EmbeddingMap,
    path: str | Path,
    *,
    title: str,
    options: PictureOptions | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = lambda done, total: None,
) -> int:
    """Write the page of a map: points in the color and shape of their class, with a picture, class and path of each.

    Args:
        found: The map.
        path: The HTML file.
        title: Heading of the page.
        options: How the pictures of the videos are made.
        overwrite: Replace an existing file.
        on_progress: Called with the pictures done and in total.

    Returns:
        Number of videos without a picture, because they are not there or cannot be decoded.

    Raises:
        ConfigError: The file already exists and `overwrite` is False.
        DataError: The file cannot be written.
    """
    rows = found.described()
    clips = [Clip(row["path"] or "", row["start"], row["end"]) for row in rows]
    thumbnails = list(pictures(clips, options or PictureOptions(), on_progress=on_progress))
    write_page(_page(found, rows, thumbnails, title=title), Path(path), overwrite=overwrite)
    return thumbnails.count(None)


def _page(found: EmbeddingMap, rows: Sequence[dict[str, Any]], thumbnails: Sequence[str | None], *, title: str) -> str:
    fields = [_field(name, [row[name] for row in rows]) for name in COLORED_BY]
    content = {
        "layouts": {"tsne": _scaled(found.tsne), "pca": _scaled(found.pca)},
        "fields": [field for field in fields if field["names"]],
        "paths": [_name(row) for row in rows],
        "scores": [row["score"] for row in rows],
        "pictures": thumbnails,
    }
    data = json.dumps(content, allow_nan=False).replace("<", "\\u003c")  # a path must not end the script
    folder = files("timesformer.retrieval") / "static"
    script = (folder / _SCRIPT).read_text("utf-8")
    body = (
        f"<h1>{escape(title)}</h1>{_intro(found)}{_controls(found)}"
        f'<script type="application/json" id="data">{data}</script><script>{script}</script>'
    )
    return document(title, style=_colors() + (folder / _STYLE).read_text("utf-8"), body=body)


def _intro(found: EmbeddingMap) -> str:
    shown, total = len(found.rows), len(found.index)
    count = f"{total:,} clips" if shown == total else f"{shown:,} of {total:,} clips, each class by its share"
    model = found.index.catalog.model_sha256
    made = f", made by the model <code>{escape(model[:12])}</code>" if model else ""
    return (
        f"<p class=soft>{count}{made}. Points that lie next to each other are similar. Move with the mouse or, once "
        "the map has the focus, with the arrow keys; Page Down and Page Up go through all clips. The list of classes "
        "shows and hides them.</p>"
    )


def _controls(found: EmbeddingMap) -> str:
    first, second = (f"{fraction:.0%}" for fraction in found.pca_fractions)
    return (
        "<form id=controls><fieldset><legend>layout</legend>"
        f"<label><input type=radio name=layout value=tsne checked>t-SNE, perplexity {found.perplexity:.3g}</label>"
        f"<label><input type=radio name=layout value=pca>principal components, {first} and {second} of the variance"
        "</label></fieldset><label id=by>color by <select name=field></select></label></form>"
        '<div id=page><div id=plot tabindex=0 role=application aria-label="map; arrow keys move from point to point">'
        '<svg viewBox="0 0 1000 760" aria-hidden=true></svg><div id=card hidden></div></div>'
        "<div id=side><div id=buttons><button type=button data-all=1>all</button>"
        '<button type=button data-all="">none</button></div><ul id=legend></ul></div></div>'
        "<p id=said class=hidden aria-live=polite></p><noscript>The map needs JavaScript.</noscript>"
    )


def _field(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """The classes of a column in the order of their names, and that of each point; -1 for none."""
    names = sorted({str(value) for value in values if value is not None})
    number = {each: place for place, each in enumerate(names)}
    of = [-1 if value is None else number[str(value)] for value in values]
    return {"title": COLORED_BY[name], "names": names, "of": of}


def _name(row: dict[str, Any]) -> str:
    times = "" if row["start"] is None or row["end"] is None else f", {row['start']:g} to {row['end']:g} s"
    return f"{row['path'] or row['id']}{times}"


def _scaled(points: Float64[np.ndarray, "n 2"]) -> list[list[float]]:
    """Coordinates that fill the plot: -1 to 1 across, -`_ASPECT` to `_ASPECT` up, with one scale for both."""
    centered = points - (points.max(axis=0) + points.min(axis=0)) / 2
    size = np.abs(centered / [1, _ASPECT]).max()
    return (centered / (size if size > 0 else 1)).round(_PLACES).tolist()


def _colors() -> str:
    """The colors of classes as variables, for light and dark screens."""
    light, dark = ("".join(f"--c{number}:{color};" for number, color in enumerate(colors)) for colors in (LIGHT, DARK))
    return (
        f":root{{{light}--paper:{LIGHT_PAPER};--ink:#1b1f24;--soft:#667080;--line:#e3e6ea;color-scheme:light}}"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}--paper:{DARK_PAPER};--ink:#e6edf3;--soft:#9aa4b0;"
        "--line:#30363d;color-scheme:dark}}"
    )
