"""`train --init-from` and the recipe for few videos from end to end, with every kind of weights."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from timesformer.cli.run_config import TrainOptions, requested_run
from timesformer.config.info import ModelInfo
from timesformer.config.io import read_config
from timesformer.config.run import RunConfig
from timesformer.config.schema import ClipConfig
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import render_clip
from timesformer.fine_tuning.inputs import input_clips
from timesformer.weights.formats.released import save_released
from timesformer.weights.load import load
from timesformer.weights.model_folder import save
from tiny import random_model, square_config, tiny_config

ROOT = Path(__file__).parents[2]
LABELS = ("move_left", "move_right", "shrink")
FAST = ("--set", "data.num_workers=0", "--device", "cpu", "--precision", "fp32")


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    """Compare two penalties, and draw no curve."""
    monkeypatch.setattr("timesformer.fine_tuning.probe.STRENGTHS", (0.1, 1.0))
    monkeypatch.setattr("timesformer.training.callbacks.draw_curve", lambda history, path: path.touch())


@pytest.fixture
def train(run, caplog):
    """Run `train`; gives exit status, stdout, and stderr with the messages of the library."""

    def call(*arguments):
        caplog.clear()
        status, out, err = run("train", *arguments)
        return status, out, "\n".join([*caplog.messages, err])

    return call


@pytest.fixture(scope="session")
def persons_videos(tmp_path_factory):
    """The list of a clip of each of three classes by each of four persons."""
    folder = tmp_path_factory.mktemp("persons_videos")
    lines = ["path,label,group"]
    for seed, person in enumerate("abcd"):
        for label in LABELS:
            frames = render_clip(label, seed=seed, num_frames=6, size=(32, 40), background="plain")
            write_clip(folder / f"{person}_{label}.mp4", frames)
            lines.append(f"{person}_{label}.mp4,{label},{person}")
    (folder / "list.csv").write_text("\n".join([*lines, ""]))
    return folder / "list.csv"


def image_vit(folder):
    """An image ViT of another size in timm's format, without a head, whose width tells its number of heads."""
    model = random_model(square_config("space_only", num_frames=1, embed_dim=64, num_heads=1, image_size=(24, 24)))
    state = torch.load(save_released(model, folder / "released.pyth"), weights_only=True)["model_state"]
    kept = {name.removeprefix("model."): tensor for name, tensor in state.items() if "head" not in name}
    torch.save(kept, folder / "vit.pth")
    return folder / "vit.pth"


def people(folder):
    """A model pretrained to match two bodies: finer patches, upright clips, channels that are times, no names."""
    clip = ClipConfig(sampling="segment", num_crops=1, channel_order="time", background="remove", std=(0.25,) * 3)
    config = tiny_config(num_classes=2, patch_size=2, image_size=(12, 8), num_frames=4)
    return save(random_model(config, info=ModelInfo(clip=clip, license="Apache-2.0")), folder / "people")


def own(folder):
    """A model folder of this library for the classes of the run, which standardizes its features."""
    clip = ClipConfig(frame_stride=2, num_crops=3)
    info = ModelInfo(clip=clip, labels=LABELS)
    return save(random_model(tiny_config(num_classes=3, head_norm="batch"), info=info), folder / "own")


WEIGHTS = {
    image_vit: "new head: the weights have none",
    people: "new head: 2 classes became 3",
    own: "new head in place of the head of ",
}


