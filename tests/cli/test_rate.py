"""The last line of a run over ten videos or more: how many a second, and what limits them."""

import json
import re

import pytest

from job_tasks import decoding_here, run_here

LINE = (
    r"10 videos in [\d.]+ s, [\d.]+ a second; limited by (the model, which|decoding: the model) waited for videos \d+% "
    r"of the time"
)


@pytest.fixture(scope="session")
def ten(tmp_path_factory, video_folder):
    """Ten videos in three class folders, and a list of labeled ones."""
    folder, files = tmp_path_factory.mktemp("ten") / "videos", sorted(video_folder.rglob("*.mp4"))
    for number in range(10):
        source = files[number % len(files)]
        (folder / source.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / source.parent.name / f"{number}.mp4").symlink_to(source)
    return folder


def test_predict(run, model_folder, ten):
    status, out, err = run("predict", ten, "--model", model_folder, "--json")
    assert (status, len([json.loads(line) for line in out.splitlines()])) == (0, 10)
    assert re.fullmatch(LINE, err.strip())


def test_evaluate(run, model_folder, ten):
    status, out, err = run("evaluate", ten, "--model", model_folder, "--num-workers", 0, "--json")
    assert (status, json.loads(out)["num_videos"]) == (0, 10)
    assert re.fullmatch(LINE, err.strip())


def test_embed_and_its_second_start(run, model_folder, ten, tmp_path, monkeypatch):
    monkeypatch.setattr("timesformer.cli.job.run_local", run_here)
    monkeypatch.setattr("timesformer.jobs.video_model.decoding", decoding_here)
    command = ("embed", ten, "--model", model_folder, "--output", tmp_path / "rows", "--workers", 1, "--json")
    status, out, err = run(*command)
    assert (status, json.loads(out)["num_computed"]) == (0, 10)
    assert re.fullmatch(LINE, err.strip())
    assert run(*command)[2] == ""  # nothing was left to compute


def test_few_videos_and_quiet_runs_have_no_line(run, model_folder, ten):
    files = sorted(ten.rglob("*.mp4"))
    assert run("predict", *files[:9], "--model", model_folder)[2] == ""
    assert run("predict", *files, "--model", model_folder, "--quiet")[2] == ""


def test_the_line_comes_before_the_number_of_unreadable_videos(run, model_folder, ten, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    status, _, err = run("predict", *sorted(ten.rglob("*.mp4"))[:9], bad, "--model", model_folder)
    error, line, last = err.splitlines()
    assert (status, last) == (1, "1 of 10 videos could not be read")
    assert error.startswith(f"error: {bad}: ")
    assert re.fullmatch(LINE, line)
