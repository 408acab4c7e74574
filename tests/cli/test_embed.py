"""`embed` from end to end: real videos, real workers; the oracle is the model itself."""

import csv
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from job_tasks import bytes_of, decoding_here, quarantine_of, rows_of, run_here
from timesformer.data.clips.dataset import read_eval_views
from timesformer.model.tokens import encode
from timesformer.retrieval.embeddings import read_embeddings
from timesformer.weights.load import load
from timesformer.weights.model_folder import save

COLUMNS = ["id", "path", "start", "end", "sha256", "embedding", "label", "score", "true_label", "group", "error"]
CLOSE = {"rtol": 1e-3, "atol": 1e-3}
"""float16 has 11 bits; workers compute with folded weights, float32."""


@pytest.fixture(scope="session")
def videos(tmp_path_factory, video_folder):
    """Three videos in one folder, and `list.csv` with their labels and groups."""
    folder = tmp_path_factory.mktemp("embed") / "videos"
    folder.mkdir()
    sources = sorted(video_folder.rglob("*.mp4"))[::2]
    lines = ["path,label,group"]
    for number, source in enumerate(sources):
        shutil.copy(source, folder / f"v{number}.mp4")
        lines.append(f"videos/v{number}.mp4,{source.parent.name},person {number}")
    (folder.parent / "list.csv").write_text("\n".join(lines) + "\n")
    return folder


WITH_PROCESSES = (
    "test_rows_are_the_features_that_the_head_reads[model_folder]",
    "test_a_video_that_cannot_be_read_has_one_row_with_its_error",
)
"""Tests whose jobs start workers and decoders, which takes seconds for each; the others compute in this process."""


@pytest.fixture(autouse=True)
def in_this_process(request, monkeypatch):
    if request.node.name not in WITH_PROCESSES:
        monkeypatch.setattr("timesformer.cli.job.run_local", run_here)
        monkeypatch.setattr("timesformer.jobs.video_model.decoding", decoding_here)


def embedded(run, *inputs, model, output, options=(), status=0):
    """The rows of a job, computed by one worker."""
    found = run("embed", *inputs, "--model", model, "--output", output, "--workers", 1, *options)
    assert found[0] == status, found[2]
    return rows_of(output)