@pytest.mark.parametrize("make", WEIGHTS, ids=lambda make: make.__name__)
def test_the_command_of_the_recipe_takes_any_weights(run, train, persons_videos, tmp_path, make):
    recipe = ROOT / "recipes" / "finetune_small.toml"
    (command,) = re.findall(r"^#   timesformer train (.+)$", recipe.read_text("utf-8"), re.MULTILINE)
    known = {"my_videos": persons_videos, "recipes/finetune_small.toml": recipe, "WEIGHTS": make(tmp_path)}
    words = [known.get(word, word) for word in shlex.split(command)]
    status, out, err = train(*words, *FAST, "--output", tmp_path / "run", "--epochs", 1)
    assert (status, out) == (0, f"{tmp_path / 'run'}\n"), err
    first = err.splitlines()[0]
    assert first.startswith("probe: 2 clips of each of ")
    assert WEIGHTS[make] in first
    source, model = load(known["WEIGHTS"]), load(tmp_path / "run")
    assert model.info.labels == LABELS
    assert (model.config.patch_size, model.config.embed_dim) == (source.config.patch_size, source.config.embed_dim)
    if make is not image_vit:
        tried = input_clips(source.info.clip, ("given", "moments", "motion"))
        assert model.info.clip in tried.values()
        assert model.config.image_size == source.config.image_size
    status, out, _ = run("predict", persons_videos.parent / "a_shrink.mp4", "--model", tmp_path / "run", "--json")
    assert status == 0
    assert set(json.loads(out)["labels"]) == set(LABELS)


def test_train_from_weights_probes_then_fine_tunes_and_tells_all(train, persons_videos, tmp_path):
    output = tmp_path / "run"
    options = (persons_videos, "--init-from", own(tmp_path), "--output", output, *FAST)
    status, out, err = train(*options, "--epochs", 1, "--json")
    assert status == 0, err
    told = json.loads(out)
    assert told["kept"] in ("probe", "fine-tuned")
    assert told["model"] == str(output / "model")
    assert told["reason"] in err
    for way in ("probe", "fine_tuned"):
        assert 0 <= told[way]["top1_interval"][0] <= told[way]["top1"] <= told[way]["top1_interval"][1] <= 1
        assert told[way]["minutes"] > 0
    assert told["baselines"] == {"chance": 1 / 3, "majority_class": "move_left", "majority": pytest.approx(1 / 3)}
    assert (output / "report.html").exists()
    config = read_config(output / "config.toml", kind=RunConfig)
    assert (config.probe_views, config.keep) == (2, "last")
    assert set(told["inputs"]) == {"given", "moments", "motion"}
    clips = input_clips(config.clip, config.probe_inputs)
    assert clips[told["probe"]["input"]] == load(told["model"]).info.clip
    status, out, err = train(*options, "--epochs", 1)
    assert (status, out) == (2, "")
    assert "already holds a run: name another folder, or pass resume=True (--resume)" in err


def test_until_probe_stops_and_the_folder_alone_is_enough_to_go_on(run, train, persons_videos, tmp_path):
    output = tmp_path / "run"
    options = (persons_videos, "--init-from", people(tmp_path), "--output", output, *FAST, "--epochs", 1)
    status, out, err = train(*options, "--until", "probe")
    assert (status, out) == (0, f"{output}\n"), err
    assert f"fine-tune it: timesformer train --resume --output {output}" in err
    assert "majority class     33.3%" in err
    assert "kept               probe" in err
    assert not (output / "fine_tuning").exists()
    status, out, _ = run("evaluate", persons_videos, "--model", output, "--num-workers", 0, "--json")
    assert status == 0
    status, _, err = train("--resume", "--output", output)
    assert status == 0, err
    assert "training: " in err
    assert f"; head of {output / 'probe' / 'model'}" in err
    assert json.loads((output / "result.json").read_text())["fine_tuned"] is not None
    status, _, err = train("--resume", "--output", output, "--until", "probe")
    assert status == 2
    assert "the run has gone on after its probe" in err


def test_a_run_without_a_probe_is_plain(train, persons_videos, tmp_path):
    weights, output = people(tmp_path), tmp_path / "run"
    options = (persons_videos, "--init-from", weights, *FAST, "--epochs", 1, "--set", "probe_views=0")
    status, out, err = train(*options, "--output", output)
    assert (status, out) == (0, f"{output}\n"), err
    assert not (output / "probe").exists()
    assert err.splitlines()[0].endswith("on cpu; new head: 2 classes became 3")
    status, _, err = train(*options, "--output", tmp_path / "other", "--until", "probe")
    assert status == 2
    assert "--until probe has no effect on a run without a probe" in err
    status, _, err = train(persons_videos, "--until", "probe", "--output", tmp_path / "other")
    assert (status, "--until probe has no effect on a run without a probe" in err) == (2, True)


