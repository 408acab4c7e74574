"""Times as people and tools write them, in seconds: `12.5`, `01:02.5`, `1:00:02.500`."""

import re
from decimal import Decimal

from timesformer.errors import DataError

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,3})?", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_CLOCK = re.compile(r"(?:([0-9]+):)?([0-9]+):([0-9]{1,2}(?:[.,][0-9]+)?)")


def parse_seconds(text: str, *, where: str, has_decimal_comma: bool = False) -> float:
    """Seconds that a text states: a number, `MM:SS` or `HH:MM:SS`, with any number of decimals.

    Args:
        text: The text, without space around it.
        where: File, line and column, for messages.
        has_decimal_comma: Whether `12,5` is 12.5, as in files separated by semicolons; elsewhere it is refused, since a
            comma may also separate thousands. `MM:SS,s` is always read.

    Raises:
        DataError: The text is not a time.
    """
    if _COMMA.fullmatch(text) and has_decimal_comma:
        text = text.replace(",", ".")
    if _NUMBER.fullmatch(text):
        return float(Decimal(text))
    match = _CLOCK.fullmatch(text)
    if match is not None:
        hours, minutes, seconds = int(match[1] or 0), int(match[2]), Decimal(match[3].replace(",", "."))
        if seconds < 60 and (minutes < 60 or match[1] is None):
            return float(3600 * hours + 60 * minutes + seconds)
    hint = "write a decimal point" if _COMMA.fullmatch(text) else "allowed are seconds such as 12.5, MM:SS and HH:MM:SS"
    raise DataError(f"{where}: {text!r} is not a time: {hint}")
