"""`embed`, `train --features` and `evaluate` from end to end, and every option that they refuse."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from embedding_tables import made_rows, write_rows
from timesformer.cli.main import main
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import render_clip
from timesformer.inference.predictor import Predictor
from timesformer.retrieval.embeddings import read_embeddings
from timesformer.retrieval.heads.folder import load_head
from timesformer.weights.load import load
from timesformer.weights.model_folder import save
from tiny import random_weights

CLASSES = ("move_left", "move_right", "shrink")
PERSONS = ("ana", "ben", "cem", "dua")
ONE = ("--set", "strengths=[0.1]")
"""One strength, so that nothing is compared."""


@pytest.fixture(scope="session")
def persons_list(tmp_path_factory):
    """A list of a clip of each class by each of four persons, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("persons")
    lines = ["path,label,group"]
    for seed, person in enumerate(PERSONS):
        for label in CLASSES:
            frames = render_clip(label, seed=seed, num_frames=6, size=(32, 40), background="plain")
            write_clip(folder / f"{person}_{label}.mp4", frames)
            lines.append(f"{person}_{label}.mp4,{label},{person}")
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "list.csv").write_text("\n".join([*lines, "broken.mp4,shrink,dua", ""]))
    (folder / "readable.csv").write_text("\n".join([*lines, ""]))
    return folder


@pytest.fixture(scope="session")
def embedded(tmp_path_factory, persons_list, model_folder):
    """The folder of embeddings of that list, written by the verb."""
    folder = tmp_path_factory.mktemp("embedded") / "rows"
    options = ["--model", str(model_folder), "--output", str(folder), "--workers", "1"]
    with pytest.raises(SystemExit) as stop:
        main(["embed", "--data", str(persons_list / "list.csv"), *options])
    assert stop.value.code == 1  # of the video that cannot be read
    return folder


