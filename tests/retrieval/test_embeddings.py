"""Reading embeddings: ours and those of other tools."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from timesformer.errors import DataError
from timesformer.jobs.parquet import write_table
from timesformer.retrieval.embeddings import embedding_files, read_embeddings

VECTORS = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)


def list_column(vectors, kind, width=None):
    rows = [None if row is None else list(row) for row in vectors]
    return pa.array(rows, pa.list_(kind, width) if width else pa.list_(kind))


def table_of(vectors=VECTORS, kind=None, width=3, metadata=None, name="embedding", **columns):
    ids = [f"v{number}" for number in range(len(vectors))]
    table = pa.table({"id": ids, name: list_column(vectors, kind or pa.float32(), width), **columns})
    return table.replace_schema_metadata(metadata)


@settings(max_examples=20, deadline=None)
@given(arrays.arrays(np.float16, st.tuples(st.integers(1, 9), st.integers(1, 7)),
                     elements=st.floats(-60000, 60000, width=16)))  # fmt: skip
def test_float16_is_read_as_it_was_written(tmp_path_factory, vectors):
    path = tmp_path_factory.mktemp("f16") / "rows.parquet"
    write_table(table_of(vectors, pa.float16(), vectors.shape[1]), path)
    found = read_embeddings(path)
    assert found.vectors.dtype == np.float16
    np.testing.assert_array_equal(found.vectors, vectors)


@pytest.mark.parametrize(("kind", "width"), [("float", 3), ("float", None), ("double", 3), ("double", None)])
def test_lists_of_other_tools_are_read(tmp_path, kind, width):
    pq.write_table(table_of(kind=getattr(pa, {"float": "float32", "double": "float64"}[kind])(), width=width),
                   tmp_path / "x.parquet")  # fmt: skip
    found = read_embeddings(tmp_path / "x.parquet")
    assert found.vectors.dtype == np.float32
    np.testing.assert_array_equal(found.vectors, VECTORS)
    assert found.table.to_pydict() == {"id": ["v0", "v1", "v2", "v3", "v4"]}
    assert (found.metadata, found.model_sha256, found.level, found.shape, len(found)) == ({}, "", "", (3,), 5)


def test_files_of_a_folder_are_joined_in_the_order_of_their_names(tmp_path):
    for name, rows in (("b", slice(2, 5)), ("a", slice(0, 2))):
        pq.write_table(table_of(VECTORS).slice(rows.start, rows.stop - rows.start), tmp_path / f"{name}.parquet")
    found = read_embeddings(tmp_path)
    assert found.table["id"].to_pylist() == ["v0", "v1", "v2", "v3", "v4"]
    np.testing.assert_array_equal(found.vectors, VECTORS)


def test_column_and_other_columns_are_chosen(tmp_path):
    pq.write_table(table_of(name="clip", label=list("abcde"), more=[1] * 5), tmp_path / "x.parquet")
    found = read_embeddings(tmp_path / "x.parquet", embedding="clip", columns=["label"])
    assert found.table.column_names == ["label"]
    np.testing.assert_array_equal(found.vectors, VECTORS)


def test_rows_without_a_vector_are_counted(tmp_path):
    vectors = [*VECTORS[:2], None, *VECTORS[3:]]
    pq.write_table(table_of(vectors, error=[None, None, "v2.mp4: is damaged", None, None]), tmp_path / "x.parquet")
    found = read_embeddings(tmp_path / "x.parquet")
    assert (found.num_without, found.table["id"].to_pylist()) == (1, ["v0", "v1", "v3", "v4"])
    np.testing.assert_array_equal(found.vectors, VECTORS[[0, 1, 3, 4]])


def test_metadata_is_read(tmp_path):
    metadata = {"timesformer.model_sha256": "ab", "timesformer.level": "frame", "timesformer.shape": json.dumps([1, 3]),
                "other": "kept out"}  # fmt: skip
    pq.write_table(table_of(metadata=metadata), tmp_path / "x.parquet")
    found = read_embeddings(tmp_path)
    assert (found.model_sha256, found.level, found.shape) == ("ab", "frame", (1, 3))
    assert "other" not in found.metadata


def refused(path, message, **options):
    with pytest.raises(DataError, match=re.escape(message)):
        read_embeddings(path, **options)


def test_what_cannot_be_read_is_refused(tmp_path):
    refused(tmp_path / "none", f"{tmp_path}/none: no such file or folder")
    refused(tmp_path, f"{tmp_path}: holds no Parquet file, and is not a folder that `timesformer embed` wrote")
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1 no")
    refused(damaged, f"{damaged}: cannot be read: ")
    path = tmp_path / "x.parquet"
    pq.write_table(table_of(name="clip"), path)
    refused(path, f"{path}: has no column 'embedding'; columns of lists of numbers: 'clip'")
    refused(path, f"{path}: column 'id' is of type string, not a list of floating-point numbers", embedding="id")
    pq.write_table(pa.table({"id": ["v0"]}), path)
    refused(path, f"{path}: has no column 'embedding'; no column holds lists of numbers")
    pq.write_table(table_of([None, None], error=["v0: is damaged", None]), path)
    refused(path, f"{path}: no row has a vector in column 'embedding'; the first error: v0: is damaged")


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
@pytest.mark.parametrize("bad", [np.nan, np.inf, None])
def test_numbers_that_are_not_finite_are_refused(tmp_path, kind, bad):
    pq.write_table(table_of([[1, 2, 3], [1, bad, 3]], kind), tmp_path / "x.parquet")
    refused(tmp_path, f"{tmp_path}/x.parquet: a vector holds nan, inf or null")


def test_vectors_of_several_lengths_are_refused(tmp_path):
    pq.write_table(table_of([[1.0, 2.0], [1.0]], width=None), tmp_path / "x.parquet")
    refused(tmp_path, f"{tmp_path}/x.parquet: vectors have lengths from 1 to 2, not one length from 1")
    pq.write_table(table_of([[1.0, 2.0]], width=2), tmp_path / "x.parquet")
    pq.write_table(table_of(), tmp_path / "y.parquet")
    refused(tmp_path, f"{tmp_path}: vectors have lengths from 2 to 3, not one length from 1")


def test_files_of_several_models_are_refused(tmp_path):
    pq.write_table(table_of(metadata={"timesformer.model_sha256": "ab"}), tmp_path / "x.parquet")
    pq.write_table(table_of(metadata={"timesformer.model_sha256": "cd"}), tmp_path / "y.parquet")
    refused(tmp_path, f"{tmp_path}/y.parquet: timesformer.model_sha256 is 'cd', and 'ab' in {tmp_path}/x.parquet: "
            "embeddings of several models or levels cannot be compared")  # fmt: skip


def test_unfinished_job_is_refused(tmp_path):
    (tmp_path / "job.json").write_text("{}")
    refused(tmp_path, f"{tmp_path}: the job is not finished: run the command that started it again")
    (tmp_path / "rows").mkdir()
    pq.write_table(table_of(), tmp_path / "rows" / "part-00000.parquet")
    assert embedding_files(tmp_path) == [tmp_path / "rows" / "part-00000.parquet"]
    (tmp_path / "parts").mkdir()
    pq.write_table(table_of(), tmp_path / "parts" / "part-000000.parquet")
    refused(tmp_path, f"{tmp_path}: the job is not finished")
