"""The picture of a timeline: well-formed, to scale, and readable by everybody."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_timelines import LABELS, make_curves, make_timeline
from timesformer.timelines.colors import DARK, DARK_PAPER, LIGHT, LIGHT_PAPER, to_rgb
from timesformer.timelines.curves import MAX_CURVES, drawn_classes, thinned
from timesformer.timelines.formats.write import write
from timesformer.timelines.picture import to_svg
from timesformer.timelines.time_axis import clock, time_ticks
from timesformer.timelines.timeline import Curves, Gap, Timeline

SVG = "{http://www.w3.org/2000/svg}"
THREE = [("clap", 0.0, 5.0), ("-dash", 5.0, 12.5), ("clap", 15.0, 20.0)]


def elements(svg: str, tag: str, css: str = "") -> list[ET.Element]:
    """Elements whose first class is `css`."""
    found = ET.fromstring(svg).iter(f"{SVG}{tag}")
    return [element for element in found if not css or element.get("class", "").split(" ")[0] == css]


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in elements(svg, "text")]


def bars(svg: str) -> list[tuple[float, float, str]]:
    """Left and right of each segment, and its tooltip."""
    found = [bar for bar in elements(svg, "rect") if re.fullmatch(r"f\d", bar.get("class", ""))]
    return [
        (float(bar.attrib["x"]), float(bar.attrib["x"]) + float(bar.attrib["width"]), bar.findtext(f"{SVG}title") or "")
        for bar in found
    ]


def test_segments_are_drawn_to_scale_in_one_row_per_class():
    svg = to_svg(make_timeline(THREE))
    (row, *_) = elements(svg, "rect", "row")
    left, width = float(row.attrib["x"]), float(row.attrib["width"])
    assert len(elements(svg, "rect", "row")) == 2
    for bar, (label, start, end) in zip(bars(svg), [THREE[0], THREE[2], THREE[1]], strict=True):
        assert bar[:2] == pytest.approx((left + width * start / 20, left + width * end / 20), abs=0.01)
        assert bar[2].startswith(f"{label}: {clock(start)} to {clock(end)}, 75%")


def test_labels_and_the_file_name_are_text_without_markup():
    timeline = make_timeline([(label, i, i + 1) for i, label in enumerate(LABELS)], path="videos/<a> & b.mp4")
    svg = to_svg(timeline, curves=make_curves(timeline))
    assert texts(svg)[0] == "<a> & b.mp4"
    assert set(LABELS) <= set(texts(svg))


def test_what_xml_cannot_express_is_replaced():
    svg = to_svg(make_timeline([("bell\a", 0, 1)], classes=["bell\a"], path="caf\udce9.mp4"))
    assert texts(svg)[0] == r"caf\xe9.mp4"
    assert "bell\ufffd" in texts(svg)


def test_a_long_name_is_shortened_and_told_in_full_on_request():
    name = "a name that goes on and on and on and on and on"
    svg = to_svg(make_timeline([(name, 0, 1)], classes=[name]))
    (label,) = [text for text in elements(svg, "text") if (text.text or "").startswith("a name")]
    assert (label.text or "").endswith("…")
    assert label.findtext(f"{SVG}title") == name


def test_an_address_is_the_title_of_a_stream():
    assert texts(to_svg(make_timeline([], path="rtsp://camera/1")))[0] == "rtsp://camera/1"


def test_an_empty_timeline_says_so():
    assert "no segments" in texts(to_svg(make_timeline([])))
    assert "no segments" in texts(to_svg(make_timeline([], duration=0.0)))


def test_curves_are_drawn_of_classes_that_win_or_have_a_segment():
    timeline = make_timeline(THREE)
    svg = to_svg(timeline, curves=make_curves(timeline))
    named = [curve.findtext(f"{SVG}title") for curve in elements(svg, "path", "curve")]
    assert [name for name in named if name] == ["clap", "-dash"]
    assert elements(to_svg(timeline), "path", "curve") == []


def test_the_curves_of_the_timeline_are_drawn_if_no_others_are_given(tmp_path: Path):
    timeline = make_timeline(THREE)
    curves = make_curves(timeline)
    write(replace(timeline, curves=curves), tmp_path / "own.svg", to="svg")
    write(timeline, tmp_path / "given.svg", to="svg", curves=curves)
    write(timeline, tmp_path / "none.svg", to="svg")
    own, given, none = ((tmp_path / f"{name}.svg").read_text("utf-8") for name in ("own", "given", "none"))
    assert own == given == to_svg(timeline, curves=curves)
    assert none == to_svg(timeline)


def test_a_class_has_the_same_color_whatever_else_is_shown():
    def color(timeline: Timeline) -> str:
        svg = to_svg(timeline, curves=make_curves(timeline))
        (curve,) = [path for path in elements(svg, "path", "curve") if path.findtext(f"{SVG}title") == "-dash"]
        return curve.attrib["class"]

    assert color(make_timeline(THREE)) == color(make_timeline(THREE[1:2])) == f"curve s{LABELS.index('-dash')} d0"


def test_gaps_are_hatched_told_and_interrupt_the_curves():
    gaps = [Gap(start=12.5, end=15.0, reason="stream cut & lost")]
    timeline = make_timeline(THREE, gaps=gaps)
    curves = make_curves(timeline)
    kept = (curves.times < 12.5) | (curves.times >= 15)
    svg = to_svg(timeline, curves=Curves(times=curves.times[kept], probabilities=curves.probabilities[kept]))
    assert "no frames from 12.5 s to 15 s: stream cut & lost" in texts(svg)
    hatched, _ = elements(svg, "rect", "gap")
    (row, *_) = elements(svg, "rect", "row")
    assert float(hatched.attrib["width"]) == pytest.approx(float(row.attrib["width"]) * 2.5 / 20, abs=0.01)
    assert hatched.findtext(f"{SVG}title") == "no frames from 12.5 s to 15 s: stream cut & lost"
    drawn = [path.attrib["d"] for path in elements(svg, "path", "curve") if path.findtext(f"{SVG}title")]
    assert [path.count("M") for path in drawn] == [2, 2]


def test_only_the_first_gaps_are_told_in_words():
    gaps = [Gap(start=i, end=i + 0.5, reason="cut") for i in range(9)]
    svg = to_svg(make_timeline(THREE, gaps=gaps))
    assert sum(text.startswith("no frames from") for text in texts(svg)) == 4
    assert "5 more, 2.5 s in all" in texts(svg)


def test_a_long_video_stays_a_small_file():
    times = np.arange(0, 3 * 3600, 0.1)
    noise = np.random.default_rng(0).random((len(times), 3)).astype(np.float32)
    timeline = make_timeline([("a", 0, 1)], duration=3 * 3600, classes=["a", "b", "c"])
    svg = to_svg(timeline, curves=Curves(times=times, probabilities=noise / noise.sum(axis=1, keepdims=True)))
    assert len(svg) < 3 * 2000 * 14


def test_the_picture_has_both_themes_and_leaves_the_style_of_a_page_alone():
    style = to_svg(make_timeline(THREE)).split("<style>")[1].split("</style>")[0]
    light, dark = style.split("@media(prefers-color-scheme:dark)")
    assert all(f"fill:{color}" in light for color in LIGHT)
    assert all(f"fill:{color}" in dark for color in DARK)
    selectors = re.findall(r"(?:^|[{}])([^{}@]+)\{", style)
    assert all(selector.startswith(".timesformer-timeline ") for selector in selectors)


def test_the_most_frequent_winners_are_drawn_if_there_are_too_many():
    num_classes = MAX_CURVES + 6
    winners = np.repeat(np.arange(num_classes), np.arange(num_classes) + 1)
    probabilities = np.eye(num_classes, dtype=np.float32)[winners]
    curves = Curves(times=np.arange(len(winners), dtype=np.float64), probabilities=probabilities)
    timeline = make_timeline([], classes=[str(i) for i in range(num_classes)])
    assert drawn_classes(timeline, curves) == list(range(6, num_classes))


series = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=400)


@given(values=series, max_points=st.integers(4, 40))
def test_thinning_keeps_the_ends_and_every_extreme(values: list[float], max_points: int):
    heights = np.array(values, dtype=np.float32)
    kept = thinned(np.arange(len(heights), dtype=np.float64), heights, max_points=max_points)
    assert len(kept) <= max_points
    assert (np.diff(kept) > 0).all()
    assert (kept[0], kept[-1]) == (0, len(heights) - 1)
    assert heights[kept].max() == heights.max()
    assert heights[kept].min() == heights.min()


def test_a_short_peak_survives_in_hours_of_curve():
    values = np.zeros(100_000, dtype=np.float32)
    values[[31_415, 31_417]] = 1, 0.5
    kept = thinned(np.arange(100_000) / 10, values)
    assert 31_415 in kept
    assert len(kept) <= 2000


@pytest.mark.parametrize(
    ("duration", "labels"),
    [
        (0.35, ["0", "0.1", "0.2", "0.3"]),
        (12.0, ["0", "2", "4", "6", "8", "10", "12"]),
        (90.0, ["0:00", "0:10", "0:20", "0:30", "0:40", "0:50", "1:00", "1:10", "1:20", "1:30"]),
        (600.0, ["0:00", "2:00", "4:00", "6:00", "8:00", "10:00"]),
        (5400.0, ["0:00", "0:10", "0:20", "0:30", "0:40", "0:50", "1:00", "1:10", "1:20", "1:30"]),
        (86400.0 * 3, ["0:00", "12:00", "24:00", "36:00", "48:00", "60:00", "72:00"]),
    ],
)
def test_ticks_are_round_times(duration: float, labels: list[str]):
    assert [label for _, label in time_ticks(duration)] == labels


@given(st.floats(0.2, 1e8))
def test_an_axis_has_between_2_and_10_ticks(duration: float):
    ticks = time_ticks(duration)
    assert 2 <= len(ticks) <= 11
    assert ticks[-1][0] <= duration * (1 + 1e-6)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (9.876, "9.88 s"), (59.999, "60 s"), (65.9, "1:05"), (3725.0, "1:02:05")]
)
def test_times_are_written_as_people_write_them(seconds: float, text: str):
    assert clock(seconds) == text


def linear(color: str) -> np.ndarray:
    share = np.array(to_rgb(color)) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def luminance(color: str) -> float:
    return float(np.array([0.2126, 0.7152, 0.0722]) @ linear(color))


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB of linear RGB, for the white of sRGB."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = matrix @ rgb.clip(0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


SIGHT = {
    "usual": (np.eye(3), 33),
    "without red cones": (
        np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
        33,
    ),
    "without green cones": (
        np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
        33,
    ),
    "without blue cones": (
        np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
        23,
    ),
}
"""How people see colors, in linear RGB, and the least difference of two. Source: Machado et al. 2009, severity 1."""


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_any_two_colors_are_told_apart(colors: tuple[str, ...], sight: str):
    matrix, least = SIGHT[sight]
    seen = [lab(matrix @ linear(color)) for color in colors]
    assert min(np.linalg.norm(first - second) for first, second in combinations(seen, 2)) >= least


@pytest.mark.parametrize(("colors", "paper"), [(LIGHT, LIGHT_PAPER), (DARK, DARK_PAPER)], ids=["light", "dark"])
def test_colors_stand_out_from_the_paper(colors: tuple[str, ...], paper: str):
    for color in colors:
        low, high = sorted((luminance(color), luminance(paper)))
        assert (high + 0.05) / (low + 0.05) >= 3
