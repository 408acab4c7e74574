"""The real onnxruntime-web for tests: given by an environment variable, or downloaded by npm, or not at all.

A plugin of pytest: tests that use the fixture `web_runtime` are left out if there is neither, and the summary says so.
"""

import os
import tempfile
from pathlib import Path

import pytest

from timesformer.errors import TimeSformerError
from timesformer.export.web_runtime import RUNTIME, read_runtime

VARIABLE = "TIMESFORMER_ONNXRUNTIME_WEB"
_FOLDER = pytest.StashKey[tempfile.TemporaryDirectory]()
_REASON = pytest.StashKey[str]()


@pytest.hookimpl(trylast=True)  # after the tests that the command line leaves out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Get the runtime if a test needs it; leave these tests out if there is none."""
    needing = [item for item in items if "web_runtime" in getattr(item, "fixturenames", ())]
    if not needing:
        return
    given = os.environ.get(VARIABLE)
    try:
        files = read_runtime(Path(given) if given else None)
    except TimeSformerError as error:
        config.stash[_REASON] = f"{len(needing)} tests of onnxruntime-web left out ({VARIABLE} names its file): {error}"
        config.hook.pytest_deselected(items=needing)
        items[:] = [item for item in items if item not in needing]
        return
    config.stash[_FOLDER] = tempfile.TemporaryDirectory()
    for name, (inside, _) in RUNTIME.files.items():
        path = Path(config.stash[_FOLDER].name) / inside
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(files[name])


@pytest.fixture(scope="session")
def web_runtime(pytestconfig: pytest.Config) -> Path:
    """Folder with the files of onnxruntime-web that a page needs."""
    return Path(pytestconfig.stash[_FOLDER].name)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the files."""
    folder = config.stash.get(_FOLDER, None)
    if folder is not None:
        folder.cleanup()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that started this one, if tests run side by side."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["web_runtime"] = session.config.stash.get(_REASON, "")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """Every worker collects all tests."""
    node.config.stash[_REASON] = getattr(node, "workeroutput", {}).get("web_runtime", "")


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    """Say which tests were left out, and why."""
    if config.stash.get(_REASON, ""):
        terminalreporter.write_line(config.stash[_REASON])
