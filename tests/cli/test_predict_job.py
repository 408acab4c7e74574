"""`predict --job` from end to end: real videos, real workers, real kills."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fault_videos import OPENED, write_traps
from job_tasks import bytes_of, quarantine_of, rows_of


@pytest.fixture(scope="session")
def many(tmp_path_factory, video_folder):
    """A folder of 40 videos: more than a chunk."""
    folder = tmp_path_factory.mktemp("many")
    sources = sorted(video_folder.rglob("*.mp4"))
    for number in range(40):
        shutil.copy(sources[number % len(sources)], folder / f"{number:02d}.mp4")
    return folder


@pytest.fixture(scope="session")
def job_of_many(tmp_path_factory, many, model_folder):
    """The folder of a finished job over `many`, and what it printed."""
    folder = tmp_path_factory.mktemp("jobs") / "many"
    done = subprocess.run(command(many, model_folder, folder), capture_output=True, text=True, check=False)
    return folder, done


def command(videos, model, folder, *options):
    return [sys.executable, "-m", "timesformer", "predict", str(videos), "--model", str(model), "--job", str(folder),
            *options]  # fmt: skip


def descendants(process: int) -> set[int]:
    """Processes that a process started, and those that these started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text("utf-8", errors="replace")
        except OSError:
            continue
        parents[int(path.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = {process}
    while True:
        grown = found | {child for child, parent in parents.items() if parent in found}
        if grown == found:
            return found - {process}
        found = grown


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Gate:
    """A pipe at which every decoder waits, in a driver started with `environment`, until its video's name is read."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "opened"
        os.mkfifo(self._path)
        traps = write_traps(folder / "traps")
        paths = [str(traps), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), OPENED: str(self._path)}

    def names(self) -> str:
        """Wait for the name of a video that a decoder opens."""
        return self._path.read_text()


def test_job_has_the_rows_that_predict_prints(run, job_of_many, many, model_folder):
    folder, done = job_of_many
    assert (done.returncode, done.stdout) == (0, f"{folder}/rows/: 40 rows\n")
    assert re.fullmatch(r"40 videos in [\d.]+ s, [\d.]+ a second; limited by .* \d+% of the time\n", done.stderr)
    _, out, _ = run("predict", many, "--model", model_folder, "--json")
    printed = [json.loads(line) for line in out.splitlines()]
    rows = [{name: row[name] for name in printed[0]} for row in rows_of(folder)]
    assert rows == printed


def test_shards_give_the_bytes_of_one_driver(run, job_of_many, many, model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    arguments = ("predict", many, "--model", model_folder, "--job", tmp_path / "job", "--shard")
    status, out, err = run(*arguments, "1/2")
    assert (status, out, err) == (0, f"{tmp_path}/job: shard 1/2 is done; 32 videos of other shards are left\n", "")
    status, out, _ = run(*arguments, "0/2", "--json")
    assert (status, json.loads(out)["num_rows"], json.loads(out)["num_computed"]) == (0, 40, 32)
    assert bytes_of(tmp_path / "job") == bytes_of(job_of_many[0])


@pytest.mark.slow  # 14 seconds: limits of time that pass for real
def test_decoder_that_dies_or_hangs_costs_one_video(job_of_many, many, model_folder, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for number, name in enumerate(["00", "01-kills", "02", "03-hangs", "04"]):
        shutil.copy(many / f"{number:02d}.mp4", videos / f"{name}.mp4")
    (videos / "05-bad.mp4").write_text("no video")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(write_traps(tmp_path / "traps")), *sys.path])}
    done = subprocess.run(
        command(videos, model_folder, tmp_path / "job", "--seconds-per-video", "4"),
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == (
        f"3 of 6 videos have no row: {tmp_path}/job/quarantine.jsonl says why; --retry computes them again\n"
    )
    assert [Path(row["path"]).stem for row in rows_of(tmp_path / "job")] == ["00", "02", "04"]
    killed, hung, bad = quarantine_of(tmp_path / "job")
    assert killed["reason"] == f"{videos}/01-kills.mp4: the decoder crashed (SIGSEGV)"
    assert (killed["signal"], killed["attempts"]) == ("SIGSEGV", 2)
    assert hung["reason"] == f"{videos}/03-hangs.mp4: the decoder gave no result for 4 s"
    assert (hung["signal"], hung["attempts"]) == ("", 2)
    assert "not a video" in bad["reason"]
    assert bad["attempts"] == 1


def test_killed_driver_leaves_no_process_and_its_job_goes_on(job_of_many, many, model_folder, tmp_path):
    gate = Gate(tmp_path)
    with subprocess.Popen(command(many, model_folder, tmp_path / "job"), env=gate.environment) as driver:
        assert gate.names().endswith(".mp4\n")
        children = descendants(driver.pid)
        assert len(children) >= 4  # fork server and worker, fork server of decoders and decoder
        driver.kill()
    while any(map(is_running, children)):
        time.sleep(0.05)
    done = subprocess.run(command(many, model_folder, tmp_path / "job"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/job/rows/: 40 rows\n")
    assert bytes_of(tmp_path / "job") == bytes_of(job_of_many[0])


@pytest.mark.parametrize(
    ("number", "status", "message"),
    [
        (signal.SIGINT, 130, "interrupted: run the same command to continue\n"),
        (signal.SIGTERM, 143, "terminated: run the same command to continue\n"),
    ],
)
def test_interrupted_driver_says_how_to_go_on(run, many, model_folder, tmp_path, number, status, message):
    gate = Gate(tmp_path)
    start = command(many, model_folder, tmp_path / "job")
    with subprocess.Popen(start, env=gate.environment, stderr=subprocess.PIPE, text=True) as driver:
        gate.names()
        second, _, refused = run("predict", many, "--model", model_folder, "--job", tmp_path / "job")
        children = descendants(driver.pid)
        driver.send_signal(number)
        _, err = driver.communicate()
    assert (driver.returncode, err) == (status, message)
    assert not any(map(is_running, children))
    assert second == 2
    assert "another process is computing it: wait for it, or name another folder" in refused


def test_list_of_paths_and_segments(run, many, model_folder, tmp_path):
    (tmp_path / "videos").symlink_to(many)
    (tmp_path / "list.csv").write_text("label,path,start,end\nx,videos/00.mp4,0,0.2\ny,videos/00.mp4,,\n\n")
    status, _, err = run("predict", "--list", tmp_path / "list.csv", "--model", model_folder, "--job", tmp_path / "job")
    assert (status, err) == (0, "")
    first, second = rows_of(tmp_path / "job")
    assert (first["path"], first["start"], first["end"]) == (f"{tmp_path}/videos/00.mp4", 0.0, 0.2)
    assert (second["start"], second["end"]) == (None, None)
    assert first["num_frames"] < second["num_frames"]


def test_other_videos_are_refused(run, job_of_many, many, model_folder):
    status, _, err = run("predict", many / "00.mp4", "--model", model_folder, "--job", job_of_many[0])
    assert status == 2
    assert "holds another job: 39 items were removed (such as " in err
    assert "pass overwrite=True (--overwrite) to remove it" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "ray"], "--engine has no effect without --job, the folder of a batch job"),
        (["--workers", 2], "--workers has no effect without --job"),
        (["--shard", "0/2"], "--shard has no effect without --job"),
        (["--retry"], "--retry has no effect without --job"),
        (["--seconds-per-video", 5], "--seconds-per-video has no effect without --job"),
        (["--memory-per-worker", 5], "--memory-per-worker has no effect without --job"),
        (["--overwrite"], "--overwrite has no effect without --job"),
        (["--job", "JOB", "--shard", "2/2"], "--shard 2/2: shards count from 0: I is from 0 to 1, such as with"),
        (["--job", "JOB", "--shard", "1"], "--shard 1: is not I/N, such as 0/8"),
        (["--job", "JOB", "--shard", "0/0"], "--shard 0/0: shards count from 0"),
        (["--job", "JOB", "--shard", "0/2", "--overwrite"], "--overwrite with --shard would remove the work of other"),
        (["--job", "JOB", "--workers", 0], "workers=0 must be at least 1"),
        (["--job", "JOB", "--seconds-per-video", 0], "seconds_per_video=0.0 must be greater than 0"),
        (["--job", "JOB", "--memory-per-worker", -1], "memory=-1073741824 must not be negative"),
    ],
)  # fmt: skip
def test_options_without_effect_or_out_of_range_are_refused(run, many, model_folder, tmp_path, options, message):
    options = [tmp_path / "job" if option == "JOB" else option for option in options]
    status, out, err = run("predict", many, "--model", model_folder, *options)
    assert (status, out) == (2, "")
    assert message in err
    assert not (tmp_path / "job").exists()


def test_no_videos_at_all_is_wrong_usage(run, model_folder):
    status, _, err = run("predict", "--model", model_folder)
    assert (status, err) == (2, "error: which videos? Give PATH..., or --list with a file of paths\n")


def test_segments_need_a_job(run, model_folder, tmp_path):
    (tmp_path / "list.csv").write_text("path,start,end\na.mp4,1,2\n")
    status, _, err = run("predict", "--list", tmp_path / "list.csv", "--model", model_folder)
    assert status == 2
    assert "segments need --job, the folder of a batch job" in err


def test_missing_pyarrow_is_one_line(run, many, model_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    status, _, err = run("predict", many, "--model", model_folder, "--job", tmp_path / "job")
    assert status == 1
    assert (
        err
        == "error: batch jobs and embeddings need pyarrow, which is not installed: pip install 'timesformer[jobs]'\n"
    )
