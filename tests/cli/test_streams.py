"""The command line as a shell starts it: with streams that are closed, full or cut off."""

import json
import os
import subprocess
import sys

import pytest

TIMESFORMER = f"{sys.executable} -m timesformer"


def shell(command, cwd, *, unbuffered=False):
    """Run a command of the shell; gives exit status, stdout and stderr."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=cwd,
        env=environment | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr + done.stdout
    assert "Exception ignored" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [("info none", 1, "error: none: no such file"), ("info tiny --set depth=x", 2, "error: info: depth=")],
)
def test_error_is_one_line_where_stdout_is_closed_or_full(tmp_path, arguments, status, message):
    for stream in (">&-", ">/dev/full", ">&- <&-"):
        found, out, err = shell(f"{TIMESFORMER} {arguments} {stream}", tmp_path)
        assert (found, out) == (status, "")
        assert err.startswith(message) and err.count("\n") == 1


@pytest.mark.parametrize("stream", ["2>&-", "2>/dev/full"])
def test_message_that_cannot_be_told_does_not_enter_the_results(tmp_path, stream):
    assert shell(f"{TIMESFORMER} info none {stream}", tmp_path)[:2] == (1, "")
    assert shell(f"{TIMESFORMER} info none {stream} >&-", tmp_path) == (1, "", "")
    status, out, _ = shell(f"{TIMESFORMER} info tiny --json {stream}", tmp_path)
    assert status == 0
    assert json.loads(out)["model"]["depth"]


@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [("--version", False), ("info --help", False), ("info tiny", False), ("info tiny --json", True)],
)
def test_results_that_are_lost_are_an_error(tmp_path, arguments, unbuffered):
    status, _, err = shell(f"{TIMESFORMER} {arguments} >/dev/full", tmp_path, unbuffered=unbuffered)
    assert status == 1
    assert err == "error: stdout: No space left on device\n"


@pytest.mark.parametrize("arguments", ["--version", "info tiny --json"])
def test_results_that_nobody_wants_are_no_error(tmp_path, arguments):
    assert shell(f"{TIMESFORMER} {arguments} >&-", tmp_path) == (0, "", "")
    assert shell(f"{TIMESFORMER} {arguments} >&- 2>&- <&-", tmp_path) == (0, "", "")


def test_file_that_is_opened_later_does_not_get_what_is_printed(model_folder, video_folder, tmp_path):
    command = f"{TIMESFORMER} evaluate {video_folder} --model {model_folder} --num-workers 0 --csv p.csv"
    assert shell(f"{command} <&- >&- 2>&-", tmp_path)[0] == 0
    table = (tmp_path / "p.csv").read_text()
    assert table.startswith("path,label,") and len(table.splitlines()) == 7


@pytest.mark.parametrize("unbuffered", [False, True])
def test_reader_that_stops_reading_ends_it_quietly(model_folder, video_folder, tmp_path, unbuffered):
    command = f"{TIMESFORMER} predict {video_folder} --model {model_folder} --json"
    assert shell(f"{command} | true", tmp_path, unbuffered=unbuffered) == (1, "", "")


def test_table_is_printed_by_way_of_a_device_or_a_pipe(model_folder, video_folder, tmp_path):
    command = f"{TIMESFORMER} evaluate {video_folder} --model {model_folder} --num-workers 0"
    status, out, _ = shell(f"{command} --csv /dev/stdout | cat", tmp_path)
    assert status == 0
    assert out.startswith("path,label,") and "top-1 " in out
    status, out, _ = shell(f"{command} --csv >(wc -l > rows) && sleep 1 && cat rows", tmp_path)
    assert (status, out.splitlines()[-1].strip()) == (0, "7")
    (tmp_path / "out.txt").write_text("")
    status, _, err = shell(f"{command} --csv /dev/stdout --overwrite > out.txt", tmp_path)
    assert status == 2
    assert "results or messages are printed there" in err