@torch.no_grad()
def expected(model_folder, path, level="cls"):
    """Features of a video by its model, its class and the probability of that class."""
    model = load(model_folder).eval()
    views, _ = read_eval_views(path, model.config, model.info.clip)
    found = encode(model, views, level)
    probabilities = found.logits.softmax(dim=-1).mean(dim=0)
    features = found.features.mean(dim=0) if level == "cls" else found.features[model.info.clip.num_crops // 2]
    return features.numpy(), model.info.labels[probabilities.argmax()], probabilities.max().item()


@pytest.fixture(scope="session")
def crops_folder(tmp_path_factory, model_folder):
    """The model of `model_folder` with three crops of each clip."""
    from dataclasses import replace

    model = load(model_folder)
    model.info = replace(model.info, clip=replace(model.info.clip, num_crops=3))
    return save(model, tmp_path_factory.mktemp("models") / "crops")


@pytest.mark.parametrize("folder", ["model_folder", "crops_folder"])
def test_rows_are_the_features_that_the_head_reads(run, request, videos, folder, tmp_path):
    model = request.getfixturevalue(folder)
    rows = embedded(run, videos, model=model, output=tmp_path / "out", options=["--dtype", "f32"])
    assert [list(row) for row in rows] == [COLUMNS] * 3
    for row, path in zip(rows, sorted(videos.iterdir()), strict=True):
        features, label, score = expected(model, path)
        np.testing.assert_allclose(row["embedding"], features, rtol=1e-5, atol=1e-5)
        assert (row["label"], row["score"]) == (label, pytest.approx(score, abs=1e-6))
        assert (row["path"], row["start"], row["end"], row["error"]) == (str(path), None, None, None)
        assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_class_and_probability_are_those_of_predict(run, videos, crops_folder, tmp_path):
    rows = embedded(run, videos, model=crops_folder, output=tmp_path / "out", options=["--level", "frame"])
    _, out, _ = run("predict", videos, "--model", crops_folder, "--json", "--top-k", 1)
    printed = [json.loads(line) for line in out.splitlines()]
    assert [(row["label"], row["score"]) for row in rows] == [
        (each["labels"][0], pytest.approx(each["probabilities"][0], abs=1e-6)) for each in printed
    ]


def test_metadata_say_what_a_row_is(run, videos, model_folder, tmp_path):
    embedded(run, videos, model=model_folder, output=tmp_path / "out", options=["--set", "num_frames=3"])
    schema = pq.read_schema(tmp_path / "out" / "rows" / "part-00000.parquet")
    assert str(schema.field("embedding").type) == "fixed_size_list<element: halffloat>[12]"
    found = read_embeddings(tmp_path / "out")
    job = json.loads((tmp_path / "out" / "job.json").read_text())
    settings = json.loads(found.metadata["timesformer.settings"])
    assert found.model_sha256 == job["model_sha256"]
    assert settings == job["settings"]
    assert (settings["level"], settings["dtype"], settings["model"]["num_frames"]) == ("cls", "f16", 3)
    assert {key: found.metadata[f"timesformer.{key}"] for key in ("level", "shape", "token_order", "normalized")} == {
        "level": "cls", "shape": "[12]", "token_order": "time,row,column", "normalized": "false",
    }  # fmt: skip
    assert (found.vectors.dtype, found.vectors.shape, found.level, found.shape) == (np.float16, (3, 12), "cls", (12,))


def test_a_row_of_frames_has_a_vector_of_each(run, videos, crops_folder, tmp_path):
    rows = embedded(run, videos, model=crops_folder, output=tmp_path / "out", options=["--level", "frame"])
    found = read_embeddings(tmp_path / "out")
    assert (found.shape, found.vectors.shape) == ((2, 12), (3, 24))
    for row, path in zip(rows, sorted(videos.iterdir()), strict=True):
        np.testing.assert_allclose(
            np.reshape(row["embedding"], (2, 12)), expected(crops_folder, path, "frame")[0], **CLOSE
        )


def test_patches_lie_in_a_file_for_each_row(run, videos, crops_folder, tmp_path):
    output = tmp_path / "out"
    rows = embedded(run, videos, model=crops_folder, output=output, options=["--level", "patch"])
    assert read_embeddings(output).shape == (2, 2, 3, 12)
    for row, path in zip(rows, sorted(videos.iterdir()), strict=True):
        assert row["patches"] == f"patches/{row['id'][:2]}/{row['id']}.safetensors"
        patches = load_file(output / row["patches"])["patches"]
        assert patches.dtype == np.float16
        np.testing.assert_allclose(patches, expected(crops_folder, path, "patch")[0], **CLOSE)
        np.testing.assert_allclose(row["embedding"], expected(crops_folder, path)[0], **CLOSE)
    assert len([path for path in (output / "patches").rglob("*") if path.is_file()]) == 3
    embedded(run, videos, model=crops_folder, output=output, options=["--overwrite"])
    assert not (output / "patches").exists()


def test_labels_and_groups_come_from_annotation_files_and_folders(run, videos, video_folder, model_folder, tmp_path):
    inputs = [videos.parent / "list.csv", "--data", video_folder]
    rows = embedded(run, *inputs, model=model_folder, output=tmp_path / "out")
    with (videos.parent / "list.csv").open() as file:
        listed = [(row["label"], row["group"]) for row in csv.DictReader(file)]
    folders = [(path.parent.name, None) for path in sorted(video_folder.rglob("*.mp4"))]
    found = [(row["true_label"], row["group"]) for row in rows]
    assert sorted(found, key=str) == sorted([*listed, *folders], key=str)
    for row in rows:
        assert row["true_label"] in (Path(row["path"]).parent.name, *(label for label, _ in listed))


def test_segments_and_other_kinds_of_videos(run, videos, model_folder, tmp_path):
    shutil.copy(videos / "v0.mp4", tmp_path / "v.mp4")
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        tar.add(videos / "v1.mp4", "one.mp4")
    (tmp_path / "segments.csv").write_text("path,label,start,end\nv.mp4,a,0,0.1\nv.mp4,b,0.1,0.2\n")
    rows = embedded(
        run, tmp_path / "segments.csv", tmp_path / "shard.tar/one.mp4", model=model_folder, output=tmp_path / "out"
    )
    digests = [hashlib.sha256((videos / name).read_bytes()).hexdigest() for name in ("v0.mp4", "v0.mp4", "v1.mp4")]
    assert [(row["start"], row["end"], row["true_label"], row["sha256"]) for row in rows] == [
        (0.0, 0.1, "a", digests[0]), (0.1, 0.2, "b", digests[1]), (None, None, None, digests[2]),
    ]  # fmt: skip
    assert len({row["id"] for row in rows}) == 3


def test_a_video_that_cannot_be_read_has_one_row_with_its_error(run, videos, model_folder, tmp_path):
    for path in videos.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "v1.mp4").write_text("no video")
    lines = "path,label,group\nv0.mp4,a,x\nv1.mp4,b,y\nmissing.mp4,b,z\nv2.mp4,a,x\n"
    (tmp_path / "list.csv").write_text(lines)
    arguments = ("embed", tmp_path / "list.csv", "--model", model_folder, "--output", tmp_path / "out")
    status, out, err = run(*arguments)
    assert (status, out) == (1, f"{tmp_path}/out/rows/: 4 rows\n")
    assert err == (
        f"2 of 4 videos have an error in their row: {tmp_path}/out/quarantine.jsonl says why; --retry computes them "
        "again\n"
    )
    rows, quarantine = rows_of(tmp_path / "out"), quarantine_of(tmp_path / "out")
    assert [(Path(row["path"]).name, row["true_label"], row["group"]) for row in rows] == [
        ("v0.mp4", "a", "x"), ("v1.mp4", "b", "y"), ("missing.mp4", "b", "z"), ("v2.mp4", "a", "x"),
    ]  # fmt: skip
    assert [(entry["id"], entry["reason"]) for entry in quarantine] == [(row["id"], row["error"]) for row in rows[1:3]]
    assert rows[1]["error"].startswith(f"{tmp_path}/v1.mp4: not a video")
    assert {rows[1][name] for name in ("embedding", "label", "score", "sha256")} == {None}
    assert read_embeddings(tmp_path / "out").num_without == 2

    before = rows_of(tmp_path / "out")
    shutil.copy(videos / "v1.mp4", tmp_path)
    assert run(*arguments)[0] == 1
    assert rows_of(tmp_path / "out") == before
    assert run(*arguments, "--retry")[0] == 1
    rows = rows_of(tmp_path / "out")
    assert [row["error"] is None for row in rows] == [True, True, False, True]
    assert [rows[number] for number in (0, 2, 3)] == [before[number] for number in (0, 2, 3)]
    shutil.copy(videos / "v2.mp4", tmp_path / "missing.mp4")
    status, out, err = run(*arguments, "--retry")
    assert (status, err) == (0, "")
    assert [row["error"] for row in rows_of(tmp_path / "out")] == [None] * 4
    assert len({row["id"] for row in rows_of(tmp_path / "out")}) == 4


