"""Scanning in worker processes gives the same results as in this process, and reports crashes."""

import signal
import subprocess
import sys
import tarfile
from queue import SimpleQueue

import pytest

from timesformer.data.check import worker_process as module
from timesformer.data.check.scan import scan_here
from timesformer.data.check.worker_process import scan_apart
from timesformer.errors import DecodeError
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


def test_a_process_that_dies_is_an_error_that_names_its_files(paths, monkeypatch):
    monkeypatch.setattr(module, "_PROGRAM", "import sys; sys.exit(1)")
    with pytest.raises(DecodeError, match=r"crashed or ran out of memory, at one of .*\d\.mp4"):
        list(scan_apart(paths, num_workers=2))


def test_prints_of_a_library_do_not_mix_with_the_scans(paths, monkeypatch):
    chatty = module._PROGRAM.replace("serve(sys", "print('hello', flush=True); serve(sys")
    assert chatty != module._PROGRAM
    monkeypatch.setattr(module, "_PROGRAM", chatty)
    assert dict(scan_apart(paths, num_workers=1)) == dict(scan_here(paths))


class BrokenWorker(module._Worker):
    """Fails at the first request."""

    def __init__(self, error):
        self._error = error

    def send(self, request):
        raise self._error


@pytest.mark.parametrize("error", [BrokenPipeError(), RuntimeError("unexpected")])
def test_any_error_in_a_worker_thread_is_a_response(error, paths):
    responses = SimpleQueue()
    module._feed(BrokenWorker(error), iter([paths[:2]]), responses)
    assert responses.get_nowait() == (paths[:2], error)


def test_a_worker_without_files_is_not_an_error():
    responses = SimpleQueue()
    module._feed(BrokenWorker(BrokenPipeError()), iter([]), responses)
    assert responses.empty()


def test_modules_in_the_working_folder_are_not_imported(paths, tmp_path, monkeypatch):
    (tmp_path / "pickle.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    assert dict(scan_apart(paths, num_workers=1)) == dict(scan_here(paths))


def test_closing_the_iterator_ends_the_processes(paths, monkeypatch):
    processes = []

    def start(*args, **options):
        processes.append(subprocess.Popen(*args, **options))
        return processes[-1]

    monkeypatch.setattr(module, "Popen", start)
    scans = scan_apart(paths, num_workers=2)
    next(scans)
    scans.close()
    assert [process.returncode for process in processes] == [-signal.SIGKILL, -signal.SIGKILL]


def test_a_process_imports_nothing_heavy():
    heavy = {"torch", "numpy", "jaxtyping", "rich", "PIL"}
    code = f"import sys, timesformer.data.check.scan; print(*{heavy} & {{*sys.modules}})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