def test_a_plain_run_does_not_replace_one_with_a_probe(train, persons_videos, tmp_path):
    output = tmp_path / "run"
    options = (persons_videos, "--init-from", people(tmp_path), "--output", output, *FAST)
    assert train(*options, "--until", "probe")[0] == 0
    status, _, err = train(*options, "--set", "probe_views=0", "--overwrite")
    assert status == 2
    assert f"--output {output} holds a run with a probe: name another folder" in err


def test_dry_run_shows_the_probe_and_refuses_until(train, persons_videos, tmp_path):
    options = (persons_videos, "--init-from", people(tmp_path), "--dry-run")
    status, out, _ = train(*options)
    assert status == 0
    assert "\nprobe         2 clips of each training video; the lines below are those of the fine-tuning" in out
    assert "keeps         the last epoch or the probe, whichever is more accurate in validation" in out
    status, _, err = train(*options, "--until", "probe")
    assert status == 2
    assert "--until probe has no effect with --dry-run or --preview, which train nothing" in err


def test_features_do_not_take_until(train, tmp_path):
    status, _, err = train("--features", tmp_path, "--until", "probe")
    assert status == 2
    assert "--until: no effect with --features" in err


def test_an_unknown_stage_is_refused(train, persons_videos):
    status, _, err = train(persons_videos, "--until", "prob")
    assert status == 2
    assert "'prob' is not one of probe, end" in err


@pytest.mark.slow(reason="starts two processes of the command line")
def test_several_processes_are_refused_once(persons_videos, tmp_path):
    weights = people(tmp_path)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
               "timesformer", "train", str(persons_videos), "--init-from", str(weights), *FAST,
               "--output", str(tmp_path / "run")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.count("probe_views=2: a run with a probe computes in one process, not in 2") == 1
    assert not (tmp_path / "run").exists()


def test_image_weights_get_clips_of_the_whole_video_and_half_their_size(tmp_path):
    weights = str(image_vit(tmp_path))
    run = requested_run("videos", TrainOptions(init_from=weights), weights_may_lack=False)
    assert run.clip == ClipConfig(sampling="segment", num_crops=1)
    assert run.model.image_size == (12, 12)
    options = TrainOptions(init_from=weights, overrides=("model.image_size=24", "clip.sampling=uniform"))
    other = requested_run("videos", options, weights_may_lack=False)
    assert (other.model.image_size, other.clip.sampling) == ((24, 24), "uniform")
    plain = requested_run(
        "videos", TrainOptions(init_from=weights, overrides=("probe_views=0",)), weights_may_lack=False
    )
    assert (plain.clip, plain.model.image_size) == (ClipConfig(), (24, 24))


def test_folds_take_the_whole_run_or_its_probe_alone(train, persons_videos, tmp_path):
    options = (persons_videos, "--init-from", people(tmp_path), *FAST, "--epochs", 1, "--folds", 2, "--json")
    status, out, err = train(*options, "--output", tmp_path / "both")
    assert status == 0, err
    told = json.loads(out)
    assert told["choice"].startswith("each fold chose by validation videos held out inside its training part")
    assert all(fold["num_val"] > 0 for fold in told["folds"])
    fold = tmp_path / "both" / "folds" / "1"
    assert json.loads((fold / "result.json").read_text())["fine_tuned"] is not None
    assert not list(fold.rglob("*.ckpt"))
    assert not (fold / "probe" / "features").exists()
    # of 12 videos for two inputs: moments are what is given here, motion is the other
    assert len(list((tmp_path / "both" / "features").iterdir())) == 2 * 12
    status, out, err = train(*options, "--output", tmp_path / "probe", "--until", "probe")
    assert status == 0, err
    told = json.loads(out)
    assert told["choice"].startswith("nothing was chosen by validation")
    assert [(fold["num_train"], fold["num_val"]) for fold in told["folds"]] == [(6, 0), (6, 0)]
    status, _, err = train(*options, "--output", tmp_path / "plain", "--set", "probe_views=0", "--until", "probe")
    assert (status, "--until probe has no effect on a run without a probe" in err) == (2, True)
