"""`search`, and what `embed` and `search` compute from all rows, from end to end: real videos, real models."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

import timesformer as tsf
from job_tasks import decoding_here, run_here
from timesformer.retrieval.embeddings import read_embeddings
from timesformer.weights.load import load
from timesformer.weights.model_folder import save


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Jobs compute in this process, which saves seconds for each."""
    monkeypatch.setattr("timesformer.cli.job.run_local", run_here)
    monkeypatch.setattr("timesformer.jobs.video_model.decoding", decoding_here)


@pytest.fixture
def embedded(run, model_folder, video_folder, tmp_path):
    """Six videos of three classes, embedded."""
    folder = tmp_path / "embeddings"
    status, _, err = run("embed", "--data", video_folder, "--model", model_folder, "--output", folder)
    assert status == 0, err
    return folder


def similarities(folder, query):
    values = read_embeddings(folder).vectors.astype(np.float64)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values @ values[query]


def test_a_video_of_the_index_finds_the_others(run, embedded, video_folder):
    found = read_embeddings(embedded)
    paths = found.table["path"].to_pylist()
    query = video_folder / "shrink" / "1.mp4"
    status, out, err = run("search", query, "--index", embedded, "--json")
    assert status == 0, err
    result = json.loads(out)
    row = paths.index(str(query))
    assert result["query"] == str(query)
    assert (result["num_rows"], result["num_searched"], result["num_left_out"]) == (6, 5, 1)
    expected = similarities(embedded, row)
    order = [other for other in np.argsort(-expected, kind="stable").tolist() if other != row]
    assert [each["row"] for each in result["neighbors"]] == order
    np.testing.assert_allclose([each["similarity"] for each in result["neighbors"]], expected[order], atol=1e-12)
    by_id = json.loads(run("search", found.table["id"][row].as_py(), "--index", embedded, "--json")[1])
    assert by_id["neighbors"] == result["neighbors"]


def test_a_new_video_is_embedded_with_the_model_of_the_index(run, embedded, video_folder, tmp_path, model_folder):
    """A copy with other bytes has the vector of its original, which is the first result."""
    copy = tmp_path / "copy.mp4"
    content = (video_folder / "shrink" / "1.mp4").read_bytes()
    copy.write_bytes(content + bytes([0, 0, 0, 8]) + b"free")  # an empty box at the end
    status, out, err = run("search", copy, "--index", embedded, "--json")
    assert status == 0, err
    first = json.loads(out)["neighbors"][0]
    assert first["path"] == str(video_folder / "shrink" / "1.mp4")
    assert first["similarity"] == pytest.approx(1, abs=1e-5)  # float16 against float32
    assert json.loads(run("search", copy, "--index", embedded, "--json", "--model", model_folder)[1]) == json.loads(out)


def test_text_shows_rank_similarity_path_and_class(run, embedded, video_folder):
    status, out, _ = run("search", video_folder / "shrink" / "1.mp4", "--index", embedded, "--top-k", 2)
    assert status == 0
    lines = out.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"  1   ?\d\.\d{3}  \S+\.mp4  (move_left|move_right|shrink)", lines[0])


def test_where_keeps_rows_with_a_value(run, embedded, video_folder):
    query, arguments = video_folder / "shrink" / "1.mp4", ("--index", embedded, "--json")
    out = run("search", query, *arguments, "--where", "true_label=shrink", "--where", "true_label=move_left")[1]
    assert {each["true_label"] for each in json.loads(out)["neighbors"]} == {"shrink", "move_left"}
    assert len(json.loads(out)["neighbors"]) == 3
    status, _, err = run("search", query, *arguments, "--where", "true_label=shrunk")
    assert status == 2
    assert "where true_label=shrunk: no row has this value; did you mean 'shrink'?; values: move_left" in err
    assert "there is no column 'class'; columns: id, path" in run("search", query, *arguments, "--where", "class=a")[2]
    assert "--where shrink: is not COLUMN=VALUE" in run("search", query, *arguments, "--where", "shrink")[2]


def test_another_models_index_is_refused(run, embedded, video_folder, tmp_path, model_folder):
    model = load(model_folder)
    with torch.no_grad():
        model.head.bias += 1
    other = save(model, tmp_path / "other")
    status, _, err = run("search", video_folder / "shrink" / "1.mp4", "--index", embedded, "--model", other)
    assert status == 2
    assert re.search(r"was made by the model with hash \w{12}, and .*other has \w{12}: embeddings of different", err)


def test_other_settings_of_the_same_weights_are_refused(run, embedded, video_folder, model_folder):
    query = video_folder / "shrink" / "1.mp4"
    arguments = ("--index", embedded, "--model", model_folder, "--set", "norm_eps=0.5")
    status, _, err = run("search", query, *arguments)
    assert status == 2
    assert "was made with model.norm_eps=1e-06, and" in err
    assert "has 0.5: embeddings of different settings cannot be compared" in err


