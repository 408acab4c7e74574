"""Numbers that no machine has room for, and terminals without room for a table: one line each, at once."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from timesformer.config.run import AugmentConfig, RunConfig
from timesformer.data.video.file_reader import checked_indices
from timesformer.data.video.frame_array import FrameArrayReader
from timesformer.errors import ConfigError, DataError

HUGE = 10**23


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "{videos}", "--batch-size"), "batch_size=10000000000000000000 must be at most 2147483647"),
        (("evaluate", "{videos}", "--batch-size"), "batch_size=10000000000000000000 must be at most 2147483647"),
        (("evaluate", "{videos}", "--num-workers"), "num_workers=10000000000000000000 must be at most 1000"),
        (("check", "{videos}", "--num-workers"), "num_workers=10000000000000000000 must be at most 1000"),
        (("train", "{videos}", "--seed"), "seed=10000000000000000000 must be at most 18446744073709551615"),
        (("train", "{videos}", "--epochs"), "epochs=10000000000000000000 must be at most 1000000000000000"),
        (("train", "{videos}", "--batch-size"), "batch_size=10000000000000000000 must be at most 2147483647"),
        (("synth", "{folder}", "--size"), "size=10000000000000000000 must be at most 8192"),
        (("synth", "{folder}", "--num-frames"), "num_frames=10000000000000000000 must be at most 100000"),
        (("bench", "model", "--preset", "tiny", "--clips"), "clips=10000000000000000000 must be at most 2147483647"),
    ],
)
def test_a_number_that_overflows_is_one_line(run, model_folder, video_folder, tmp_path, arguments, message):
    places = {"videos": video_folder, "folder": tmp_path / "synthetic"}
    given = [argument.format(**places) for argument in arguments]
    model = ("--model", model_folder) if arguments[0] in ("predict", "evaluate") else ()
    status, out, err = run(*given, HUGE, *model)
    assert (status, out) == (2, "")
    assert message in err and err.count("\n") == 1
    assert not (tmp_path / "synthetic").exists()


def test_what_no_memory_holds_is_one_line(run):
    status, _, err = run("bench", "model", "--preset", "tiny", "--rounds", 1, "--only", "ours", "--clips", 2**31 - 1)
    assert (status, err) == (
        1,
        "error: out of memory on this machine: use a smaller batch, fewer frames or a smaller image\n",
    )


@pytest.mark.parametrize("columns", ["0", "1", "2"])
def test_help_ends_where_the_terminal_has_no_columns(columns):
    done = subprocess.run(
        [sys.executable, "-m", "timesformer", "predict", "--help"],
        env=os.environ | {"COLUMNS": columns},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 20


def test_operations_and_workers_have_an_end():
    with pytest.raises(ConfigError, match="rand_augment=1001 must be at most 1000"):
        AugmentConfig(rand_augment=1001)
    with pytest.raises(ConfigError, match="seed=18446744073709551616 must be at most 18446744073709551615"):
        RunConfig(seed=2**64)


OF_ANOTHER_TYPE = """
import sys
import numpy as np
import timesformer as tsf

frames = np.zeros((2, 16, 24, 3), np.uint8)
predictor = tsf.Predictor(sys.argv[1])
assert predictor(frames, fps=np.float32(25)).fps == 25.0
for value in (1.5, "3", None, True):
    for name, call in (
        ("batch_size", lambda: tsf.Predictor(sys.argv[1], batch_size=value)),
        ("top_k", lambda: predictor(frames, top_k=value)),
    ):
        try:
            call()
        except tsf.ConfigError as error:
            assert str(error) == f"{name}={value!r} is not a whole number", error
        else:
            raise SystemExit(f"{name}={value!r} was taken")
for given, wanted in (
    ({"fps": "30"}, "fps=30 must be greater than 0, and finite"),
    ({"video": [frames.tolist()]}, "a video is a path or RGB frames"),
    ({"video": b"clip.mp4"}, "a video is a path or RGB frames"),
    ({"video": 3}, "a video is a path or RGB frames"),
    ({"video": None}, "a video is a path or RGB frames"),
):
    try:
        predictor(**{"video": frames} | given)
    except tsf.DataError as error:
        assert wanted in str(error), error
    else:
        raise SystemExit(f"{given} was taken")
"""


def test_values_of_another_type_are_refused_by_the_predictor(model_folder):
    command = [sys.executable, "-c", OF_ANOTHER_TYPE, str(model_folder)]  # where no type checker comes before
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_rate_that_no_float_holds_is_refused():
    with pytest.raises(DataError, match="must be greater than 0, and finite"):
        FrameArrayReader(np.zeros((2, 8, 9, 3), np.uint8), fps=10**400)


def test_a_frame_number_past_any_end_is_that_of_the_last_frame():
    frames = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    assert np.array_equal(FrameArrayReader(frames, fps=30).read([10**30, 0]), frames[[1, 0]])
    assert checked_indices([10**30])[0] > 10**18


@pytest.mark.parametrize("place", ["{data}", "{data}/train"])
def test_a_run_does_not_begin_among_the_videos(run, video_folder, tmp_path, place):
    data = tmp_path / "data"
    for part in ("train", "val"):
        shutil.copytree(video_folder, data / part)
    status, _, err = run("train", data, "--output", place.format(data=data), "--overwrite", "--epochs", 1)
    assert status == 2 and "is a folder of the data set" in err
    assert sorted(path.name for path in data.iterdir()) == ["train", "val"]
    assert not (data / "train" / "config.toml").exists()
