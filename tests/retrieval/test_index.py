"""The index: what is found, what is left out, and what is refused."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedding_files import MODEL, write_embeddings
from timesformer.errors import ConfigError, DataError
from timesformer.retrieval.index import Index

WIDTH = 5
VECTORS = np.random.default_rng(0).standard_normal((8, WIDTH)).astype(np.float16)


def row_id(number):
    return f"{number:02d}{'f' * 62}"


def found(result):
    return [neighbor.row for neighbor in result.neighbors]


def by_similarity(query, *, without=()):
    values = VECTORS.astype(np.float64)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return [row for row in np.argsort(-values @ values[query]).tolist() if row not in without]


@pytest.fixture
def index(tmp_path):
    return Index.open(write_embeddings(tmp_path / "rows.parquet", VECTORS), columns=None)


def test_a_row_finds_the_others_in_the_order_of_their_similarity(index):
    result = index.search(row_id(3), top_k=7)
    assert found(result) == by_similarity(3, without=[3])
    assert (result.num_rows, result.num_searched, result.num_left_out, result.is_exact) == (8, 7, 1, True)
    assert (result.query, result.model_sha256, result.level) == (row_id(3), MODEL, "cls")
    first = result.neighbors[0]
    assert (first.rank, first.id, first.path) == (1, row_id(first.row), f"videos/{first.row}.mp4")
    assert first.label == ("clap", "wave")[first.row % 2]
    similarities = [neighbor.similarity for neighbor in result.neighbors]
    assert similarities == sorted(similarities, reverse=True)


def test_a_vector_finds_all_rows_and_keeps_its_name(index):
    result = index.search(VECTORS[2].astype(np.float32) * 3, top_k=8, name="clip.mp4")
    assert found(result) == by_similarity(2)
    assert (result.query, result.num_left_out) == ("clip.mp4", 0)
    assert result.neighbors[0].similarity == pytest.approx(1)


def test_first_digits_of_an_id_are_enough(index):
    assert index.catalog.find("05ffff") == 5


def test_conditions_hold_for_every_row(index):
    result = index.search(row_id(0), where={"label": ["wave"]}, top_k=9)
    assert found(result) == [row for row in by_similarity(0) if row % 2]
    result = index.search(row_id(0), where={"label": ["wave", "clap"], "id": [row_id(3), row_id(4)]})
    assert sorted(found(result)) == [3, 4]


def test_values_are_compared_as_the_type_of_their_column(tmp_path):
    path = write_embeddings(
        tmp_path / "rows.parquet", VECTORS, start=[0.0, 1.0] * 4, end=[1.0, 2.0] * 4, take=list(range(8)),
        held=[True, False] * 4,
    )  # fmt: skip
    index = Index.open(path, columns=["take", "held"])
    assert sorted(found(index.search(row_id(0), where={"start": ["1"]}))) == [1, 3, 5, 7]
    assert found(index.search(row_id(0), where={"take": ["6"]})) == [6]
    assert sorted(found(index.search(row_id(0), where={"held": ["true"]}))) == [2, 4, 6]


def test_rows_of_the_same_bytes_and_segment_are_the_query(tmp_path):
    hashes, starts = ["a", "a", "a", "b", "b", "c", "c", "d"], [0.0, 0.0, 2.0, 0.0, 2.0, 0.0, 2.0, 0.0]
    path = write_embeddings(
        tmp_path / "x.parquet", VECTORS, sha256=hashes, start=starts, end=[each + 2 for each in starts]
    )
    index = Index.open(path)
    result = index.search(row_id(0), top_k=9)
    assert (sorted(found(result)), result.num_left_out) == ([2, 3, 4, 5, 6, 7], 2)
    result = index.search(row_id(0), top_k=9, other_videos=True)
    assert (sorted(found(result)), result.num_left_out) == ([3, 4, 5, 6, 7], 3)


def test_the_whole_video_of_a_vector_is_the_query(tmp_path):
    path = write_embeddings(
        tmp_path / "x.parquet", VECTORS, sha256=["a", "b"] * 4, start=[None, 1.0] * 4, end=[None, 2.0] * 4
    )
    index = Index.open(path)
    assert (index.catalog.whole_video("a"), index.catalog.whole_video("b"), index.catalog.whole_video("c")) == (
        0,
        None,
        None,
    )
    assert sorted(found(index.search(VECTORS[0], sha256="a", top_k=9))) == [1, 3, 5, 7]
    assert len(index.search(VECTORS[0], sha256="b", top_k=9).neighbors) == 8
    assert len(index.search(VECTORS[0], sha256="b", top_k=9, other_videos=True).neighbors) == 4


def test_a_file_with_vectors_only_is_searched(tmp_path):
    pq.write_table(pa.table({"embedding": VECTORS.astype(np.float32).tolist()}), tmp_path / "x.parquet")
    result = Index.open(tmp_path / "x.parquet").search("3", top_k=2)
    assert found(result) == by_similarity(3, without=[3])[:2]
    neighbor = result.neighbors[0]
    assert (neighbor.id, neighbor.path, neighbor.label, neighbor.start) == (str(neighbor.row), "", None, None)
    assert (result.model_sha256, result.level) == ("", "")


def test_ties_are_told(tmp_path):
    path = write_embeddings(tmp_path / "x.parquet", VECTORS[[0, 1, 1, 1, 2]])
    assert Index.open(path).search(VECTORS[1], top_k=1).num_ties == 2


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"lable": ["clap"]}, r"there is no column 'lable'; did you mean 'label'\?; columns: id, path, start"),
        ({"label": ["clop"]}, r"where label=clop: no row has this value; did you mean 'clap'\?; values: clap, wave$"),
        ({"start": ["soon"]}, r"where start=soon: no row has this value; the column is empty$"),
        ({"score": ["high"]}, r"where score=high: no row has this value; values: 0.5, "),
    ],
)
def test_a_condition_that_cannot_hold_is_refused(index, where, message):
    with pytest.raises(ConfigError, match=message):
        index.search(row_id(0), where=where)


def test_an_unknown_column_is_refused_before_the_vectors_are_read(tmp_path):
    path = write_embeddings(tmp_path / "x.parquet", VECTORS)
    with pytest.raises(ConfigError, match=r"where embedding=\.\.\.: there is no column 'embedding'; columns: id, path"):
        Index.open(path, columns=["embedding"])


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("07fffX", r"07fffX: is neither a video nor the id of a row of .*x.parquet; ids are like 00fff"),
        ("0", "0: is neither"),
        (row_id(3)[:-1] + "e", f"did you mean '{row_id(3)}'"),
    ],
)
def test_an_unknown_id_is_refused(tmp_path, query, message):
    with pytest.raises(ConfigError, match=message):
        Index.open(write_embeddings(tmp_path / "x.parquet", VECTORS)).search(query)


def test_an_id_of_several_rows_is_refused(tmp_path):
    path = write_embeddings(tmp_path / "x.parquet", VECTORS, id=["one", "two", "one", "number4", "number5", *"abc"])
    with pytest.raises(ConfigError, match=r"one: 2 rows of .*x.parquet have this id, such as row 0"):
        Index.open(path).search("one")
    with pytest.raises(ConfigError, match=r"number: 2 rows of .*x.parquet have this id, such as row 3"):
        Index.open(path).search("number")


def test_a_vector_of_another_length_is_refused(index):
    message = f"the query has shape (4,); vectors of {index.catalog.source} have 5 numbers"
    with pytest.raises(DataError, match=re.escape(message)):
        index.search(np.ones(4))


@pytest.mark.parametrize("top_k", [0, True])
def test_top_k_is_a_whole_number_from_1(index, top_k):
    with pytest.raises(ConfigError, match="top_k="):
        index.search(row_id(0), top_k=top_k)
