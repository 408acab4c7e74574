"""The table in `docs/reliability.md`: `PYTHONPATH=tests python -m faults.table` writes it."""

from pathlib import Path

from faults.rows import FAULTS

PAGE = Path(__file__).parents[2] / "docs/reliability.md"
_MARKS = "<!-- table: tests/faults/table.py -->\n", "<!-- end of table -->\n"


def format_table() -> str:
    """The table of all groups in Markdown."""
    lines = []
    for group in dict.fromkeys(fault.group for fault in FAULTS.values()):
        lines += [f"### {group}", "", "| fault | command | expected | observed |", "|---|---|---|---|"]
        rows = [fault for fault in FAULTS.values() if fault.group == group]
        lines += [f"| {row.fault} | `{row.command}` | {row.expected} | {_cell(row.observed)} |" for row in rows]
        lines.append("")
    return "\n".join(lines)


def format_page() -> str:
    """The page with the current table."""
    start, end = _MARKS
    head, _, rest = PAGE.read_text("utf-8").partition(start)
    return f"{head}{start}\n{format_table()}\n{end}{rest.partition(end)[2]}"


def _cell(observed: str) -> str:
    status, _, message = observed.partition(": ")
    return f"{status}: `{message}`" if message else status


if __name__ == "__main__":
    PAGE.write_text(format_page(), "utf-8")
