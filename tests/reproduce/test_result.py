"""Table, JSON and plot of a result."""

import json
from dataclasses import replace

import matplotlib.image
import pytest

from timesformer.reproduce.plot import draw
from timesformer.reproduce.result import Result, TableRow, markdown, write_result


@pytest.fixture
def result():
    rows = (
        TableRow(
            label="first", value=0.5, interval=(0.4, 0.625), parameters=1_234_567, seeds={0: 0.5},
            paper={"paper params, M": 85.9, "paper K400": 76.9}, remarks={"views": "3"},
        ),
        TableRow(
            label="second", value=0.975, interval=(0.95, 1.0), parameters=2_000_000, seeds={0: 0.95, 1: 1.0},
            paper={"paper K400": 78.0}, remarks={"clip, s": "8.5"},
        ),
    )  # fmt: skip
    return Result(
        name="schemes",
        shows="Table 1",
        title="Schemes",
        quantity="top-1 accuracy",
        setting={"Scale": "laptop"},
        levels={"chance": 0.125},
        rows=rows,
        notes=("A note.",),
    )


def test_the_table_has_the_papers_numbers_next_to_ours(result):
    assert markdown(result).splitlines() == [
        "# Schemes (Table 1)",
        "",
        "Scale: laptop  ",
        "chance: 12.5 %  ",
        "",
        "|  | parameters | ours: top-1 accuracy | paper params, M | paper K400 | views | clip, s |",
        "|---|---|---|---|---|---|---|",
        "| first | 1.23 M | 50.0 % (40.0 to 62.5) | 85.9 | 76.9 | 3 |  |",
        "| second | 2.00 M | 97.5 % (95.0 to 100.0); seeds 95.0, 100.0 |  | 78.0 |  | 8.5 |",
        "",
        "A note.",
    ]


def test_a_narrow_interval_is_printed_with_two_different_ends(result):
    row = replace(result.rows[0], value=1.0, interval=(0.99981, 1.0))
    assert "| 100.0 % (99.98 to 100.00) |" in markdown(replace(result, rows=(row,)))


def test_a_computed_cost_has_no_interval_and_no_percent(result):
    row = TableRow(label="joint", value=3.79345, parameters=86_000_000)
    text = markdown(replace(result, quantity="TMAC of 3 views", rows=(row,), levels={}))
    assert "| joint | 86.00 M | 3.79 |" in text


def test_the_folder_gets_table_and_json_and_nothing_else(result, tmp_path):
    write_result(result, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "table.md"]
    assert (tmp_path / "table.md").read_text() == markdown(result)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["rows"][1]["seeds"] == {"0": 0.95, "1": 1.0}
    assert content["rows"][0]["paper"]["paper K400"] == 76.9


def inked(path):
    """Fraction of the picture's pixels that are not white."""
    return float((matplotlib.image.imread(path)[..., :3].min(axis=2) < 0.9).mean())


def test_bars_grow_with_the_result(result, tmp_path):
    draw(result, tmp_path / "high.png")
    rows = tuple(replace(row, value=row.value / 10, interval=None) for row in result.rows)
    draw(replace(result, rows=rows), tmp_path / "low.png")
    assert inked(tmp_path / "high.png") > 2 * inked(tmp_path / "low.png")


def test_every_panel_of_a_line_plot_is_drawn(result, tmp_path):
    points = [("frames", 2), ("frames", 8), ("pixels", 16), ("pixels", 48)]
    rows = tuple(
        replace(result.rows[0], label=f"{panel} {x}", series="divided", panel=panel, x=x) for panel, x in points
    )
    draw(replace(result, rows=rows), tmp_path / "both.png")
    draw(replace(result, rows=rows[:2]), tmp_path / "one.png")
    both, one = (matplotlib.image.imread(tmp_path / f"{name}.png").shape for name in ("both", "one"))
    assert both[1] > one[1]  # two panels are wider
    assert inked(tmp_path / "both.png") > 0.01
