"""A job whose driver and workers are killed, among files that are corrupt or kill their decoder."""

import sys

import pytest

from job_faults import run


@pytest.mark.slow  # four starts of the command line, each with workers and decoders that import torch: 25 s
@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_each_file_ends_once_in_rows_or_quarantine(tmp_path):
    result = run(tmp_path, engine="local", files=96, workers=1, seed=3, share=6, hangs=0)
    assert {what: found for what, found in result["wrong"].items() if found and what != "not killed"} == {}
    assert "driver" in result["kills"]
