"""The approximate index: what it finds, and that it belongs to its rows."""

import json
import os
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedding_files import write_embeddings
from timesformer.errors import ConfigError, DataError, DependencyError
from timesformer.retrieval import approximate
from timesformer.retrieval.approximate import build_approximate, open_approximate
from timesformer.retrieval.index import Index

NUM, WIDTH = 600, 12


def drawn(num=NUM, *, kind=np.float16):
    return np.random.default_rng(0).standard_normal((num, WIDTH)).astype(kind)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_neighbors_are_those_of_exact_search(tmp_path, kind):
    path = write_embeddings(tmp_path / "rows.parquet", drawn(kind=kind), id=[f"v{row}" for row in range(NUM)])
    built = build_approximate(path)
    assert built.recall >= 0.98
    assert (built.num_rows, built.num_queries, built.without) == (NUM, 200, ())
    found, exact = open_approximate(path), Index.open(path)
    same = 0
    for row in range(0, NUM, 7):
        result, expected = found.search(f"v{row}"), exact.search(f"v{row}")
        by_row = {each.row: each for each in expected.neighbors}
        for each in result.neighbors:
            if each.row in by_row:
                same += 1
                assert each.similarity == by_row[each.row].similarity
                assert (each.id, each.path, each.label) == (
                    f"v{each.row}",
                    f"videos/{each.row}.mp4",
                    by_row[each.row].label,
                )
        assert [each.rank for each in result.neighbors] == list(range(1, 11))
        assert (result.num_searched, result.num_left_out, result.is_exact) == (NUM - 1, 1, False)
    assert same >= 0.98 * 10 * len(range(0, NUM, 7))


def test_a_vector_is_a_query_and_its_video_is_left_out(tmp_path):
    path = write_embeddings(tmp_path / "rows.parquet", drawn(), sha256=["a"] * 3 + ["b"] * (NUM - 3))
    build_approximate(path)
    found = open_approximate(path)
    result = found.search(drawn()[1].astype(np.float32), top_k=NUM, sha256="a", name="clip.mp4")
    assert (result.query, result.num_left_out, {0, 1, 2} & {each.row for each in result.neighbors}) == (
        "clip.mp4",
        3,
        set(),
    )
    assert found.search(drawn()[1]).neighbors[0].row == 1
    np.testing.assert_array_equal(found.vector(5), drawn()[5])
    with pytest.raises(DataError, match=r"the query has shape \(3,\); vectors of .* have 12 numbers"):
        found.search(np.ones(3))
    with pytest.raises(ConfigError, match="where has no effect on an approximate index: use Index, which is exact"):
        found.search(drawn()[1], where={"label": ["clap"]})
    with pytest.raises(ConfigError, match="top_k=0"):
        found.search(drawn()[1], top_k=0)


def test_rows_without_a_vector_keep_the_others_in_place(tmp_path):
    values = [None if row in (1, 7) else each.tolist() for row, each in enumerate(drawn(40))]
    table = pa.table({"id": [f"v{row}" for row in range(40)], "embedding": pa.array(values, pa.list_(pa.float16()))})
    pq.write_table(table, tmp_path / "rows.parquet")
    assert build_approximate(tmp_path / "rows.parquet").without == (1, 7)
    for row in (0, 2, 8, 39):
        found = open_approximate(tmp_path / "rows.parquet").search(f"v{row}", top_k=3)
        expected = Index.open(tmp_path / "rows.parquet").search(f"v{row}", top_k=3)
        assert found.neighbors == expected.neighbors


def test_an_index_of_other_rows_is_not_used(tmp_path):
    path = write_embeddings(tmp_path / "rows.parquet", drawn())
    assert open_approximate(path) is None
    build_approximate(path)
    assert open_approximate(path) is not None
    content = path.read_bytes()
    write_embeddings(path, -drawn())
    assert open_approximate(path) is None
    path.write_bytes(content)  # the same rows at another time
    os.utime(path, (1, 1))
    assert open_approximate(path) is not None


def test_a_damaged_index_is_refused_and_an_unknown_one_is_not_used(tmp_path):
    path = write_embeddings(tmp_path / "rows.parquet", drawn())
    build_approximate(path)
    graph, about = tmp_path / "rows.parquet.usearch", tmp_path / "rows.parquet.usearch.json"
    content = graph.read_bytes()
    for damaged in (content[:100], content[:-100], bytes(len(content))):
        graph.write_bytes(damaged)
        with pytest.raises(DataError, match=r"rows.parquet.usearch: is damaged.*; delete it, and it is built again"):
            open_approximate(path)
    graph.write_bytes(content)
    text = about.read_text()
    for changed in (
        "{",
        "[]",
        json.dumps({"format_version": 1}),
        text.replace('"format_version": 1', '"format_version": 2'),
    ):
        about.write_text(changed)
        assert open_approximate(path) is None


def test_a_wider_search_is_chosen_until_the_recall_is_high(tmp_path, monkeypatch):
    monkeypatch.setattr(approximate, "_WIDTHS", (10, 20, 300))
    monkeypatch.setattr(approximate, "LEAST_RECALL", 1.1)
    path = write_embeddings(tmp_path / "rows.parquet", drawn())
    built = build_approximate(path, num_threads=1)
    assert built.num_candidates == 300
    assert open_approximate(path).built == built


def test_without_usearch_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch", None)
    path = write_embeddings(tmp_path / "rows.parquet", drawn(9))
    for call in (build_approximate, open_approximate):
        with pytest.raises(DependencyError, match=r"needs usearch, .*pip install 'timesformer\[index\]'; exact search"):
            call(path)
