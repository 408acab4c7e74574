"""Windows paths between double quotes, in which a backslash starts an escape: in TOML and JSON."""

import json
import os
import re

from timesformer.errors import ConfigError

_QUOTED_PATHS = re.compile(r"""\b(?P<key>train|val|output|init_from)"?\s*[=:]\s*"(?P<path>(?:[^"\\\n]|\\.)+)\"""")
"""Path keys of TOML or JSON with a value in double quotes."""
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-. "


def refuse_backslashes(text: str, *, source: str) -> None:
    """Refuse a Windows path in double quotes, whose backslashes would be escapes: a tab in `"C:\\temp"`.

    Raises:
        ConfigError: The text has one.
    """
    for match in _QUOTED_PATHS.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        is_comment = "#" in text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        if not is_comment and _is_windows_path(match["path"]):
            slashes = match["path"].replace("\\", "/")
            raise ConfigError(
                f"{source}, line {line}: a backslash in double quotes is an escape; write {match['key']} with slashes, "
                f'"{slashes}"'
            )


def _is_windows_path(quoted: str) -> bool:
    """Whether the backslashes of a double-quoted path were meant as separators, not as escapes."""
    escapes = set(re.findall(r"\\(u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", quoted)) & set(_LETTERS)
    if re.match(r"[A-Za-z]:\\[^\\\"uU]", quoted) or not escapes <= set("bfnrt"):
        return True
    return bool(escapes) and not os.path.lexists(json.loads(f'"{quoted}"'))  # a name may hold a tab if the file exists
