"""The sizing script: its formula, its options, and the tables of the page about it."""

import re
import shlex
import sys
from pathlib import Path

import pytest

import sizing
from sizing import Job, core_hours, rows

PAGE = (Path(__file__).parents[2] / "docs/sizing.md").read_text("utf-8")
COMMANDS = re.findall(r"^(?:\$ )?python benchmarks/sizing\.py (--(?:simulate|hours) .+)$", PAGE, re.MULTILINE)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["sizing.py", *words])
    sizing.main()


@pytest.mark.parametrize("command", COMMANDS)
def test_page_shows_what_a_command_prints(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    run(monkeypatch, *shlex.split(command))
    printed = capsys.readouterr().out.rpartition("\n\n")[2]
    assert printed.strip() in PAGE


def test_core_hours_are_those_of_computing_and_of_decoding():
    # 10 hours are 36 000 s: 18 000 clips at 4 a second are 4 500 s, and decoding at 20 times real time 1 800 s
    needed = core_hours(hours=10, stride_s=2, clips_per_second=4, decode_speed=20)
    assert needed == pytest.approx((4500 + 1800) / 3600)


def test_cores_that_also_compute_are_one_stage_and_gpus_another():
    assert [stage.name for stage in Job().stages(4)] == ["storage", "network", "decode and compute", "driver"]
    stages = {stage.name: stage for stage in Job(gpus=2, clips=3, clips_per_second=6).stages(32)}
    assert (stages["decode"].servers, stages["compute"].servers) == (32, 4)
    assert stages["compute"].seconds == 0.5


def test_simulated_rate_stays_near_the_closed_form():
    for row in rows(Job(), [4, 40], variation=0.0, seed=0):
        assert row["limit"] == "decode and compute"
        assert 0.9 * row["files/s at most"] < row["files/s simulated"] <= row["files/s at most"]


def test_rate_of_the_cores_is_needed(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(SystemExit, match="--clips-per-second is needed: what a core of your machines computes"):
        run(monkeypatch, "--hours", "5")
