"""On a machine without a browser, the tests that need one are left out, and the summary says so."""

import os
import subprocess
import sys
from pathlib import Path

from left_out import describe

_TESTS = Path(__file__).parents[1]


def test_summary_says_which_tests_were_left_out_without_a_browser(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", _TESTS / "serve/browser"],
        env={**os.environ, "PATH": str(tmp_path)},
        cwd=_TESTS.parent,
        capture_output=True,
        text=True,
    )
    (line,) = (line for line in ended.stdout.splitlines() if "left out" in line)
    count = int(line.split()[0])
    assert count > 0
    assert line == describe(count)
    assert line.endswith(
        "browser tests left out: none of chromium, chromium-browser, google-chrome is on the PATH "
        "(Debian: apt-get install chromium)"
    )
