"""Scanning in worker processes gives the same results as in this process, and reports crashes."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from timesformer.data.check import worker_process as module
from timesformer.data.check.data_check import check_dataset
from timesformer.data.check.scan import scan_here
from timesformer.data.check.worker_process import scan_apart
from timesformer.isolation.limits import Limits
from videos import write_frames, write_video


@pytest.fixture
def paths(tmp_path):
    paths = [write_video(tmp_path / f"{number}.mp4", num_frames=5 + number) for number in range(7)]
    (tmp_path / "7.mp4").write_text("no video")
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(paths[6], "8.mp4")
    folder = write_frames(tmp_path / "9", num_frames=4)
    return [*paths, tmp_path / "7.mp4", tmp_path / "s.tar/8.mp4", folder]


@pytest.mark.parametrize("num_workers", [1, 3, 20])
def test_worker_processes_give_the_same_scans_as_one_process(paths, num_workers):
    here = dict(scan_here(paths))
    assert dict(scan_apart(paths, num_workers=num_workers)) == here
    assert [scan.num_frames for scan in here.values()] == [5, 6, 7, 8, 9, 10, 11, 0, 11, 4]
    assert here[paths[8]] == here[paths[6]]


@pytest.fixture
def lurking(monkeypatch):
    """Has child processes die at files of some names, as a faulty decoder would."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(module, "_TARGET", "lurking_decoder:open_scans")


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_file_that_kills_the_decoder_is_unreadable_and_the_others_are_scanned(paths, num_workers, lurking):
    here = dict(scan_here(paths))
    for number, name in enumerate(("crash", "hang", "swell", "end")):
        paths.insert(3 * number, paths[-1].with_name(f"{name}.mp4"))
    limits = Limits(memory=200 * 2**20, call_s=3)
    scans = dict(scan_apart(paths, num_workers=num_workers, limits=limits))
    assert {path.stem: str(error) for path, error in scans.items() if path not in here} == {
        "crash": "crashed (SIGSEGV)",
        "hang": "gave no result for 3 s",
        "swell": "needed more than 200 MiB of memory",
        "end": "ended with exit code 1",
    }
    assert {path: scans[path] for path in here} == here


def test_a_check_goes_on_after_a_crash_and_does_not_keep_it(tmp_path, lurking, monkeypatch):
    paths = [tmp_path / name for name in ("a/1.mp4", "a/crash.mp4", "b/3.mp4")]
    for number, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        write_video(path, num_frames=9 + number)
    result = check_dataset(tmp_path, num_workers=2)
    unreadable = [(finding.files, finding.reason) for finding in result.findings if finding.kind == "unreadable"]
    assert unreadable == [((paths[1],), "the decoder crashed (SIGSEGV)")]
    assert [found.num_frames for found in result.readable] == [9, 11]
    monkeypatch.undo()
    assert sorted(found.num_frames for found in check_dataset(tmp_path).readable) == [9, 10, 11]


def test_modules_in_the_working_folder_are_not_imported(paths, tmp_path, monkeypatch):
    (tmp_path / "pickle.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    assert dict(scan_apart(paths, num_workers=1)) == dict(scan_here(paths))


def test_a_process_imports_nothing_heavy():
    heavy = {"torch", "numpy", "jaxtyping", "rich", "PIL"}
    code = f"import sys, timesformer.data.check.scan; print(*{heavy} & {{*sys.modules}})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
