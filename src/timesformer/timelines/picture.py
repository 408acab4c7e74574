"""Picture of a timeline, as SVG: segments, curves and gaps over time."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from timesformer.files import printable
from timesformer.html import escape
from timesformer.timelines.colors import (
    DARK,
    DARK_PAPER,
    DASHES,
    LIGHT,
    LIGHT_PAPER,
    color_number,
    dash_number,
)
from timesformer.timelines.curves import drawn_classes, thinned
from timesformer.timelines.time_axis import clock, time_ticks, time_unit
from timesformer.timelines.timeline import Curves, Gap, LabeledSegment, Timeline

_WIDTH, _TOP, _RIGHT = 960, 64, 24  # pixels
_ROW, _BAR = 22, 14
_PLOT = 130
_LETTER = 6.8  # of a label, on average
_LABELS = (70, 230)
_MAX_GAPS = 4  # told in words
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")
_FLAT = 0.3  # pixels between which a curve counts as a level line


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where things are, in pixels."""

    left: float
    duration: float
    num_rows: int
    has_plot: bool

    @property
    def right(self) -> float:
        return _WIDTH - _RIGHT

    @property
    def rows_end(self) -> float:
        return _TOP + _ROW * self.num_rows

    @property
    def plot(self) -> float:
        return self.rows_end + 14

    @property
    def bottom(self) -> float:
        return self.plot + _PLOT if self.has_plot else self.rows_end + 4

    def x(self, seconds: float) -> float:
        share = min(max(seconds / self.duration, 0.0), 1.0)
        return self.left + share * (self.right - self.left)

    def y(self, probability: float) -> float:
        return self.plot + _PLOT * (1 - probability)


def to_svg(timeline: Timeline, *, curves: Curves | None = None) -> str:
    """A picture of a timeline, 960 pixels wide: one row per class with its segments, and the curves beneath.

    Rows are in the order in which the classes first occur. A class has the same color in every picture of its model.
    Gaps are hatched. The picture follows the light or dark mode of the page, and its text can be selected.

    Args:
        timeline: The timeline.
        curves: Class probabilities; None draws the segments only. Of a long video, each curve keeps about 2000 points,
            among them all peaks.
    """
    drawn = drawn_classes(timeline, curves)
    classes = list(dict.fromkeys([*(segment.index for segment in timeline.segments), *drawn]))
    labels = [timeline.classes[index] for index in classes]
    last = max((segment.end for segment in timeline.segments), default=0.0)
    layout = _Layout(
        left=_label_width(labels) + 44,
        duration=max(timeline.source.duration, last) or 1.0,
        num_rows=max(len(classes), 1),
        has_plot=bool(drawn),
    )
    height = layout.bottom + 46 + 16 * len(_gap_lines(timeline.gaps))
    parts = [
        *_title(timeline),
        *_axis(layout),
        *_rows(layout, dict(zip(classes, labels, strict=True)), drawn, timeline.segments),
        *(_plot(layout, timeline, curves, drawn) if curves is not None and drawn else ()),
        *_gaps(layout, timeline.gaps),
    ]
    return _document("".join(parts), height=height, name=_name(timeline))


def _document(body: str, *, height: float, name: str) -> str:
    fonts = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="timesformer-timeline" role="img" '
        f'aria-label="{_text(f"Timeline of {name}")}" width="{_WIDTH}" height="{height:g}" '
        f'viewBox="0 0 {_WIDTH} {height:g}" font-size="12" font-family="{fonts}"><style>{_style()}</style>'
        '<defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<path class="hatch" d="M0 0V7"/></pattern></defs>'
        f'<rect class="paper" width="{_WIDTH}" height="{height:g}" rx="6"/>{body}</svg>\n'
    )