@pytest.fixture(scope="session")
def head_run(tmp_path_factory, embedded, model_folder):
    """The run folder of a head on them, with its model, and what was printed."""
    folder = tmp_path_factory.mktemp("runs") / "head"
    command = [sys.executable, "-m", "timesformer", "train", "--features", str(embedded), "--val-groups", "cem,dua",
               "--model", str(model_folder), "--output", str(folder)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_training_tells_rows_split_strength_and_measures(head_run, embedded):
    folder, done = head_run
    told = done.stderr.splitlines()
    assert told[0] == f"{embedded}: 12 rows of 12 features, 3 classes, 4 groups; left out: 1 without an embedding"
    assert told[1] == "training on 6 rows, validation on 6 (2 groups)"
    assert told[2] == "choosing among 17 strengths by 2 folds over groups"
    assert told[-1] == f"try it: timesformer predict VIDEO --model {folder}"
    assert "majority class     33.3% (move_left)\nchance             33.3%\n" in done.stdout
    assert "(Wilson with the variance between 2 groups)" in done.stdout
    assert done.stdout.splitlines()[-1] == f"run                {folder}"


def test_the_model_gives_the_logits_of_the_head_up_to_float16_rounding(head_run, embedded):
    folder, _ = head_run
    head, model = load_head(folder), load(folder)
    assert model.info.labels == head.class_names == CLASSES
    predictor, found = Predictor(model, device="cpu"), read_embeddings(embedded)
    for path, stored in zip(found.table["path"].to_pylist(), found.vectors, strict=True):
        logits = predictor.logits(predictor.read(path).views).mean(dim=0).numpy()
        features = torch.tensor(stored[None])
        weight = head.head.tensors["weight"].abs()
        bound = (weight @ features[0].float().abs()).numpy() * 2.0**-11  # each feature is rounded to 11 bits
        error = np.abs(head.head.logits(features)[0].numpy() - logits)
        assert (error <= bound + 1e-5).all()  # and float32 rounding of a few units
        assert bound.max() < 0.05  # so the bound says something


def test_features_and_videos_give_the_same_evaluation(run, head_run, embedded, persons_list, tmp_path):
    folder, _ = head_run
    table, page = tmp_path / "rows.csv", tmp_path / "page.html"
    code, out, err = run("evaluate", embedded, "--model", folder, "--csv", table, "--page", page, "--json")
    assert code == 0
    assert "12 rows of 12 features" in err
    of_features = json.loads(out)
    assert of_features["num_videos"] == len(list(csv.DictReader(table.read_text().splitlines()))) == 12
    assert "<h2>Confusion matrix</h2>" in page.read_text("utf-8")
    code, out, _ = run("evaluate", persons_list / "readable.csv", "--model", folder, "--num-workers", 0, "--json")
    of_videos = json.loads(out)
    assert code == 0
    assert [row["predicted"] for row in of_features["predictions"]] == [
        row["predicted"] for row in of_videos["predictions"]
    ]
    assert of_features["confusion"] == of_videos["confusion"]
    probabilities = [[row["true_probability"] for row in each["predictions"]] for each in (of_features, of_videos)]
    assert probabilities[0] == pytest.approx(probabilities[1], abs=0.01)


def test_the_model_predicts(run, head_run, persons_list):
    code, out, _ = run("predict", persons_list / "ana_shrink.mp4", "--model", head_run[0], "--json")
    assert code == 0
    assert set(json.loads(out)["labels"]) == set(CLASSES)


def test_another_backbone_is_refused(run, embedded, model_folder, tmp_path):
    save(random_weights(load(model_folder)), tmp_path / "same_shape")
    code, _, err = run(
        "train", "--features", embedded, "--model", tmp_path / "same_shape", "--output", tmp_path / "run", *ONE
    )
    assert code == 2
    assert f"model='{tmp_path / 'same_shape'}' has the weights" in err
    assert "name the model that computed them" in err
    rows = write_rows(tmp_path / "rows.parquet", made_rows())
    code, _, err = run("train", "--features", rows, "--model", model_folder, "--output", tmp_path / "run", *ONE)
    assert code == 2
    assert "the features are an unnamed model; a model folder needs those that `timesformer embed --level cls`" in err


@pytest.fixture
def rows(tmp_path):
    """A Parquet file of another model."""
    columns = made_rows()
    columns["action"] = columns.pop("true_label")
    columns["vjepa"] = columns.pop("embedding")
    return write_rows(tmp_path / "vjepa.parquet", columns)


NAMES = ("--embedding-column", "vjepa", "--label-column", "action")


def test_a_table_of_another_model_is_trained_on_and_evaluated(run, rows, tmp_path):
    output = tmp_path / "run"
    code, out, _ = run("train", "--features", rows, *NAMES, "--output", output, "--seed", 3, "--json",
                       "--set", "strengths=[0.1, 0.01]", "--set", "val_fraction=0.3")  # fmt: skip
    assert code == 0
    printed = json.loads(out)
    assert printed["run"] == str(output)
    assert "model" not in printed
    assert printed["strength"] in (0.1, 0.01)
    assert printed["baselines"]["chance"] == pytest.approx(1 / 3)
    assert "val_fraction = 0.3" in (output / "config.toml").read_text()
    code, out, _ = run("evaluate", rows, "--model", output)
    assert code == 0
    assert "linear head on 7 frozen features, an unnamed model, one row a video or segment" in out
    code, _, err = run("train", "--features", rows, *NAMES, "--output", output, *ONE)
    assert code == 2
    assert "already holds a run: name another folder, or pass overwrite=True (--overwrite)" in err
    assert run("train", "--features", rows, *NAMES, "--output", output, "--overwrite", *ONE)[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--epochs", 3), "--epochs: no effect with --features, which trains a head in one step"),
        (("--batch-size", 3, "--lr", 0.1), "--batch-size, --lr: no effect with --features"),
        (("--config", "c.toml"), "--config: no effect with --features"),
        (("--init-from", "x"), "--init-from: no effect with --features"),
        (("--allow-codec", "magicyuv"), "--allow-codec: no effect with --features"),
        (("--resume",), "--resume: no effect with --features"),
        (("--dry-run",), "--dry-run: no effect with --features"),
        (("--preview", "p.png"), "--preview: no effect with --features"),
        (("--set", "model.depth=3"), "--set model.depth=3: unknown key"),
        (("--head", "mlp"), "'mlp' is not one of linear, attentive"),
        (("--val", "v.parquet", "--val-groups", "s1"), "val='v.parquet' and val_groups exclude each other"),
    ],
)
def test_options_without_effect_on_a_head_are_refused(run, rows, tmp_path, options, message):
    code, _, err = run("train", "--features", rows, *NAMES, "--output", tmp_path / "run", *options)
    assert code != 0
    assert message in " ".join(err.split())
    assert not (tmp_path / "run").exists()


