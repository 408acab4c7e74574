"""Reliability diagram of the report, as SVG."""

from collections.abc import Sequence

from timesformer.evaluation.calibration import Bin

_SIDE = 300  # pixels of the square between the axes
_LEFT, _TOP, _BOTTOM = 46, 20, 42


def reliability_diagram(bins: Sequence[Bin]) -> str:
    """Draw accuracy against confidence, with the gap to the diagonal and the number of videos per bin, as SVG.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", figure 1.
    """
    width, height = _LEFT + _SIDE + 24, _TOP + _SIDE + _BOTTOM
    bars = "".join(_bar(item) for item in bins if item.count)
    return (
        f'<svg role="img" aria-label="reliability diagram" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-size="11" fill="#667080">{_axes()}{bars}'
        f'<path d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}" stroke="#1b1f24" stroke-dasharray="4 4"/></svg>'
    )


def _bar(item: Bin) -> str:
    left, right = _x(item.low), _x(item.high)
    low, high = sorted((item.accuracy, item.confidence))
    return (
        f"<g><title>{item.count} videos, mean probability {item.confidence:.1%}, accuracy {item.accuracy:.1%}</title>"
        f"{_rectangle(left, right, 0, low, 'var(--bar)')}"
        f"{_rectangle(left, right, low, high, 'var(--cautious)' if item.accuracy == high else 'var(--gap)')}"
        f'<text x="{(left + right) / 2:.1f}" y="{_y(high) - 4:.1f}" text-anchor="middle">{item.count}</text></g>'
    )


def _rectangle(left: float, right: float, low: float, high: float, color: str) -> str:
    return (
        f'<rect x="{left + 0.5:.1f}" y="{_y(high):.1f}" width="{right - left - 1:.1f}" '
        f'height="{_y(low) - _y(high):.1f}" fill="{color}"/>'
    )


def _axes() -> str:
    marks = []
    for tenth in range(0, 11, 2):
        fraction = tenth / 10
        marks.append(f'<path d="M{_x(0)} {_y(fraction):.1f}H{_x(1)}" stroke="#e3e6ea"/>')
        marks.append(f'<text x="{_LEFT - 6}" y="{_y(fraction) + 4:.1f}" text-anchor="end">{fraction:.0%}</text>')
        marks.append(f'<text x="{_x(fraction):.1f}" y="{_y(0) + 16}" text-anchor="middle">{fraction:.0%}</text>')
    middle = _TOP + _SIDE / 2
    return (
        f'{"".join(marks)}<text x="{_x(0.5)}" y="{_y(0) + 34}" text-anchor="middle">probability of the predicted class'
        f'</text><text x="10" y="{middle}" text-anchor="middle" transform="rotate(-90 10 {middle})">accuracy'
        "</text>"
    )


def _x(fraction: float) -> float:
    return _LEFT + _SIDE * fraction


def _y(fraction: float) -> float:
    return _TOP + _SIDE * (1 - fraction)
