"""HTML page of a check: numbers, findings with pictures, classes, and distributions of sizes and lengths."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from einops import rearrange
from PIL import Image

from timesformer.data.check.data_check import DataCheck
from timesformer.data.check.findings import KINDS, Finding
from timesformer.data.video.reader import open_reader
from timesformer.data.video.segment import Segment, segment_name
from timesformer.errors import DataError, DecodeError
from timesformer.files import replacing
from timesformer.html import data_url, document, encode, escape
from timesformer.outputs import refuse_existing, writing

_MAX_SHOWN = 12
"""Findings per kind shown with pictures; of the others only the names."""
_MAX_LISTED = 200
_MAX_FILES = 6
_MAX_CLASSES = 120
_NUM_PICTURES = 6
_PICTURE_HEIGHT = 84
_MAX_PICTURE_WIDTH = 160
_NUM_BINS = 24

_STYLE = """
:root { --ink:#1b1f24; --soft:#667080; --line:#e3e6ea; --good:#1a7f4b; --bad:#c0392b; --warn:#b7791f; --bar:#3b6fd4;
 --val:#9db8ec; --pale:#f6f8fa } * { box-sizing:border-box }
body { font:15px/1.5 system-ui,sans-serif; color:var(--ink); margin:0; background:#fff }
main { max-width:1080px; margin:0 auto; padding:32px 20px 64px } h1 { font-size:26px; margin:0; overflow-wrap:anywhere }
h2 { font-size:19px; margin:44px 0 12px } h3 { font-size:16px; margin:30px 0 10px } .soft { color:var(--soft) }
.numbers { display:flex; flex-wrap:wrap; gap:36px; margin:24px 0 8px } .numbers b { display:block; font-size:32px }
.good { color:var(--good) } .error { color:var(--bad) } .warning { color:var(--warn) }
.mark { display:inline-block; font-size:12px; padding:0 8px; border-radius:9px; vertical-align:1px }
.mark.error { background:var(--bad); color:#fff } .mark.warning { background:var(--warn); color:#fff }
table { border-collapse:collapse } td,th { padding:4px 16px 4px 0; text-align:left; font-weight:400 }
th { color:var(--soft) } td.n,th.n { text-align:right } table.kinds tr+tr td { border-top:1px solid var(--line) }
a { color:var(--bar); text-decoration:none }
.cards { display:grid; gap:14px; grid-template-columns:repeat(auto-fill,minmax(500px,1fr)) }
.card { border:1px solid var(--line); border-radius:8px; padding:12px 14px; background:var(--pale); overflow:hidden }
.card p { margin:0 0 8px } .card p:last-child { margin:0 } figure { margin:0 0 12px } figure:last-child { margin:0 }
figure img { display:block; max-width:100%; border-radius:4px; margin-bottom:4px }
figcaption { font-size:13px; overflow-wrap:anywhere }
.tag { background:#e8ecf2; border-radius:4px; padding:0 6px; font-size:12px }
.bar { display:inline-block; height:11px; vertical-align:middle; border-radius:2px; background:var(--bar) }
.bar.val { background:var(--val) } .classes td { padding:1px 12px 1px 0; white-space:nowrap }
.spread { display:grid; gap:28px; grid-template-columns:repeat(auto-fit,minmax(300px,1fr)) }
svg text { font:11px system-ui,sans-serif; fill:var(--soft) }
details { margin:10px 0 } summary { cursor:pointer; color:var(--bar) } li { overflow-wrap:anywhere; font-size:13px }
@media (max-width:600px) { .cards { grid-template-columns:1fr } }
"""


def write_check_page(check: DataCheck, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a self-contained page: pictures are embedded, nothing is loaded from elsewhere.

    Videos with findings are decoded again for their pictures, a few for each kind.

    Args:
        check: The check to show.
        path: The HTML file.
        overwrite: Replace an existing file.

    Raises:
        ConfigError: The file already exists and `overwrite` is off.
        DataError: The file cannot be written.
    """
    path = Path(path)
    refuse_existing(path, overwrite=overwrite)
    sections = [_headline(check), _kinds(check), _findings(check), _classes(check), _spreads(check)]
    title = f"Check of {check.source}"
    page = document(title, style=_STYLE, body=f"<h1>{escape(title)}</h1>{''.join(sections)}")
    with writing(path, what="the page", error=DataError), replacing(path) as partial:
        partial.write_text(page, "utf-8")
    return path


def _headline(check: DataCheck) -> str:
    seconds = sum(found.duration_s for found in check.readable)
    length = f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
    numbers = {
        "training videos": (f"{check.num_videos('train')}", ""),
        "training segments": (f"{check.num_entries('train')}", ""),
        "validation videos": (f"{check.num_videos('val')}", ""),
        "validation segments": (f"{check.num_entries('val')}", ""),
        "classes": (f"{len(check.listing.class_names)}", ""),
        "of video": (length, ""),
        "errors": (f"{check.num_errors}", "error" if check.num_errors else "good"),
        "warnings": (f"{check.num_warnings}", "warning" if check.num_warnings else "good"),
    }
    if not check.num_videos("val"):
        del numbers["validation videos"], numbers["validation segments"]
    if not check.listing.has_segments:
        numbers = {name: shown for name, shown in numbers.items() if "segments" not in name}
    cells = (
        f'<div><b class="{look}">{value}</b><span class=soft>{name}</span></div>'
        for name, (value, look) in numbers.items()
    )
    return f"<div class=numbers>{''.join(cells)}</div>"


def _kinds(check: DataCheck) -> str:
    if not check.findings:
        return "<h2>Findings</h2><p class=good>No problems found.</p>"
    rows = []
    for kind, count in check.counts.items():
        severity, meaning = KINDS[kind]
        rows.append(
            f'<tr><td><span class="mark {severity}">{severity}</span><td><a href="#{kind}">{_words(kind)}</a>'
            f"<td class=n>{count}<td class=soft>{meaning}</tr>"
        )
    return f"<h2>Findings</h2><table class=kinds><tr><th><th>finding<th class=n>count<th></tr>{''.join(rows)}</table>"


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _findings(check: DataCheck) -> str:
    return "".join(
        _kind(kind, [finding for finding in check.findings if finding.kind == kind], check) for kind in check.counts
    )


def _kind(kind: str, findings: Sequence[Finding], check: DataCheck) -> str:
    cards = "".join(_card(finding, check) for finding in findings[:_MAX_SHOWN])
    others = findings[_MAX_SHOWN:]
    lines = "".join(
        f"<li>{escape(finding.reason)}: {escape(', '.join(_name(file, check) for file in finding.files))}</li>"
        for finding in others[:_MAX_LISTED]
    )
    more = f"<li>and {len(others) - _MAX_LISTED} more, see check.json</li>" if len(others) > _MAX_LISTED else ""
    rest = f"<details><summary>{len(others)} more</summary><ul>{lines}{more}</ul></details>" if others else ""
    return (
        f'<h3 id="{kind}" class={KINDS[kind][0]}>{_words(kind).capitalize()}</h3><div class=cards>{cards}</div>{rest}'
    )


def _card(finding: Finding, check: DataCheck) -> str:
    entries = finding.segments or tuple((file, None) for file in finding.files)
    figures = "".join(_figure(file, check, segment=segment) for file, segment in entries[:_MAX_FILES])
    hidden = len(entries) - _MAX_FILES
    more = f"<p class=soft>and {hidden} more files, see check.json</p>" if hidden > 0 else ""
    return f"<div class=card><p>{escape(finding.reason)}</p>{figures}{more}</div>"


def _figure(file: Path, check: DataCheck, *, segment: Segment | None) -> str:
    """Frames of a file, or of a segment if it has any, with the labels that are listed for it."""
    listed = dict.fromkeys(
        (video.split, video.given)
        for video in check.listing.videos
        if video.path == file and segment in (None, video.segment)
    )
    tags = " ".join(f"<span class=tag>{split} · {escape(given)}</span>" for split, given in listed)
    found = check.fingerprints.get(file)
    facts = picture = ""
    if found is not None and not found.error:
        facts = f"{found.width}x{found.height}, {found.num_frames} frames, {found.fps:.4g} fps"
        shown = segment if segment is not None and _has_frames(file, segment, check) else None
        strip = film_strip(file, segment=shown, allow_codecs=check.allow_codecs)
        picture = "" if strip is None else f'<img alt="" src="{data_url(strip, "jpeg")}">'
    name = escape(segment_name(_name(file, check), segment))
    return f"<figure>{picture}<figcaption>{name} {tags} <span class=soft>{facts}</span></figcaption></figure>"


def _has_frames(file: Path, segment: Segment, check: DataCheck) -> bool:
    times = check.frame_times.get(file)
    return times is not None and len(segment.frames(times.starts)) > 0


def _name(file: Path, check: DataCheck) -> str:
    """Path of a file, relative to the data set if it lies below it."""
    source = Path(os.path.abspath(check.source))
    folder = next(path for path in (source, *source.parents) if path.is_dir())
    path = Path(os.path.abspath(file))
    return str(path.relative_to(folder) if path.is_relative_to(folder) else file)


def film_strip(file: Path, *, segment: Segment | None = None, allow_codecs: Collection[str] = ()) -> bytes | None:
    """JPEG of evenly spaced frames, in time order from left to right; None if the video can no longer be read."""
    try:
        with open_reader(file, segment=segment, allow_codecs=allow_codecs) as reader:
            indices = (2 * np.arange(_NUM_PICTURES) + 1) * reader.info.num_frames // (2 * _NUM_PICTURES)
            frames = reader.read(np.unique(indices).tolist())
    except DecodeError:  # the file changed since it was checked
        return None
    height, width = frames.shape[1:3]
    size = min(max(round(width * _PICTURE_HEIGHT / height), 1), _MAX_PICTURE_WIDTH), _PICTURE_HEIGHT
    small = np.stack([np.asarray(Image.fromarray(frame).resize(size)) for frame in frames])
    gap = np.full_like(small[:, :, :2], 255)
    return encode(
        rearrange(np.concatenate([small, gap], axis=2), "t h w c -> h (t w) c")[:, :-2], kind="jpeg", quality=82
    )


def _classes(check: DataCheck) -> str:
    names, train, val = check.listing.class_names, check.class_counts("train"), check.class_counts("val")
    largest = max([1, *train, *val])
    order = sorted(range(len(names)), key=lambda label: -train[label])
    hidden = len(order) - _MAX_CLASSES
    if hidden > 0:
        order = order[: _MAX_CLASSES // 2] + order[-_MAX_CLASSES // 2 :]
    has_val = check.num_videos("val") > 0
    rows = []
    for label in order:
        bars = _bar(train[label], largest) + (f"<br>{_bar(val[label], largest, look='bar val')}" if has_val else "")
        rows.append(f"<tr><td>{escape(names[label])}<td>{bars}</tr>")
    legend = "training above, validation below" if has_val else "training"
    note = f"; {hidden} medium classes are not shown" if hidden > 0 else ""
    unit = check.listing.unit.capitalize()
    return (
        f"<h2>Classes</h2><p class=soft>{unit} listed for {legend}, the largest class first{note}.</p>"
        f"<table class=classes>{''.join(rows)}</table>"
    )


def _bar(count: int, largest: int, *, look: str = "bar") -> str:
    look = f'class="{look}" style="width:{round(420 * count / largest)}px"'
    return f"<span {look}></span> <span class={'soft' if count else 'error'}>{count}</span>"


def _spreads(check: DataCheck) -> str:
    measures = check.measures()
    if not check.readable:
        return ""
    charts = [
        _histogram("frames", measures["num_frames"]),
        _histogram("frames per second", measures["fps"]),
        _histogram("seconds", measures["duration_s"]),
        _sizes(check),
    ]
    return f"<h2>Distributions</h2><div class=spread>{''.join(charts)}</div>"


def _histogram(unit: str, values: Sequence[float]) -> str:
    """Histogram of a measure as SVG; a line of text if all values are equal."""
    low, high = min(values), max(values)
    if high - low < 1e-6 * max(high, 1):
        return f"<div><p>{unit}</p><p class=soft>all videos: {low:.4g}</p></div>"
    counts, _ = np.histogram(values, bins=_NUM_BINS, range=(low, high))
    width, height = 300, 110
    step = width / _NUM_BINS
    bars = "".join(
        f'<rect x="{number * step + 0.5:.1f}" y="{height - size:.1f}" width="{step - 1:.1f}" height="{size:.1f}" '
        f'rx="1" fill="var(--bar)"><title>{count} videos</title></rect>'
        for number, count in enumerate(counts.tolist())
        if (size := max(height * count / counts.max(), 2 if count else 0)) > 0
    )
    middle = float(np.median(values))
    at = width * (middle - low) / (high - low)
    return (
        f'<div><p>{unit} <span class=soft>median {middle:.4g}</span></p><svg viewBox="0 -4 {width} {height + 22}" '
        f'width="100%">{bars}<path d="M0 {height}H{width}" stroke="var(--line)"/><path d="M{at:.1f} -4V{height}" '
        f'stroke="var(--ink)" stroke-dasharray="3 3"/><text x="0" y="{height + 15}">{low:.4g}</text>'
        f'<text x="{width}" y="{height + 15}" text-anchor="end">{high:.4g}</text></svg></div>'
    )


def _sizes(check: DataCheck) -> str:
    sizes = check.sizes()
    largest = sizes[0][1]
    rows = "".join(
        f'<tr><td>{size}<td><span class=bar style="width:{max(round(150 * count / largest), 1)}px"></span> '
        f"<span class=soft>{count}</span></tr>"
        for size, count in sizes[:8]
    )
    more = f"<p class=soft>and {len(sizes) - 8} other sizes</p>" if len(sizes) > 8 else ""
    return (
        f"<div><p>width x height <span class=soft>in pixels</span></p><table class=classes>{rows}</table>{more}</div>"
    )
