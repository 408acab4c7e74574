"""Tests that are left out on a machine without a browser."""

from collections.abc import Iterable

from chromium import NAMES

FIXTURE = "chromium"
"""Fixture of the tests that need one."""


def need_chromium(fixtures: Iterable[str]) -> bool:
    """Whether a test with these fixtures needs a browser."""
    return FIXTURE in fixtures


def describe(count: int) -> str:
    """The line of the summary about tests that were left out."""
    tests = f"{count} browser test" + ("" if count == 1 else "s")
    return f"{tests} left out: none of {', '.join(NAMES)} is on the PATH (Debian: apt-get install chromium)"
