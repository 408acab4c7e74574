"""One folder, one training at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from timesformer.errors import ConfigError
from timesformer.training.run_folder import RunFolder, alone_in

HOLD = """
import sys
from pathlib import Path
from timesformer.training.run_folder import RunFolder, alone_in

with alone_in(RunFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_does_not_train_into_the_same_folder(tmp_path):
    folder = RunFolder(Path(tmp_path / "run"))
    command = [sys.executable, "-c", HOLD, str(folder.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="another process is training into it"), alone_in(folder):
            pass
        other.kill()
    with alone_in(folder):
        assert folder.root.is_dir()
    assert not list(folder.root.iterdir())
