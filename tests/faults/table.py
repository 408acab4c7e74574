"""The faults, what is expected, and what the tests observed: the one source of the table in `docs/reliability.md`.

`observed` is the exit status and the last line of stderr, to which each test compares what ran.
`python tests/faults/table.py` writes the table into the page.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/reliability.md"
_MARKS = "<!-- table: tests/faults/table.py -->\n", "<!-- end of table -->\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of the table."""

    group: str
    fault: str
    command: str
    expected: str
    observed: str


FAULTS: dict[str, Fault] = {}


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
    sys.exit()
