"""Accuracy of nearest neighbors, of which some must not vote."""

import numpy as np
import pytest

from embedding_files import write_embeddings
from timesformer.errors import ConfigError, DataError
from timesformer.evaluation.metrics import wilson_interval
from timesformer.retrieval import knn
from timesformer.retrieval.index import Index
from timesformer.retrieval.knn import knn_accuracy


def opened(tmp_path, vectors, **columns):
    return Index.open(write_embeddings(tmp_path / "rows.parquet", vectors, **columns), columns=["group"])


def directions(degrees):
    angles = np.array(degrees) * np.pi / 180
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_the_majority_of_the_neighbors_decides(tmp_path):
    index = opened(tmp_path, directions([0, 5, 9, 90, 96, 101, 70]), true_label=list("aaabbba"))
    found = knn_accuracy(index, k=3)
    assert found.accuracy == 6 / 7  # that at 70 degrees is an a among three b
    assert found.num_rows == 7
    assert found.chance == 4 / 7
    interval = wilson_interval(6 / 7, num_trials=7)
    assert (found.interval.low, found.interval.high) == interval
    assert found.interval.method == "wilson"


def test_of_equal_votes_the_more_similar_neighbor_decides(tmp_path):
    index = opened(tmp_path, directions([0, 2, 60, 50]), true_label=["a", "a", "b", "b"])
    assert knn_accuracy(index, k=2).accuracy == 1


@pytest.mark.parametrize("column", ["group", "path", "sha256"])
def test_rows_of_the_same_source_do_not_vote(tmp_path, column):
    """Each class has two pairs of near-copies; without their own pair, the nearest neighbor is of the other class."""
    degrees = [0, 1, 40, 41, 20, 21, 60, 61]
    labels = list("aaaabbbb")
    assert knn_accuracy(opened(tmp_path, directions(degrees), true_label=labels), k=1).accuracy == 1
    sources = ["p", "p", "q", "q", "r", "r", "s", "s"]
    found = knn_accuracy(opened(tmp_path, directions(degrees), true_label=labels, **{column: sources}), k=1)
    assert found.accuracy == 0
    assert column in found.left_out


def test_missing_sources_are_not_equal(tmp_path):
    vectors = directions([0, 1, 90, 91])
    columns = {"group": [None, None, "", ""], "sha256": [None] * 4}
    found = knn_accuracy(opened(tmp_path, vectors, true_label=list("aabb"), **columns), k=1)
    assert (found.accuracy, found.left_out) == (1, ("path",))


def test_rows_without_a_class_or_a_neighbor_do_not_count(tmp_path):
    vectors = directions([0, 1, 2, 90])
    found = knn_accuracy(opened(tmp_path, vectors, true_label=["a", "a", None, "b"]), k=1)
    assert (found.accuracy, found.num_rows, found.num_unlabeled, found.num_alone) == (2 / 3, 3, 1, 0)
    with pytest.raises(DataError, match="no row has a neighbor of another group, path"):
        knn_accuracy(opened(tmp_path, vectors, true_label=list("aabb"), group=["g"] * 4), k=1)
    with pytest.raises(DataError, match="no row has a true class: embed a manifest with classes"):
        knn_accuracy(opened(tmp_path, vectors), k=1)


def test_more_neighbors_than_rows_are_all_of_them(tmp_path):
    index = opened(tmp_path, directions([0, 1, 2, 90]), true_label=list("aaab"))
    assert knn_accuracy(index, k=50).accuracy == 3 / 4


def test_groups_widen_the_interval(tmp_path):
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((60, 6)).astype(np.float32)
    labels, groups = list("ab" * 30), [f"g{number % 6}" for number in range(60)]
    found = knn_accuracy(opened(tmp_path, vectors, true_label=labels, group=groups), k=3)
    assert found.interval.num_groups == 6
    alone = wilson_interval(found.accuracy, num_trials=60)
    assert found.interval.low <= alone[0]
    assert found.interval.high >= alone[1]


def test_segments_of_a_video_are_one_group_of_the_interval(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((12, 6)).astype(np.float32)
    paths = [f"{number // 2}.mp4" for number in range(12)]
    assert knn_accuracy(opened(tmp_path, vectors, true_label=list("ab" * 6), path=paths)).interval.num_groups == 6


def test_blocks_do_not_change_the_result(tmp_path, monkeypatch):
    vectors = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float16)
    labels, groups = list("abcde" * 10), [f"g{number % 7}" for number in range(50)]
    index = opened(tmp_path, vectors, true_label=labels, group=groups)
    whole = knn_accuracy(index, k=5)
    monkeypatch.setattr(knn, "_BLOCK", 7)
    assert knn_accuracy(index, k=5) == whole
    assert whole.to_dict()["interval"]["method"] == whole.interval.method


def brute_force(vectors, labels, groups, k):
    values = vectors.astype(np.float64)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    similarities, correct = values @ values.T, 0
    for row in range(len(values)):
        others = [other for other in range(len(values)) if groups[other] != groups[row]]
        near = sorted(others, key=lambda other: -similarities[row, other])[:k]
        votes = {}
        for other in near:
            count, total = votes.get(labels[other], (0, 0.0))
            votes[labels[other]] = (count + 1, total + similarities[row, other])
        correct += max(votes, key=lambda label: votes[label]) == labels[row]
    return correct / len(values)


@pytest.mark.parametrize("k", [1, 4, 9])
def test_accuracy_is_that_of_brute_force(tmp_path, k):
    vectors = np.random.default_rng(k).standard_normal((80, 5)).astype(np.float32)
    labels, groups = [f"c{number % 4}" for number in range(80)], [f"g{number % 9}" for number in range(80)]
    index = opened(tmp_path, vectors, true_label=labels, group=groups)
    assert knn_accuracy(index, k=k).accuracy == brute_force(vectors, labels, groups, k)


def test_k_is_a_whole_number_from_1(tmp_path):
    with pytest.raises(ConfigError, match="k=0"):
        knn_accuracy(opened(tmp_path, directions([0, 1]), true_label=["a", "a"]), k=0)