def test_a_job_in_which_no_video_can_be_read_has_rows(run, model_folder, tmp_path):
    (tmp_path / "bad.mp4").write_text("no video")
    (row,) = embedded(run, tmp_path / "bad.mp4", model=model_folder, output=tmp_path / "out", status=1)
    assert row["error"].startswith(f"{tmp_path}/bad.mp4: not a video")


def test_features_beyond_float16_are_an_error_of_their_row(run, videos, model_folder, tmp_path):
    model = load(model_folder)
    with torch.no_grad():
        model.norm.weight.mul_(1e6)
    save(model, tmp_path / "model")
    rows = embedded(run, videos, model=tmp_path / "model", output=tmp_path / "f16", status=1)
    for row in rows:
        assert row["embedding"] is None
        assert row["error"].startswith(f"{row['path']}: its features reach ")
        assert row["error"].endswith("and float16 ends at 65504: pass dtype='f32' (--dtype f32)")
    found = embedded(run, videos, model=tmp_path / "model", output=tmp_path / "f32", options=["--dtype", "f32"])
    assert np.isfinite([row["embedding"] for row in found]).all()


def test_another_model_is_refused(run, videos, model_folder, crops_folder, tmp_path):
    embedded(run, videos, model=model_folder, output=tmp_path / "out")
    other = load(model_folder)
    with torch.no_grad():
        other.head.bias.add_(1)
    save(other, tmp_path / "other")
    for options, changed in (
        (["--model", tmp_path / "other"], "model_sha256 was "),
        (["--model", crops_folder], "clip was "),
        (["--model", model_folder, "--level", "frame"], "level was 'cls' and is 'frame'"),
        (["--model", model_folder, "--dtype", "f32"], "dtype was 'f16' and is 'f32'"),
    ):
        before = (tmp_path / "out" / "rows" / "part-00000.parquet").read_bytes()
        status, _, err = run("embed", videos, "--output", tmp_path / "out", *options)
        assert status == 2
        assert f"{tmp_path}/out': holds another job: " in err
        assert changed in err
        assert (tmp_path / "out" / "rows" / "part-00000.parquet").read_bytes() == before


