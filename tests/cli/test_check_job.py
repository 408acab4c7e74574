"""`timesformer check --job` from end to end."""

import json
import shutil

import pytest

from planted_faults import FINDINGS, LEFT_OUT, plant


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def job(planted, tmp_path_factory):
    """The folder of a finished job over the planted data set; not yet made."""
    return tmp_path_factory.mktemp("jobs") / "check"


def test_findings_page_and_lists_equal_those_of_a_plain_check(run, planted, job, tmp_path):
    plain = run("check", planted, "--json", "--fix", tmp_path / "plain", "--output", tmp_path / "page")
    by_job = run("check", planted, "--json", "--fix", tmp_path / "fixed", "--output", tmp_path / "page2", "--job", job,
                 "--workers", "1")  # fmt: skip
    assert (by_job[0], by_job[2]) == (plain[0], plain[2]) == (1, plain[2])
    first, second = json.loads(plain[1]), json.loads(by_job[1])
    listed = {(f["kind"], tuple(file.removeprefix(f"{planted}/") for file in f["files"])) for f in second["findings"]}
    assert listed == FINDINGS
    assert len(second["fix"]["left_out"]) == len(LEFT_OUT)
    for content in (first, second):
        del content["page"], content["fix"]["lists"]
    assert first == second
    for name in ("train.csv", "val.csv"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "fixed" / name).read_bytes()
    assert (tmp_path / "page/index.html").read_bytes() == (tmp_path / "page2/index.html").read_bytes()


def test_cache_is_neither_read_nor_written(planted, job):
    shutil.rmtree(job, ignore_errors=True)
