"""The benchmark scripts start, and those with a table print it."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

import decode
from command_line import run_benchmark
from synthetic_videos import SyntheticVideo

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = (
    "check_speed",
    "decode",
    "explain_utd27",
    "features_utd27",
    "fast_steps",
    "few_videos",
    "initialization",
    "job_faults",
    "kernel_choice",
    "loader",
    "precision_agreement",
    "rollout_memory",
    "serve_load",
    "serve_uploads",
    "sizing",
    "throughput",
    "timeline_hour",
    "timeline_stream",
    "timeline_utd27",
    "utd27_probe",
    "video_zoo",
)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_prints_its_help(name: str):
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["decode.py", "--preset", "tiny", "--rounds", "1", *arguments])
    run_benchmark(partial(decode.run, video=SyntheticVideo(num_frames=14, height=40, width=56), gops=(9,)), "Reads.")


def test_result_is_printed_as_a_table_or_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    _run(monkeypatch, "--only", "whole decode", "--json")
    assert json.loads(capsys.readouterr().out)["bench"] == "decode"
    _run(monkeypatch, "--only", "whole decode")
    assert "GOP 9" in capsys.readouterr().out


def test_usage_errors_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        _run(monkeypatch, "--only", "decrod")
    assert stop.value.code == 2
    assert "only='decrod' is not one of 'timesformer'" in capsys.readouterr().err