def test_videos_and_features_exclude_each_other(run, rows, video_folder):
    code, _, err = run("train", video_folder, "--features", rows)
    assert code == 2
    assert f"DATA ({video_folder}) and --features {rows} exclude each other: videos, or their features" in err


def test_a_head_is_trained_in_one_process(run, rows, monkeypatch, tmp_path):
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0"), ("MASTER_ADDR", "127.0.0.1"),
                        ("MASTER_PORT", "29555"), ("TORCHELASTIC_RUN_ID", "x")):  # fmt: skip
        monkeypatch.setenv(name, value)
    code, _, err = run("train", "--features", rows, *NAMES, "--output", tmp_path / "run")
    assert code == 2
    assert "--features trains in one process, not in 2: start it without torchrun or srun" in err


@pytest.mark.parametrize(
    "options",
    [
        ("--head", "attentive"),
        ("--label-column", "x"),
        ("--embedding-column", "x"),
        ("--group-column", "x"),
        ("--val-groups", "x"),
    ],
)
def test_options_of_a_head_are_refused_without_features(run, video_folder, options):
    code, _, err = run("train", video_folder, *options)
    assert code == 2
    assert f"{options[0]} has no effect without --features" in err


def test_features_are_evaluated_with_a_head_only(run, embedded, rows, model_folder):
    for data in (embedded, rows):
        code, _, err = run("evaluate", data, "--model", model_folder)
        assert code == 2
        assert f"{data} holds embeddings, and --model {model_folder} is not a head: train one with" in err


def test_a_head_without_a_model_evaluates_features_only(run, rows, video_folder, tmp_path):
    assert run("train", "--features", rows, *NAMES, "--output", tmp_path / "run", *ONE)[0] == 0
    code, _, err = run("evaluate", video_folder, "--model", tmp_path / "run")
    assert code == 2
    assert "is a head for embeddings without a model: name embeddings instead of" in err
    code, _, err = run("train", video_folder, "--output", tmp_path / "run", "--overwrite")
    assert code == 2
    assert "holds a head that was trained on features: name another folder" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--num-crops", 3), "--num-crops: no effect on"),
        (("--sampling", "center", "--set", "num_frames=3"), "--set, --sampling: no effect on"),
        (("--no-fast",), "--no-fast: no effect on"),
        (("--batch-size", 2, "--allow-codec", "magicyuv"), "--batch-size, --allow-codec: no effect on"),
        (("--background", 1.0), "--background: no effect on"),
        (("--timeline",), "--timeline: no effect on"),
        (("--overwrite",), "--overwrite has no effect without --csv or --page"),
        (("--top-k", "0"), "is not a list of whole numbers from 1"),
    ],
)
def test_options_of_videos_are_refused_for_features(run, head_run, embedded, options, message):
    code, _, err = run("evaluate", embedded, "--model", head_run[0], *options)
    assert code == 2
    assert message in err