def test_the_level_of_the_index_is_that_of_the_query(run, video_folder, tmp_path, model_folder):
    for level in ("frame", "patch"):
        folder = tmp_path / level
        run("embed", video_folder, "--model", model_folder, "--output", folder, "--level", level)
        arguments = ("--index", folder, "--model", model_folder, "--json", "--top-k", 6)
        result = json.loads(run("search", video_folder / "shrink" / "1.mp4", *arguments)[1])
        assert (len(result["neighbors"]), result["level"]) == (5, level)


def test_a_model_that_has_moved_must_be_named(run, embedded, video_folder, tmp_path):
    (embedded / "runs.jsonl").unlink()
    copy = tmp_path / "copy.mp4"
    copy.write_bytes((video_folder / "shrink" / "1.mp4").read_bytes() + bytes([0, 0, 0, 8]) + b"free")
    status, _, err = run("search", copy, "--index", embedded)
    assert status == 2
    assert "does not say where its model is: pass model=... (--model)" in err


def test_an_unreadable_query_is_an_error(run, embedded, tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"text")
    status, _, err = run("search", tmp_path / "x.mp4", "--index", embedded)
    assert status == 1
    assert f"{tmp_path / 'x.mp4'}" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "which clip? Give CLIP or the ID of a row, or --map, --duplicates or --knn for all rows"),
        (("abc", "--top-k", "0"), "top_k=0"),
        (("nothing.mp4",), "nothing.mp4: is neither a video nor the id of a row of"),
        (("--knn", "0"), "--knn 0: K must be at least 1"),
        (("--duplicates", "2"), "--duplicates 2.0: EPS must lie between 0 and 1"),
        (("--map", "map.png"), "--map map.png: is a page: name a file that ends with .html"),
        (("--map", "map.html", "--map-points", "1"), "--map-points 1: must be at least 2"),
        (("--knn", "1", "--map-points", "7"), "--map-points has no effect without --map"),
        (("--knn", "1", "--where", "label=a"), "--where has no effect without CLIP or ID"),
        (("--knn", "1", "--page", "x.html"), "--page has no effect without CLIP or ID"),
    ],
)
def test_wrong_usage_is_one_clear_error(run, embedded, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = run("search", *arguments, "--index", embedded)
    assert status == 2
    assert message in err


def test_a_page_shows_the_query_and_what_it_found(run, embedded, video_folder, tmp_path):
    page = tmp_path / "page.html"
    query = video_folder / "shrink" / "1.mp4"
    assert run("search", query, "--index", embedded, "--top-k", 2, "--page", page)[0] == 0
    text = page.read_text("utf-8")
    assert text.count("data:image/jpeg;base64,") == 3
    assert "5 of 6 clips compared exactly" in text
    assert not re.search(r"(src|href)=\"?http", text)
    status, _, err = run("search", query, "--index", embedded, "--page", page)
    assert (status, "already exists" in err) == (2, True)
    row = read_embeddings(embedded).table["id"][0].as_py()
    assert run("search", row, "--index", embedded, "--page", page, "--overwrite")[0] == 0
    assert page.read_text("utf-8").count("data:image/jpeg;base64,") == 6


def test_a_page_says_which_videos_are_not_there(run, model_folder, video_folder, tmp_path, monkeypatch):
    copies = shutil.copytree(video_folder, tmp_path / "videos")
    monkeypatch.chdir(tmp_path)
    run("embed", "videos", "--model", model_folder, "--output", "index")
    monkeypatch.chdir(copies)  # relative paths start where the job was started
    row = read_embeddings(tmp_path / "index").table["id"][0].as_py()
    (copies / "shrink" / "1.mp4").unlink()
    assert run("search", row, "--index", tmp_path / "index", "--page", "x.html")[0] == 0
    text = (copies / "x.html").read_text("utf-8")
    assert (text.count("data:image/jpeg"), text.count("no picture: the video is not there")) == (5, 1)


def test_embed_and_search_compute_the_same_from_all_rows(run, model_folder, video_folder, tmp_path):
    folder, page = tmp_path / "embeddings", tmp_path / "map.html"
    analysis = ("--knn", 2, "--duplicates", 1, "--json")
    status, out, err = run("embed", "--data", video_folder, "--model", model_folder, "--output", folder, *analysis,
                           "--map", page)  # fmt: skip
    assert status == 0, err
    _, duplicates, knn, mapped = map(json.loads, out.splitlines())
    assert mapped["map"] == {"path": str(page), "num_points": 6, "num_rows": 6, "num_without_picture": 0}
    again = [*map(json.loads, run("search", "--index", folder, *analysis)[1].splitlines())]
    assert again == [duplicates, knn]
    assert knn["knn"]["num_rows"] == 6
    assert knn["knn"]["k"] == 2
    assert duplicates["duplicates"]["num_rows"] == 6
    assert page.read_text("utf-8").count("data:image/jpeg;base64,") == 6


def test_duplicates_are_a_table(run, model_folder, video_folder, tmp_path):
    copies = shutil.copytree(video_folder, tmp_path / "videos")
    shutil.copy(copies / "shrink" / "1.mp4", copies / "shrink" / "9.mp4")
    run("embed", copies, "--model", model_folder, "--output", tmp_path / "index")
    status, out, err = run("search", "--index", tmp_path / "index", "--duplicates", 0)
    assert status == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["group"], row["similarity"]) for row in rows] == [("1", "1.000000")] * 2
    assert {row["path"] for row in rows} == {str(copies / "shrink" / f"{name}.mp4") for name in (1, 9)}
    assert "2 of 7 clips in 1 groups of near-duplicates (similarity >= 1)" in err


