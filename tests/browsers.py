"""Visits of pages in the machine's Chromium, and what the pages ask for."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Route

from chromium import PATIENCE_S, wait_until


@dataclass(slots=True)
class Visit:
    """A page that is open, and what it asked for."""

    page: Page
    origin: str
    requests: list[str] = field(default_factory=list)
    """Method and path of each request to the origin."""
    foreign: list[str] = field(default_factory=list)
    """URLs of requests to elsewhere, which were refused."""
    errors: list[str] = field(default_factory=list)
    """Errors on the console, and exceptions that nobody caught."""

    def wait_until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        wait_until(self.page, expression)

    def forget_refusals(self) -> None:
        """Forget the console's errors about answers with a status of 400 or more, where a test wants one."""
        self.errors[:] = [error for error in self.errors if "Failed to load resource" not in error]


@contextmanager
def visit(browser: Browser, url: str, *, token: str = "", **settings: Any) -> Generator[Visit]:
    """Open a page in a fresh session; at the end, nothing outside its origin was asked for, and nothing went wrong.

    Args:
        browser: The browser.
        url: The page.
        token: Token of the session, as the page keeps it; empty for none.
        settings: Those of Playwright's `new_context`.
    """
    parts = urlsplit(url)
    with browser.new_context(**settings) as context:
        if token:
            context.add_init_script(f"sessionStorage.setItem('timesformer-token', {token!r})")
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE_S)
        visited = Visit(page=page, origin=f"{parts.scheme}://{parts.netloc}")
        _watch(visited)
        page.goto(url)
        yield visited
        assert visited.foreign == []
        assert visited.errors == []


def _watch(visited: Visit) -> None:
    def guard(route: Route) -> None:
        parts = urlsplit(route.request.url)
        if f"{parts.scheme}://{parts.netloc}" != visited.origin:
            visited.foreign.append(route.request.url)
            route.abort()
        else:
            visited.requests.append(f"{route.request.method} {parts.path}")
            route.fallback()

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            visited.errors.append(message.text)

    visited.page.context.route("**/*", guard)
    visited.page.on("filechooser", lambda chooser: None)  # asked for now, so that a chooser right after is not missed
    visited.page.on("console", note)
    visited.page.on("pageerror", lambda error: visited.errors.append(str(error)))
