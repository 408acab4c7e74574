"""Pairs of almost equal embeddings against brute force, and their groups."""

import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedding_files import write_embeddings
from timesformer.errors import ConfigError
from timesformer.retrieval import duplicates
from timesformer.retrieval.duplicates import connected, find_duplicates
from timesformer.retrieval.index import Index


def opened(tmp_path, vectors, **columns):
    return Index.open(write_embeddings(tmp_path / "rows.parquet", vectors, **columns))


def cosines(vectors):
    values = vectors.astype(np.float64)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values @ values.T


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("block", [7, 1000])
def test_all_pairs_are_found_and_no_other(tmp_path, monkeypatch, kind, block):
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    vectors = np.random.default_rng(0).standard_normal((60, 4)).astype(kind)
    found = find_duplicates(opened(tmp_path, vectors), eps=0.15)
    matrix = cosines(vectors)
    expected = np.argwhere(np.triu(matrix >= 0.85, k=1))
    assert len(expected) > 20
    np.testing.assert_array_equal(found.pairs, expected)
    np.testing.assert_allclose(found.similarities, matrix[tuple(expected.T)], atol=1e-12, rtol=0)


def test_eps_of_0_finds_copies_of_any_norm(tmp_path):
    one, other = np.random.default_rng(0).standard_normal((2, 50)).astype(np.float16)
    found = find_duplicates(opened(tmp_path, np.stack([one, other, 2 * one, -one, other])), eps=0)
    assert found.pairs.tolist() == [[0, 2], [1, 4]]
    assert found.groups == ((0, 2), (1, 4))


def test_groups_are_listed_with_their_rows_and_pairs(tmp_path):
    angles = np.array([0, 90, 3, 180, 6, 92]) * np.pi / 180
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = find_duplicates(opened(tmp_path, vectors), eps=float(1 - np.cos(np.pi / 180 * 4)))
    assert found.groups == ((0, 2, 4), (1, 5))  # 0 and 4 are connected through 2
    described = found.to_dict()
    assert (described["num_rows"], described["num_pairs"]) == (6, 3)
    assert [pair["rows"] for pair in described["groups"][0]["pairs"]] == [[0, 2], [2, 4]]
    assert described["groups"][1]["rows"][0] == {
        "row": 1, "id": f"01{'f' * 62}", "path": "videos/1.mp4", "start": None, "end": None, "label": "wave",
        "true_label": None,
    }  # fmt: skip
    lines = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [line["group"] for line in lines] == ["1", "1", "1", "2", "2"]
    assert lines[0]["similarity"] == f"{np.cos(np.pi / 180 * 3):.6f}"
    assert [line["path"] for line in lines[3:]] == ["videos/1.mp4", "videos/5.mp4"]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=20))
def test_groups_are_the_connected_rows(pairs):
    pairs = np.array([sorted(pair) for pair in pairs if pair[0] != pair[1]], dtype=np.int64).reshape(-1, 2)
    reach = np.eye(12, dtype=bool)
    reach[pairs[:, 0], pairs[:, 1]] = reach[pairs[:, 1], pairs[:, 0]] = True
    for _ in range(12):
        reach = reach @ reach
    expected = {tuple(np.flatnonzero(row).tolist()) for row in reach if row.sum() > 1}
    groups = connected(pairs, 12)
    assert set(groups) == expected
    assert sorted(groups) == list(groups)


@pytest.mark.parametrize("eps", [-0.1, 1.5])
def test_eps_out_of_range_is_refused(tmp_path, eps):
    with pytest.raises(ConfigError, match=f"eps={eps} must lie between 0 and 1"):
        find_duplicates(opened(tmp_path, np.eye(3, dtype=np.float16)), eps=eps)


def test_too_many_pairs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "_MOST_PAIRS", 5)
    with pytest.raises(ConfigError, match=r"eps=0.02: more than 5 pairs are as similar as that; choose a smaller eps"):
        find_duplicates(opened(tmp_path, np.ones((4, 3), dtype=np.float16)), eps=0.02)
