"""`embed` whose driver is killed: every video has one row, no finished one is read again, and no file is torn."""

import sys

import pytest

from embed_kills import run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")


def found_wrong(result):
    return {what: found for what, found in result["wrong"].items() if found}


def test_two_kills_lose_no_row(tmp_path):
    result = run(tmp_path, files=80, kills=2, seed=1, corrupt=2, level="patch")
    result["wrong"].pop("not killed")  # a machine that is busy elsewhere may see the end of the job first
    assert found_wrong(result) == {}


@pytest.mark.slow  # twelve starts of the command line, each with a worker and decoders that import torch: 60 s
def test_ten_kills_lose_no_row(tmp_path):
    result = run(tmp_path, files=480, kills=10, seed=2, corrupt=5)
    assert found_wrong(result) == {}
    assert result["kills"] == 10
