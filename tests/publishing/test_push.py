"""`timesformer push` to a stand-in of the hub, through the real command line, and back through `load`."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from hub_server import Hub, serve_hub
from timesformer.config.schema import ClipConfig
from timesformer.weights import save
from timesformer.weights.load import load
from timesformer.weights.model_folder import is_model_folder
from tiny import random_model, square_config
from videos import write_video

LABELS = ("jump", "run", "sit", "stand")
Push = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def hub() -> Generator[Hub]:
    with serve_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def push(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Push:
    home = tmp_path_factory.mktemp("hf")
    environment = {
        **os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": hub.token,
    }  # fmt: skip

    def run(*arguments: object, token: str | None = None, verb: str = "push") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "timesformer", verb, *map(str, arguments)]
        given = environment if token is None else {**environment, "HF_TOKEN": token}
        return subprocess.run(command, env=given, text=True, capture_output=True, check=False, timeout=240)

    return run


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = random_model(replace(square_config(), num_classes=len(LABELS)), seed=3)
    model.info = replace(model.info, labels=LABELS, clip=ClipConfig(sampling="uniform", num_crops=1))
    return save(model, tmp_path_factory.mktemp("models") / "mine")


@pytest.fixture(scope="module")
def labeled_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number, label in enumerate(LABELS):
        (folder / label).mkdir()
        write_video(folder / label / "a.mp4", num_frames=6 + number)
    return folder


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_a_pushed_model_is_the_same_when_it_is_loaded_from_its_commit(
    hub: Hub, push: Push, model_folder: Path, labeled_videos: Path
) -> None:
    done = push(model_folder, "me/mine", "--license", "MIT", "--data", labeled_videos, "--json")
    assert done.returncode == 0, done.stderr
    pushed = json.loads(done.stdout)
    assert pushed["name"] == "me/mine"
    assert f"me/mine@{pushed['commit']} names this version for good" in done.stderr
    files = hub.repositories["me/mine"].commits[pushed["commit"]]
    assert set(files) == {
        ".gitattributes", "README.md", "accuracy.png", "config.json", "labels.txt", "model.safetensors",
    }  # fmt: skip
    assert files["model.safetensors"] == (model_folder / "model.safetensors").read_bytes()
    assert json.loads(files["config.json"])["license"] == "MIT"
    video = labeled_videos / "run" / "a.mp4"
    here = push(video, "--model", model_folder, "--json", verb="predict")
    there = push(video, "--model", f"me/mine@{pushed['commit']}", "--json", verb="predict")
    assert there.returncode == 0, there.stderr
    assert there.stdout == here.stdout


def test_the_card_states_license_metrics_with_interval_and_protocol(
    hub: Hub, push: Push, model_folder: Path, labeled_videos: Path, tmp_path: Path
) -> None:
    evaluated = push(labeled_videos, "--model", model_folder, "--json", verb="evaluate")
    result = json.loads(evaluated.stdout)
    (tmp_path / "evaluation.json").write_text(evaluated.stdout)
    done = push(
        model_folder, "me/card", "--license", "Apache-2.0", "--evaluation", tmp_path / "evaluation.json",
        "--data-name", "four videos | of ours", "--trained-on", "Videos of nobody.", "--limits", "Only indoors.",
        "--base-model", "google/vit-base", "--output", tmp_path / "card",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "me/card" not in hub.repositories
    card = (tmp_path / "card" / "README.md").read_text()
    data = front_matter(card)
    assert data["license"] == "apache-2.0"
    assert data["library_name"] == "timesformer"
    assert data["pipeline_tag"] == "video-classification"
    assert data["base_model"] == "google/vit-base"
    (entry,) = data["model-index"]
    (evaluation,) = entry["results"]
    assert evaluation["dataset"]["name"] == "four videos | of ours"
    top1 = evaluation["metrics"][0]
    assert top1["value"] == result["top1"]
    assert top1["args"]["interval_95"] == result["top1_interval"]
    assert top1["args"]["protocol"] == result["protocol"]
    assert top1["args"]["num_videos"] == 4
    for text in (
        "Videos of nobody.", "- Only indoors.", "four videos \\| of ours", "jump, run, sit, stand", result["protocol"],
        "The evaluation rests on 4 videos only", "The set of classes is closed",
    ):  # fmt: skip
        assert text in card
    assert is_model_folder(tmp_path / "card")


def test_a_second_version_needs_overwrite_and_keeps_the_first(
    hub: Hub, push: Push, model_folder: Path, tmp_path: Path
) -> None:
    first = json.loads(push(model_folder, "me/two", "--license", "mit", "--private", "--json").stdout)
    assert "me/two" in hub.private
    refused = push(model_folder, "me/two", "--license", "mit")
    assert refused.returncode == 2
    assert "me/two: already holds files (README.md, config.json, labels.txt): overwrite=True (--overwrite) adds a" in (
        refused.stderr
    )
    again = push(
        model_folder, "me/two", "--license", "mit", "--overwrite", "--also", "transformers", "--message", "v2", "--json"
    )
    assert again.returncode == 0, again.stderr
    assert hub.messages[-1] == "v2"
    commits = hub.repositories["me/two"].commits
    assert "labels.txt" in commits[first["commit"]]
    latest = commits[json.loads(again.stdout)["commit"]]
    assert "labels.txt" not in latest  # of the other layout: it would contradict config.json
    assert json.loads(latest["config.json"])["model_type"] == "timesformer"


def test_a_branch_is_made_and_main_stays(hub: Hub, push: Push, model_folder: Path) -> None:
    done = push(model_folder, "me/branch", "--license", "mit", "--revision", "trial", "--json")
    assert done.returncode == 0, done.stderr
    repository = hub.repositories["me/branch"]
    assert set(repository.commits[repository.names["main"]]) == {".gitattributes"}
    assert repository.names["trial"] == json.loads(done.stdout)["commit"]


def test_the_layout_of_transformers_keeps_what_only_we_know(push: Push, model_folder: Path, tmp_path: Path) -> None:
    done = push(model_folder, "me/both", "--license", "mit", "--also", "transformers", "--output", tmp_path / "both")
    assert done.returncode == 0, done.stderr
    assert front_matter((tmp_path / "both" / "README.md").read_text())["library_name"] == "transformers"
    ours, theirs = load(model_folder), load(tmp_path / "both")
    assert theirs.info == replace(ours.info, license="mit")
    clips = torch.randn(2, 3, ours.config.num_frames, *ours.config.image_size)
    torch.testing.assert_close(theirs(clips), ours(clips))


REFUSED = {
    "no license": ((), "the model folder does not state the license of its weights: pass license (--license)"),
    "two evaluations": (
        ("--license", "mit", "--data", "videos", "--evaluation", "e.json"),
        "--data evaluates the model, and --evaluation brings a result: give one of them",
    ),
    "nameless evaluation": (
        ("--license", "mit", "--evaluation", "e.json"),
        "--evaluation needs --data-name, the name of the evaluated data set on the card",
    ),
    "idle name": (
        ("--license", "mit", "--data-name", "x"),
        "--data-name has no effect without --data or --evaluation",
    ),
    "idle branch": (
        ("--license", "mit", "--output", "out", "--revision", "x"),
        "--revision has no effect with --output, which uploads nothing",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_published_is_refused(
    push: Push, model_folder: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options, message = REFUSED[name]
    done = push(model_folder, "me/refused", *options)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_preset_is_refused(push: Push) -> None:
    done = push("tiny", "me/tiny", "--license", "mit")
    assert "tiny is a preset, whose weights are random: push a model that was trained" in done.stderr


def test_what_the_hub_refuses_is_one_line(push: Push, model_folder: Path) -> None:
    unknown = push(model_folder, "me/x", "--license", "mit", token="hf_other")
    assert "me/x: the Hugging Face hub does not know you: run `hf auth login`, or set HF_TOKEN" in unknown.stderr
    locked = push(model_folder, "locked/x", "--license", "mit")
    assert "locked/x: the Hugging Face hub refuses: the token may not write to locked" in locked.stderr
    wrong = push(model_folder, "a/b/c", "--license", "mit")
    assert "a/b/c: is not a hub id (owner/name)" in wrong.stderr
    for done in (unknown, locked, wrong):
        assert done.returncode != 0
        assert "Traceback" not in done.stderr


def test_evaluations_of_other_models_and_other_files_are_refused(
    push: Push, model_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "e.json"
    for text, message in (
        ("nonsense", "is not JSON"),
        ("[]", "is not the output of `timesformer evaluate --json`: it is not an object"),
        ('{"top1": 2}', "is not the output of `timesformer evaluate --json`: top1: input should be less than"),
    ):
        path.write_text(text)
        done = push(model_folder, "me/x", "--license", "mit", "--evaluation", path, "--data-name", "x")
        assert done.returncode == 1
        assert f"{path}: {message}" in done.stderr
