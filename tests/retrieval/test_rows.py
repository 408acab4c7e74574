"""Exact search in float16 against float64 by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from timesformer.errors import DataError
from timesformer.retrieval.rows import Rows, nearest, unit

WIDTH = 7
FINITE = st.floats(-60000, 60000, width=16)


def oracle(vectors, query, *, top_k):
    """Brute force in float64, equal similarities in the order of the rows."""
    values = vectors.astype(np.float64)
    norms = np.sqrt((values * values).sum(axis=1))
    products = (values * unit(query)).sum(axis=1)
    similarities = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
    order = np.lexsort((np.arange(len(values)), -similarities))
    return order[:top_k], similarities[order[:top_k]]


def drawn(count, *, width=WIDTH, seed=0, kind=np.float16):
    return np.random.default_rng(seed).standard_normal((count, width)).astype(kind)


@settings(max_examples=60, deadline=None)
@given(
    vectors=arrays.arrays(np.float16, st.tuples(st.integers(1, 40), st.just(WIDTH)), elements=FINITE),
    query=arrays.arrays(np.float16, WIDTH, elements=FINITE),
    top_k=st.integers(1, 50),
)
def test_any_float16_rows_are_found_as_float64_finds_them(vectors, query, top_k):
    if not np.any(query):
        return
    found, similarities, _ = nearest(Rows(vectors), unit(query), top_k=top_k)
    expected, expected_similarities = oracle(vectors, query, top_k=top_k)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(similarities, expected_similarities)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_recall_is_1_over_many_queries(kind):
    vectors, queries = drawn(3000, width=40, kind=kind), drawn(30, width=40, seed=1, kind=np.float32)
    rows = Rows(vectors)
    for query in queries:
        found, _, num_ties = nearest(rows, unit(query), top_k=10)
        np.testing.assert_array_equal(found, oracle(vectors, query, top_k=10)[0])
        assert num_ties == 0


def test_every_finite_float16_is_converted_exactly():
    bits = np.arange(2**16, dtype=np.uint32)
    values = bits[(bits & 0x7C00) != 0x7C00].astype(np.uint16).view(np.float16)  # subnormal numbers among them
    rows = Rows(values.reshape(-1, 32))
    blocks = np.concatenate([(block * rows._unit).copy() for _, block in rows._blocks()])
    np.testing.assert_array_equal(blocks, values.reshape(-1, 32).astype(np.float32))


def test_the_bound_of_the_error_holds():
    vectors, query = drawn(4000, width=768), unit(drawn(1, width=768, seed=1)[0])
    rows = Rows(vectors)
    exact = rows.exact(np.arange(4000), query)
    assert np.abs(rows.similarities(query) - exact).max() <= rows.error


def test_rows_of_large_and_of_tiny_norm_are_compared_by_direction():
    base = drawn(1)[0].astype(np.float32)
    vectors = np.stack([base * 2.0**-10, base * 2.0**10, -base]).astype(np.float16)
    found, similarities, _ = nearest(Rows(vectors), unit(vectors[1]), top_k=3)
    assert found.tolist()[-1] == 2
    np.testing.assert_allclose(similarities, [1, 1, -1], atol=1e-3)  # the first row lost bits as a float16


def test_ties_come_in_the_order_of_the_rows_and_are_counted():
    one, other = drawn(2)
    vectors = np.stack([other, one, 2 * one, one, one])
    found, similarities, num_ties = nearest(Rows(vectors), unit(one), top_k=2)
    assert (found.tolist(), num_ties) == ([1, 2], 2)
    assert similarities[0] == similarities[1] == pytest.approx(1, abs=1e-12)


def test_rows_that_are_not_allowed_are_not_found():
    vectors = drawn(6)
    allowed = np.array([False, True, False, True, True, False])
    found, _, _ = nearest(Rows(vectors), unit(vectors[0]), top_k=9, allowed=allowed)
    assert sorted(found.tolist()) == [1, 3, 4]
    found, similarities, num_ties = nearest(Rows(vectors), unit(vectors[0]), top_k=9, allowed=np.zeros(6, dtype=bool))
    assert (len(found), len(similarities), num_ties) == (0, 0, 0)


def test_a_row_of_zeros_has_similarity_0():
    vectors = np.stack([np.zeros(WIDTH, np.float16), drawn(1)[0]])
    found, similarities, _ = nearest(Rows(vectors), unit(-vectors[1]), top_k=2)
    assert (found.tolist(), similarities[0]) == ([0, 1], 0)


def test_many_queries_at_once_are_those_one_by_one():
    rows, queries = Rows(drawn(700, width=900)), drawn(3, width=900, seed=1)
    units = np.stack([unit(query) for query in queries])
    many = np.concatenate([block for _, block in rows.similarities_of_many(units.astype(np.float32))], axis=1)
    for row, query in zip(many, units, strict=True):
        np.testing.assert_allclose(row, rows.similarities(query), atol=2 * rows.error, rtol=0)


@pytest.mark.parametrize(("value", "message"), [(0.0, "all its numbers are 0"), (np.nan, "nan or inf in it")])
def test_a_query_without_direction_is_refused(value, message):
    with pytest.raises(DataError, match=message):
        unit(np.full(WIDTH, value))
