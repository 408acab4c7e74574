"""How `--help` looks: short names first, old spellings left out, defaults as they are typed."""

from typing import Any

from cyclopts.help import ColumnSpec, DefaultFormatter, DescriptionRenderer, HelpEntry

_OLD_NAMES = frozenset({"--preset", "--sheet"})
"""Old spellings of options, which still work."""
_NAME_FRACTION = 0.35


def make_formatter() -> DefaultFormatter:
    """The formatter of every panel of `--help`."""
    return DefaultFormatter(column_specs=_columns)


def default_worth_showing(default: Any) -> str | None:
    """The default to show in `--help`; hidden for None, False and empty values."""
    return None if default is None or default is False or default in ("", ()) else str(default)


def _columns(console: Any, options: Any, entries: list[HelpEntry]) -> tuple[ColumnSpec, ...]:
    width = int(console.width * _NAME_FRACTION)
    names = ColumnSpec(renderer=_names, style="cyclopts.name", max_width=width)
    return names, ColumnSpec(renderer=DescriptionRenderer(), overflow="fold")


def _names(entry: HelpEntry) -> str:
    """Names of an option, such as `-o, --output PATH`; of a switch that is on by default, the name to turn it off."""
    longs = entry.negative_names or entry.positive_names
    current = tuple(name for name in longs if name not in _OLD_NAMES) or longs
    options = ", ".join((*entry.positive_shorts, *current))
    if not entry.positional_label:
        return f"{options} {entry.metavar}" if entry.metavar else options
    if not options:
        return entry.positional_label
    return f"{options} {entry.metavar or entry.positional_label}"