def _style() -> str:
    light = _theme(LIGHT, paper=LIGHT_PAPER, ink="#1B1F24", pale="#59636E", line="#D8DEE4", row="#F3F5F7")
    dark = _theme(DARK, paper=DARK_PAPER, ink="#F0F3F6", pale="#A5AEB8", line="#39414B", row="#1F252D")
    rules = {
        "text": "fill:var(--ink)",
        ".pale": "fill:var(--pale)",
        ".paper": "fill:var(--paper)",
        ".row": "fill:var(--row)",
        ".line": "stroke:var(--line);fill:none",
        ".hatch": "stroke:var(--pale);stroke-width:2",
        ".gap": "fill:url(#hatch);opacity:.7",
        ".curve": "fill:none;stroke-width:1.6;stroke-linejoin:round",
        **{f".d{i}": f"stroke-dasharray:{dash}" for i, dash in enumerate(DASHES)},
    }
    return f"{_rules(rules)}{light}@media(prefers-color-scheme:dark){{{dark}}}"


def _theme(colors: Sequence[str], *, paper: str, ink: str, pale: str, line: str, row: str) -> str:
    fills = {f".f{i}": f"fill:{color}" for i, color in enumerate(colors)}
    strokes = {f".s{i}": f"stroke:{color}" for i, color in enumerate(colors)}
    variables = f"--paper:{paper};--ink:{ink};--pale:{pale};--line:{line};--row:{row}"
    return _rules({"": variables, **fills, **strokes})


def _rules(rules: Mapping[str, str]) -> str:
    """Style rules that hold inside this picture only, also if a page contains its markup."""
    return "".join(f".timesformer-timeline {selector}{{{style}}}" for selector, style in rules.items())


def _name(timeline: Timeline) -> str:
    path = timeline.source.path
    return path if "://" in path else PurePath(path).name or path


def _title(timeline: Timeline) -> Iterable[str]:
    source = timeline.source
    facts = (
        clock(source.duration),
        f"{source.num_frames} frames at {source.fps:.4g} a second" + (" on average" if source.is_variable else ""),
        f"windows of {timeline.window:.3g} s every {timeline.stride:.3g} s",
        f"{len(timeline.segments)} segment{'' if len(timeline.segments) == 1 else 's'}",
    )
    yield f'<text x="20" y="28" font-size="16" font-weight="600">{_text(_shortened(_name(timeline), 100))}</text>'
    yield f'<text class="pale" x="20" y="47">{_text(" · ".join(facts))}</text>'


def _rows(
    layout: _Layout, labels: Mapping[int, str], drawn: Collection[int], segments: Sequence[LabeledSegment]
) -> Iterable[str]:
    for row, (index, label) in enumerate(labels.items()):
        top = _TOP + row * _ROW
        middle, style = top + _ROW / 2, f"s{color_number(index)} d{dash_number(index)}"
        if index in drawn:
            yield f'<path class="curve {style}" d="M{layout.left - 30:g} {middle:g}h22"/>'
        yield (
            f'<rect class="row" x="{layout.left:g}" y="{top + 2}" width="{layout.right - layout.left:g}" '
            f'height="{_ROW - 4}"/>'
            f'<text x="{layout.left - (36 if layout.has_plot else 8):g}" y="{middle + 4:g}" text-anchor="end">'
            f"{_text(_shortened(label, _LABELS[1] / _LETTER))}<title>{_text(label)}</title></text>"
        )
        mine = [segment for segment in segments if segment.index == index]
        yield from (_bar(layout, segment, top=top + (_ROW - _BAR) / 2) for segment in mine)
    if not labels:
        yield f'<text class="pale" x="{layout.left + 6:g}" y="{_TOP + 15}">no segments</text>'


def _bar(layout: _Layout, segment: LabeledSegment, *, top: float) -> str:
    left = layout.x(segment.start)
    width = max(layout.x(segment.end) - left, 0.75)
    told = f"{segment.label}: {clock(segment.start)} to {clock(segment.end)}, {segment.score:.0%}"
    return (
        f'<rect class="f{color_number(segment.index)}" x="{left:.2f}" y="{top:g}" width="{width:.2f}" '
        f'height="{_BAR}" rx="{min(2.0, width / 3):.2g}"><title>{_text(told)}</title></rect>'
    )


