"""Lists from end to end: every verb that reads one drops, finds or refuses the same."""

import json
import subprocess
import sys
import unicodedata
from dataclasses import replace

import pytest

from timesformer.weights.load import load
from timesformer.weights.model_folder import save

NFC, NFD = (unicodedata.normalize(form, "éclair") for form in ("NFC", "NFD"))


def listed(path, video_folder, text):
    """Write a list in which `L/` and `S/` are the folders of two classes."""
    path.write_text(text.replace("L/", f"{video_folder}/move_left/").replace("S/", f"{video_folder}/shrink/"))
    return path


def arguments(verb, path, model_folder, tmp_path):
    options = {
        "train": ["--output", tmp_path / "run"],
        "evaluate": ["--model", model_folder],
        "shard": ["--output", tmp_path / "shards"],
        "check": ["--num-frames", "6"],
    }
    return [verb, path, *options[verb]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("L/0.mp4 0 8 0\nS/0.mp4 0 8 1\n", "is a range (0 to 8) and a label, or several labels"),
        ("L/0.mp4,0,1\nS/0.mp4,1\n", "'0,1' is several labels; a video has one"),
        ("https://example.org/a.mp4 0\n", "is a URL: download the video first, and list the file"),
        ("L/0.mp4 0\nC:\\videos\\a.mp4 1\n", "is a path on a Windows machine"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "evaluate", "shard", "check"])
def test_every_verb_refuses_what_a_line_cannot_say(verb, text, message, run, video_folder, model_folder, tmp_path):
    path = listed(tmp_path / "list.txt", video_folder, text)
    status, _, err = run(*arguments(verb, path, model_folder, tmp_path))
    assert status == 1
    assert message in " ".join(err.split())


def test_numbers_of_frames_are_no_part_of_the_classes(run, video_folder, model_folder, tmp_path):
    path = listed(tmp_path / "list.txt", video_folder, "L/0.mp4 6 0\nL/1.mp4 6 0\nS/0.mp4 6 1\nS/1.mp4 6 1\n")
    content = json.loads(run("check", path, "--num-frames", "6", "--json")[1])
    assert (list(content["classes"]), content["findings"]) == (["0", "1"], [])
    status, out, _ = run("evaluate", path, "--model", model_folder, "--device", "cpu", "--num-workers", "0", "--json")
    assert status == 0
    assert json.loads(out)["num_videos"] == 4


def test_a_check_warns_of_classes_that_look_alike(run, video_folder, tmp_path):
    path = listed(tmp_path / "list.txt", video_folder, "L/0.mp4 Wave\nL/1.mp4 wave\nS/0.mp4 nan\nS/1.mp4 nan\n")
    status, out, _ = run("check", path, "--num-frames", "6")
    assert status == 0
    assert "similar_classes: 2 classes, with their numbers of training videos: 'Wave' (1), 'wave' (1)" in out
    assert "placeholder_label: class 'nan', videos: 2" in out


def test_a_check_names_the_videos_that_are_commented_out(video_folder, tmp_path):
    path = listed(tmp_path / "list.txt", video_folder, "# L/0.mp4 wave\nL/1.mp4 wave\nS/0.mp4 clap\n")
    command = [sys.executable, "-m", "timesformer", "check", str(path), "--num-frames", "6"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{path}: skipped 1 videos that a '#' makes comments (line 1)" in done.stderr


@pytest.mark.parametrize(("label", "given"), [(NFC, NFD), (NFD, NFC)])
def test_a_model_knows_its_classes_in_any_form_of_their_accents(
    label, given, run, video_folder, model_folder, tmp_path
):
    model = load(model_folder)
    model.info = replace(model.info, labels=("move_left", label, "shrink"))
    save(model, tmp_path / "model")
    path = listed(tmp_path / "list.txt", video_folder, f"L/0.mp4 {given}\nS/0.mp4 shrink\n")
    status, out, _ = run(
        "evaluate", path, "--model", tmp_path / "model", "--device", "cpu", "--num-workers", "0", "--json"
    )
    assert status == 0
    assert json.loads(out)["num_videos"] == 2
