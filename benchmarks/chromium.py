"""The Chromium of the machine, driven by Playwright."""

import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",  # it needs rights that containers do not give; the pages are ours
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
PATIENCE_S = 60
"""How long to wait for what must happen."""


def find_chromium() -> str | None:
    """Path of the machine's Chromium."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def launched() -> "Generator[Browser]":
    """A headless Chromium with a camera that shows a test picture."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(ARGUMENTS))
        yield browser
        browser.close()


def wait_until(page: "Page", expression: str) -> None:
    """Wait until a JavaScript expression is true; Playwright's own way needs `eval`, which the page forbids."""
    end = time.monotonic() + PATIENCE_S
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(50)