def test_knn_says_what_did_not_vote(run, embedded):
    status, out, _ = run("search", "--index", embedded, "--knn", 1)
    assert status == 0
    assert re.match(r"kNN accuracy, k=1: \d+\.\d% of 6 clips \(95 %: \S+% to \S+%, Wilson; chance 33\.3%\)", out)
    assert out.endswith("; clips of the same path, sha256 do not vote\n")


def test_the_map_of_an_existing_file_is_not_replaced(run, embedded, video_folder, model_folder, tmp_path):
    page = tmp_path / "map.html"
    page.write_text("mine")
    status, _, err = run("search", "--index", embedded, "--map", page)
    assert (status, "already exists" in err) == (2, True)
    status, _, err = run("embed", video_folder, "--model", model_folder, "--output", tmp_path / "x", "--map", page)
    assert status == 2
    assert f"use `timesformer search --index {tmp_path / 'x'} --map {page} --overwrite`" in err
    assert not (tmp_path / "x").exists()
    assert run("search", "--index", embedded, "--map", page, "--overwrite")[0] == 0
    assert page.read_text("utf-8") != "mine"


def test_one_shard_has_no_map(run, video_folder, model_folder, tmp_path):
    arguments = ("--output", tmp_path / "x", "--shard", "0/2", "--knn", 1)
    status, _, err = run("embed", video_folder, "--model", model_folder, *arguments)
    assert status == 2
    assert "--map, --duplicates and --knn need all rows: use them once all shards are done" in err


def test_search_by_id_and_by_a_known_file_imports_neither_torch_nor_pandas(embedded, video_folder):
    row = read_embeddings(embedded).table["id"][0].as_py()
    for query in (row, str(video_folder / "shrink" / "1.mp4")):
        code = (
            "import sys; from timesformer.cli.main import build_app; "
            f"build_app('search').meta(['search', {query!r}, '--index', {str(embedded)!r}, '--json'], "
            "result_action='return_value'); sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["neighbors"]) == 5


def test_python_finds_what_the_verb_finds(run, embedded, video_folder):
    query = video_folder / "shrink" / "1.mp4"
    expected = json.loads(run("search", query, "--index", embedded, "--json")[1])
    assert json.loads(json.dumps(tsf.search(query, embedded).to_dict())) == expected
    index = tsf.Index.open(embedded)
    assert tsf.search(str(query), index).neighbors == tsf.search(query, embedded).neighbors
    vector = read_embeddings(embedded).vectors[0]
    assert tsf.search(vector, index, top_k=1).neighbors[0].row == 0
    assert len(tsf.search(query, embedded, where={"true_label": ["shrink"]}).neighbors) == 1


def test_an_approximate_index_is_built_once(run, embedded, video_folder):
    query = video_folder / "shrink" / "1.mp4"
    exact = json.loads(run("search", query, "--index", embedded, "--json")[1])
    status, out, err = run("search", query, "--index", embedded, "--json", "--approximate")
    assert status == 0, err
    assert "building the approximate index" in err
    assert "recall of the 10 nearest neighbors: 100.0%, over 6 rows as queries" in err
    found = json.loads(out)
    assert found == exact | {"is_exact": False}
    assert run("search", query, "--index", embedded, "--json", "--approximate")[1:] == (out, "")
    status, _, err = run("search", query, "--index", embedded, "--approximate", "--where", "label=shrink")
    assert (status, "--where has no effect on the approximate index: leave out --approximate" in err) == (2, True)


def test_a_job_that_starts_anew_removes_the_approximate_index(run, embedded, video_folder, model_folder):
    row = read_embeddings(embedded).table["id"][0].as_py()
    run("search", row, "--index", embedded, "--approximate")
    assert len([*embedded.glob("approximate.*")]) == 2
    arguments = ("--model", model_folder, "--output", embedded, "--overwrite")
    assert run("embed", "--data", video_folder, *arguments)[0] == 0
    assert not [*embedded.glob("approximate.*")]


def test_without_usearch_approximate_search_names_the_extra(run, embedded, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch", None)
    row = read_embeddings(embedded).table["id"][0].as_py()
    status, _, err = run("search", row, "--index", embedded, "--approximate")
    assert (status, "pip install 'timesformer[index]'" in err) == (1, True)
    assert run("search", row, "--index", embedded)[0] == 0
