"""What every test starts from: checked shapes, one thread, one seed, and property tests that draw equal examples."""

import os
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # also in processes that tests start: the tests run side by side

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

from chromium import find_chromium
from left_out import describe, need_chromium

# Every layer that handles tensors. `config` checks its own values, and says what is wrong in its own words.
_CHECKED = (
    "model",
    "weights",
    "data",
    "inference",
    "timelines",
    "retrieval",
    "evaluation",
    "explanation",
    "training",
    "export",
    "reproduce",
    "bench",
    "people",
    "heads",
    "fine_tuning",
    "cross_validation",
)
_SCRIPTS = ("decode", "loader", "long_videos", "synthetic_videos", "video_readers")
install_import_hook([*(f"timesformer.{layer}" for layer in _CHECKED), *_SCRIPTS], "typechecker.check")

settings.register_profile("reproducible", deadline=None, derandomize=True)
settings.load_profile("reproducible")
torch.set_num_threads(1)


pytest_plugins = ("web_runtime",)

_LEFT_OUT = pytest.StashKey[int]()
"""Number of tests without the browser that they need."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give all tests with a browser to one process; leave them out on a machine without one, and the summary says so.

    Two drivers of browsers that start at the same time were seen to keep two cores busy for minutes.
    """
    without = [item for item in items if need_chromium(getattr(item, "fixturenames", ()))]
    if find_chromium() is not None:
        for item in without:
            item.add_marker(pytest.mark.xdist_group("browser"))
        return
    config.hook.pytest_deselected(items=without)
    items[:] = [item for item in items if item not in without]
    config.stash[_LEFT_OUT] = len(without)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that started this one, if tests run side by side."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = session.config.stash.get(_LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Every worker collects all tests."""
    node.config.stash[_LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which tests were left out."""
    count = config.stash.get(_LEFT_OUT, 0)
    if count:
        terminalreporter.write_line(describe(count))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