def test_other_labels_are_refused(run, videos, model_folder, tmp_path):
    shutil.copytree(videos.parent, tmp_path / "data")
    embedded(run, tmp_path / "data/list.csv", model=model_folder, output=tmp_path / "out")
    text = (tmp_path / "data/list.csv").read_text()
    (tmp_path / "data/list.csv").write_text(text.replace("person 1", "person 2"))
    status, _, err = run("embed", tmp_path / "data/list.csv", "--model", model_folder, "--output", tmp_path / "out")
    assert status == 2
    assert "holds another job: labels or groups of its items were others" in err


def test_a_video_with_two_labels_is_refused(run, videos, model_folder, tmp_path):
    (tmp_path / "a.csv").write_text(f"path,label\n{videos}/v0.mp4,a\n")
    (tmp_path / "b.csv").write_text(f"path,label\n{videos}/v0.mp4,b\n")
    status, _, err = run("embed", tmp_path / "a.csv", tmp_path / "b.csv", "--model", model_folder, "-o", tmp_path / "o")
    assert status == 2
    assert err == (
        f"error: --data {tmp_path}/b.csv: {videos}/v0.mp4 has label 'b' and group None here, and 'a' and None before: "
        "a video or segment has one row\n"
    )
    assert not (tmp_path / "o").exists()


def test_wrong_usage_is_one_line(run, videos, model_folder, tmp_path):
    status, _, err = run("embed", "--model", model_folder, "--output", tmp_path / "out")
    assert status == 2
    assert err == ("error: which videos? Give PATH..., --data with labeled videos, or --list with a file of paths\n")
    status, _, err = run("embed", videos, "--model", model_folder)
    assert status == 2
    assert "--output" in err
    status, _, err = run("embed", videos, "--model", model_folder, "--output", tmp_path / "out", "--level", "token")
    assert status == 2
    assert "'token' is not one of cls, frame, patch" in err
    assert not (tmp_path / "out").exists()


def test_the_summary_as_json(run, videos, model_folder, tmp_path):
    status, out, _ = run("embed", videos, "--model", model_folder, "--output", tmp_path / "out", "--json")
    assert status == 0
    assert {key: json.loads(out)[key] for key in ("num_items", "num_rows", "num_quarantined")} == {
        "num_items": 3, "num_rows": 3, "num_quarantined": 0,
    }  # fmt: skip


@pytest.mark.slow  # starts a Ray cluster and workers that import torch: 20 s
def test_ray_gives_the_rows_of_this_machine(run, videos, model_folder, tmp_path):
    shutil.copytree(videos.parent, tmp_path / "data")
    (tmp_path / "data/videos/v1.mp4").write_text("no video")
    rows = {}
    for engine in ("local", "ray"):
        done = subprocess.run(
            [sys.executable, "-m", "timesformer", "embed", tmp_path / "data/list.csv", "--model", model_folder,
             "--output", tmp_path / engine, "--engine", engine, "--workers", "1"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        rows[engine] = bytes_of(tmp_path / engine)
    assert rows["ray"] == rows["local"]