def _plot(layout: _Layout, timeline: Timeline, curves: Curves, drawn: Sequence[int]) -> Iterable[str]:
    for share in (0, 0.5, 1):
        y = layout.y(share)
        yield f'<path class="line" d="M{layout.left:g} {y:g}H{layout.right:g}"/>'
        yield f'<text class="pale" x="{layout.left - 8:g}" y="{y + 4:g}" text-anchor="end">{share:.0%}</text>'
    middle = layout.plot + _PLOT / 2
    x = layout.left - 52
    yield (
        f'<text class="pale" x="{x:g}" y="{middle:g}" text-anchor="middle" '
        f'transform="rotate(-90 {x:g} {middle:g})">probability</text>'
    )
    for index in drawn:
        path = _path(layout, curves, index, gaps=timeline.gaps)
        yield (
            f'<path class="curve s{color_number(index)} d{dash_number(index)}" d="{path}">'
            f"<title>{_text(timeline.classes[index])}</title></path>"
        )


def _path(layout: _Layout, curves: Curves, index: int, *, gaps: Sequence[Gap]) -> str:
    """The curve of a class, interrupted by gaps."""
    values = curves.probabilities[:, index]
    kept = thinned(curves.times, values)
    times = curves.times[kept]
    x = [round(layout.x(time), 1) for time in times.tolist()]
    y = [round(layout.y(value), 1) for value in values[kept].tolist()]
    starts = np.searchsorted(times, [(gap.start + gap.end) / 2 for gap in gaps]).tolist()
    ends = {0, *starts, *(start - 1 for start in starts), len(x) - 1}
    path, last = [], 0.0
    for i in range(len(x)):
        if i in ends or abs(y[i] - last) > _FLAT or abs(y[i + 1] - y[i]) > _FLAT:
            path.append(f"{'M' if i == 0 or i in starts else 'L'}{x[i]:g} {y[i]:g}")
            last = y[i]
    return "".join(path)


def _axis(layout: _Layout) -> Iterable[str]:
    for seconds, text in time_ticks(layout.duration):
        x = layout.x(seconds)
        yield f'<path class="line" d="M{x:.1f} {_TOP - 2}V{layout.bottom + 5:g}"/>'
        yield f'<text class="pale" x="{x:.1f}" y="{layout.bottom + 19:g}" text-anchor="middle">{text}</text>'
    middle = (layout.left + layout.right) / 2
    yield (
        f'<text class="pale" x="{middle:g}" y="{layout.bottom + 36:g}" text-anchor="middle">'
        f"time ({time_unit(layout.duration)})</text>"
    )


def _gaps(layout: _Layout, gaps: Sequence[Gap]) -> Iterable[str]:
    for gap in gaps:
        left = layout.x(gap.start)
        yield (
            f'<rect class="gap" x="{left:.2f}" y="{_TOP}" width="{max(layout.x(gap.end) - left, 1):.2f}" '
            f'height="{layout.bottom - _TOP:g}"><title>{_text(_told(gap))}</title></rect>'
        )
    for line, text in enumerate(_gap_lines(gaps)):
        y = layout.bottom + 54 + 16 * line
        yield f'<rect class="gap" x="{layout.left:g}" y="{y - 10:g}" width="16" height="11"/>'
        yield f'<text class="pale" x="{layout.left + 22:g}" y="{y:g}">{_text(text)}</text>'


def _gap_lines(gaps: Sequence[Gap]) -> list[str]:
    lines = [_told(gap) for gap in gaps[:_MAX_GAPS]]
    rest = gaps[_MAX_GAPS:]
    if rest:
        lines.append(f"{len(rest)} more, {clock(sum(gap.end - gap.start for gap in rest))} in all")
    return lines


def _told(gap: Gap) -> str:
    return f"no frames from {clock(gap.start)} to {clock(gap.end)}: {gap.reason}"


def _label_width(labels: Iterable[str]) -> float:
    low, high = _LABELS
    return min(max([low, *(_LETTER * _num_columns(label) for label in labels)]), high)


def _shortened(text: str, columns: float) -> str:
    """A text that fits, with an ellipsis if something is left out."""
    if _num_columns(text) <= columns:
        return text
    while _num_columns(text) > columns - 1:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _num_columns(text: str) -> int:
    """Width of a text in letters; Chinese, Japanese and Korean ones are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _text(text: str) -> str:
    """Text as XML; control characters, which XML cannot express, become U+FFFD."""
    return escape(_CONTROL.sub("\ufffd", printable(text)))
