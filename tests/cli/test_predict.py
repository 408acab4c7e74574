import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timesformer.cli.predict import find_videos
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig
from timesformer.errors import ConfigError
from timesformer.weights.load import load
from timesformer.weights.model_folder import save
from tiny import random_model, tiny_config
from videos import write_frames, write_timed


def test_every_video_of_a_folder_gets_a_prediction(run, model_folder, video_folder):
    status, out, err = run("predict", video_folder, "--model", model_folder, "--top-k", 2)
    assert status == 0
    assert out.count(".mp4") == 6
    assert out.count("%") == 12
    assert err == ""


def test_json_has_one_object_a_video_with_probabilities_that_sum_to_one(run, model_folder, video_folder):
    status, out, _ = run("predict", video_folder / "shrink", "--model", model_folder, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [row["path"].endswith(name) for row, name in zip(rows, ("0.mp4", "1.mp4"), strict=True)] == [True, True]
    for row in rows:
        assert sum(row["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert sorted(row["labels"]) == ["move_left", "move_right", "shrink"]  # top 5 of three classes are three
        assert row["num_frames"] == 6


def test_a_bad_file_is_one_line_and_the_others_are_done(run, model_folder, video_folder, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("this is no video")
    good = video_folder / "shrink" / "0.mp4"
    status, out, err = run("predict", bad, good, "--model", model_folder)
    assert status == 1
    assert str(good) in out
    first, last = err.splitlines()
    assert first.startswith(f"error: {bad}: ")
    assert last == "1 of 2 videos could not be read"


def test_a_bad_file_is_a_json_object_too(run, model_folder, tmp_path):
    status, out, _ = run("predict", tmp_path / "missing.mp4", "--model", model_folder, "--json")
    assert status == 1
    assert "missing.mp4" in json.loads(out)["error"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_random_bytes_never_show_a_traceback(run, model_folder, tmp_path, content):
    path = tmp_path / "random.mp4"
    path.write_bytes(content)
    status, _, err = run("predict", path, "--model", model_folder)
    assert status == 1
    assert err.startswith(f"error: {path}: ")


def test_a_pattern_finds_its_files_and_each_file_comes_once(video_folder):
    pattern = str(video_folder / "*" / "0.mp4")
    files = find_videos([pattern, str(video_folder / "shrink" / "0.mp4")])
    assert [os.path.relpath(path, video_folder) for path in files] == [
        "move_left/0.mp4",
        "move_right/0.mp4",
        "shrink/0.mp4",
    ]


@pytest.mark.parametrize("text", ["empty", "*.webm"])
def test_a_place_without_videos_is_refused(tmp_path, text):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no videos found \(looked for"):
        find_videos([str(tmp_path / text)])


def test_a_model_that_is_not_there_is_one_clear_line(run, video_folder):
    status, out, err = run("predict", video_folder, "--model", "no/such/model")
    assert (status, out) == (1, "")
    assert err.startswith("error: no/such/model: no such file or folder")


def test_an_unknown_field_gives_a_suggestion_and_status_2(run, model_folder, video_folder):
    status, _, err = run("predict", video_folder, "--model", model_folder, "--set", "num_frame=4")
    assert status == 2
    assert "did you mean num_frames?" in err


def test_other_frame_counts_can_be_set(run, model_folder, video_folder):
    status, out, _ = run("predict", video_folder, "--model", model_folder, "--set", "num_frames=4", "--json")
    assert status == 0
    assert len(out.splitlines()) == 6


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [("--top-k", 0, "--top-k '0' is not a list of whole numbers from 1"), ("--device", "tpu9", "is not a device")],
)
def test_wrong_values_are_refused_with_status_2(run, model_folder, video_folder, option, value, message):
    status, _, err = run("predict", video_folder, "--model", model_folder, option, value)
    assert status == 2
    assert message in err


def test_hidden_files_of_a_folder_are_no_videos(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "._a.mp4").write_bytes(b"")
    assert find_videos([str(tmp_path)]) == [tmp_path / "a.mp4"]


@pytest.mark.parametrize("place", ["", "deeper"])
def test_a_picture_beside_or_above_videos_does_not_make_the_folder_a_video(place, tmp_path):
    videos = [tmp_path / "more" / place / name for name in ("a.mp4", "b.mp4")]
    videos[0].parent.mkdir(parents=True)
    for path in (*videos, tmp_path / "more/IMG_1234.jpg"):
        path.touch()
    assert find_videos([str(tmp_path / "more")]) == videos


def test_a_folder_of_frames_is_a_video_by_name_and_by_pattern(tmp_path):
    clip = write_frames(tmp_path / "clip", num_frames=2)
    assert find_videos([str(clip)]) == find_videos([str(tmp_path / "*")]) == [clip]


def test_a_pattern_passes_over_a_folder_of_videos_with_a_picture(tmp_path):
    (tmp_path / "more").mkdir()
    for name in ("c.mp4", "more/a.mp4", "more/IMG_1234.jpg"):
        (tmp_path / name).touch()
    assert find_videos([str(tmp_path / "*")]) == [tmp_path / "c.mp4"]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_file_name_is_printed_and_is_valid_json(model_folder, video_folder, tmp_path, encoding):
    name = os.fsdecode(b"gr\xc3\xbcn \xff.mp4")
    try:
        shutil.copy(video_folder / "shrink" / "0.mp4", tmp_path / name)
    except OSError:
        pytest.skip("this file system has no such names")
    command = [sys.executable, "-m", "timesformer", "predict", tmp_path, "--model", model_folder]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for options in ([], ["--json"]):
        done = subprocess.run([*command, *options], capture_output=True, env=environment, check=True)
    assert json.loads(done.stdout)["path"] == str(tmp_path / name)


def test_weights_that_answer_nan_are_an_error(run, model_folder, video_folder, tmp_path):
    model = load(model_folder)
    torch.nn.init.constant_(model.head.bias, float("nan"))
    status, out, err = run("predict", video_folder, "--model", save(model, tmp_path / "broken"), "--json")
    assert (status, out) == (1, "")
    assert "the model outputs nan or inf: its weights are broken" in err


def test_without_a_model_the_demo_is_asked_for(run, video_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = run("predict", video_folder)
    assert status == 2
    assert err == "error: runs/demo does not exist: run `timesformer demo` first, or name a model with --model\n"


def test_the_plain_way_gives_the_same_probabilities(run, model_folder, video_folder):
    rows = []
    for option in ("--fast", "--no-fast"):
        _, out, _ = run("predict", video_folder / "shrink", "--model", model_folder, "--json", option)
        rows.append([json.loads(line)["probabilities"] for line in out.splitlines()])
    torch.testing.assert_close(torch.tensor(rows[0]), torch.tensor(rows[1]), rtol=0, atol=1e-6)


@pytest.mark.slow  # a C++ compiler translates the model: half a minute
@pytest.mark.timeout(600)
def test_a_compiled_model_gives_the_same_probabilities(model_folder, video_folder):
    """In a process of its own: the shape checks of the tests cannot be compiled."""
    command = [
        sys.executable,
        "-m",
        "timesformer",
        "predict",
        video_folder / "shrink",
        "--model",
        model_folder,
        "--json",
    ]
    done = [subprocess.run([*command, *more], capture_output=True, text=True) for more in ([], ["--compile"])]
    assert [process.returncode for process in done] == [0, 0], done[1].stderr
    plain, compiled = ([json.loads(line)["probabilities"] for line in process.stdout.splitlines()] for process in done)
    torch.testing.assert_close(torch.tensor(compiled), torch.tensor(plain), rtol=0, atol=1e-6)


def test_odd_timing_is_a_line_on_stderr_and_a_field_of_the_json(tmp_path):
    model = random_model(tiny_config(), info=ModelInfo(clip=ClipConfig(sampling="center", num_crops=1)))
    path = write_timed(tmp_path / "pause.mp4", [40 * frame + 60000 * (frame > 9) for frame in range(20)])
    told = "a gap of 60.04 s after frame 9; dense clips follow the usual rate of the timestamps, 25 frames a second"
    command = ["predict", path, "--model", save(model, tmp_path / "model"), "--json"]
    done = subprocess.run([sys.executable, "-m", "timesformer", *command], capture_output=True, text=True, check=True)
    row = json.loads(done.stdout)
    assert done.stderr == f"{path}: {told}\n"
    assert (row["timing"], row["fps"], row["duration_s"]) == (told, 25, 0.8)


def test_plausible_timing_is_an_empty_field(run, model_folder, video_folder):
    _, out, err = run("predict", video_folder / "shrink/0.mp4", "--model", model_folder, "--json")
    assert (json.loads(out)["timing"], err) == ("", "")
