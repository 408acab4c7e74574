"""The result of a search as one HTML file with pictures."""

from pathlib import Path

from timesformer.evaluation.report.page import write_page
from timesformer.html import document, escape
from timesformer.retrieval.pictures import Clip, PictureOptions, pictures
from timesformer.retrieval.result import Neighbor, SearchResult

NUM_FRAMES = 4
_STYLE = """
:root { --ink:#1b1f24; --soft:#667080; --line:#e3e6ea; --bar:#3b6fd4; --paper:#fff; color-scheme:light dark }
@media (prefers-color-scheme:dark) { :root { --ink:#e6edf3; --soft:#9aa4b0; --line:#30363d; --bar:#5b8def;
--paper:#161b22 } }
* { box-sizing:border-box } body { font:15px/1.5 system-ui,sans-serif; color:var(--ink); background:var(--paper);
margin:0 } main { max-width:1240px; margin:0 auto; padding:28px 24px 48px } h1 { font-size:24px; line-height:1.25;
margin:0 0 4px; overflow-wrap:anywhere } p { margin:0 0 18px } .soft { color:var(--soft) } ol { list-style:none;
margin:0; padding:0; display:grid; gap:22px 24px; grid-template-columns:repeat(auto-fill,minmax(min(380px,100%),1fr)) }
img { display:block; max-width:100%; border-radius:4px } .lost { display:grid; place-items:center; height:96px;
border:1px dashed var(--soft); border-radius:4px; color:var(--soft) } .bar { height:4px; background:var(--line);
border-radius:2px; margin:6px 0 4px } .bar i { display:block; height:4px; border-radius:2px; background:var(--bar) }
b { font-variant-numeric:tabular-nums } .name { display:block; font-size:13px; color:var(--soft);
overflow-wrap:anywhere } section { margin-bottom:28px }
"""


def write_results(
    result: SearchResult,
    path: str | Path,
    *,
    query: Clip,
    options: PictureOptions | None = None,
    overwrite: bool = False,
) -> None:
    """Write the page of a search: the query and what it found, with frames of each.

    Args:
        result: What was found.
        path: The HTML file.
        query: The query as a video; with an empty path, it has no picture.
        options: How the pictures are made.
        overwrite: Replace an existing file.

    Raises:
        ConfigError: The file already exists and `overwrite` is False.
        DataError: The file cannot be written.
    """
    clips = [query, *(Clip(each.path, each.start, each.end) for each in result.neighbors)]
    options = options or PictureOptions(height=96, num_frames=NUM_FRAMES)
    first, *others = pictures(clips, options)
    items = "".join(_item(each, picture) for each, picture in zip(result.neighbors, others, strict=True))
    name = _name(query) or result.query
    how = "compared exactly" if result.is_exact else "searched approximately: a neighbor may be missing"
    body = (
        f"<h1>Clips like {escape(name)}</h1><p class=soft>{result.num_searched:,} of {result.num_rows:,} clips {how}, "
        f"by cosine similarity.</p>{f'<section>{_picture(first)}</section>' if query.path else ''}<ol>{items}</ol>"
    )
    write_page(document(f"Clips like {name}", style=_STYLE, body=body), Path(path), overwrite=overwrite)


def _item(neighbor: Neighbor, picture: str | None) -> str:
    width = 100 * max(0.0, neighbor.similarity)
    label = f" · {escape(neighbor.label)}" if neighbor.label else ""
    true = neighbor.true_label
    truth = f" <span class=soft>(true class: {escape(true)})</span>" if true and true != neighbor.label else ""
    name = _name(Clip(neighbor.path, neighbor.start, neighbor.end)) or neighbor.id
    return (
        f'<li>{_picture(picture)}<div class=bar><i style="width:{width:.1f}%"></i></div>'
        f"<b>{neighbor.rank}</b> · <b>{neighbor.similarity:.3f}</b>{label}{truth}"
        f"<span class=name>{escape(name)}</span></li>"
    )


def _picture(picture: str | None) -> str:
    return f'<img alt="" src="{picture}">' if picture else "<div class=lost>no picture: the video is not there</div>"


def _name(clip: Clip) -> str:
    times = "" if clip.start is None or clip.end is None else f", {clip.start:g} to {clip.end:g} s"
    return f"{clip.path}{times}" if clip.path else ""
