"""One browser for the tests of a file."""

import pytest


@pytest.fixture(scope="module")
def chromium():
    """A browser; tests that want it are left out if the machine has none."""
    from playwright.sync_api import expect

    from chromium import PATIENCE_S, launched

    expect.set_options(timeout=1000 * PATIENCE_S)
    with launched() as browser:
        yield browser
