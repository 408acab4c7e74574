import pytest


@pytest.fixture(scope="module")
def chromium():
    """A browser; tests that want it are left out if the machine has none."""
    from chromium import launched

    with launched() as browser:
        yield browser
