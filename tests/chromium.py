"""Where the machine's Chromium is, and which tests are left out without one."""

import shutil
from collections.abc import Iterable

NAMES = ("chromium", "chromium-browser", "google-chrome")
FIXTURE = "chromium"
"""Fixture of the tests that need a browser."""


def find_chromium() -> str | None:
    """Path of the machine's Chromium."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def describe(count: int) -> str:
    """The line of the summary about tests that were left out."""
    tests = f"{count} browser test" + ("" if count == 1 else "s")
    return f"{tests} left out: none of {', '.join(NAMES)} is on the PATH (Debian: apt-get install chromium)"


def need_chromium(fixtures: Iterable[str]) -> bool:
    """Whether a test with these fixtures needs a browser."""
    return FIXTURE in fixtures
