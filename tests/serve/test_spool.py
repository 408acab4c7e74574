"""The private folder of uploads: who may read it, and what becomes of it."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from timesformer.serve.spool import remove_leftovers, upload_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows locks no files this way")

HOLDER = """
import sys, time
from pathlib import Path
from timesformer.serve.spool import upload_folder
with upload_folder(Path(sys.argv[1])) as folder:
    (folder / "clip").write_text("private")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """A process with an upload folder, and the folder."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE, text=True, env=environment
    )
    with process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_only_the_user_reads_it_and_it_is_removed(tmp_path):
    with upload_folder(tmp_path) as folder:
        (folder / "clip").touch()
        for each in (folder, folder.parent):
            assert stat.S_IMODE(each.stat().st_mode) == 0o700
    assert not list(tmp_path.iterdir())


def test_it_is_removed_after_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), upload_folder(tmp_path) as folder:
        (folder / "missing").unlink()
    assert not list(tmp_path.iterdir())


def test_the_next_server_removes_what_a_killed_one_left(tmp_path, holder):
    process, left = holder
    with upload_folder(tmp_path):
        assert (left / "clip").exists()  # its server runs
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (left / "clip").exists()
    with upload_folder(tmp_path) as folder:
        assert not left.parent.exists()
        assert folder.exists()


def test_foreign_folders_are_kept(tmp_path):
    (tmp_path / "timesformer-serve-file").touch()
    (tmp_path / "timesformer-serve-link").symlink_to(tmp_path)
    (tmp_path / "other").mkdir()
    fresh, old = tmp_path / "timesformer-serve-fresh", tmp_path / "timesformer-serve-old"
    fresh.mkdir()  # of a server that has not locked it yet
    old.mkdir()
    os.utime(old, (time.time() - 3600,) * 2)
    remove_leftovers(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"timesformer-serve-file", "timesformer-serve-link", "other", "timesformer-serve-fresh"}
