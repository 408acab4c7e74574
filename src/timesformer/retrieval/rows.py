"""Cosine similarity of a query to many rows, exact, at the speed of reading float16 from memory.

numpy multiplies float16 one number at a time, and so does its conversion to float32: a tenth of a second for 100 000
rows of 768. The bits of a float16, shifted by 13, are those of a float32 that is 2^112 times too small, which integer
instructions do at the speed of memory. So a block of rows at a time becomes float32 in a buffer that fits the cache,
and the query carries the 2^112. There is never a float32 copy of all rows, and no torch, whose import alone takes a
second.

float32 is used to find the rows that can be among the best, with a bound of its error; these are computed again in
float64, so that the result is that of float64, ties included.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from timesformer.errors import DataError

_BLOCK_BYTES = 2**20
"""Size of the buffer of float32: half of a usual second-level cache."""
_SHIFT = 13
"""Bits of a float32's mantissa that a float16 lacks."""
_MASK = np.int32(-1879056384)
"""0x8fffe000: sign, exponent and mantissa of a shifted float16, without the copies of the sign bit."""
_UNIT = np.float32(2.0**112)
"""A float16 over the float32 of its shifted bits: 2 to the difference of the exponents' biases, 127 - 15."""


class Rows:
    """Vectors as they are stored, and one over their norms.

    Args:
        vectors: Float16 or float32, finite, of any norm.
    """

    def __init__(self, vectors: Float[np.ndarray, "n d"]) -> None:
        self.vectors = np.ascontiguousarray(vectors)
        self._scales = self._inverse_norms()

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return self.vectors.shape[1]

    @property
    def error(self) -> float:
        """Bound of the difference between a similarity in float32 and in float64.

        Source: Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1.
        """
        return (1.5 * self.width + 16) * 2.0**-24  # of the product, and half of that of the squared norm

    def similarities(self, query: Float64[np.ndarray, " d"]) -> Float32[np.ndarray, " n"]:
        """Cosine similarity of each row to a query of norm 1, within `error`; 0 for a row of zeros."""
        found = np.empty(len(self), dtype=np.float32)
        scaled = (query * self._unit).astype(np.float32)
        for part, block in self._blocks():
            np.dot(block, scaled, out=found[part])
        return np.multiply(found, self._scales, out=found)

    def similarities_of_many(
        self, queries: Float32[np.ndarray, "m d"], *, start: int = 0
    ) -> Iterator[tuple[slice, Float32[np.ndarray, "m b"]]]:
        """The same for many queries of norm 1, a block of rows at a time, from row `start`."""
        scaled = queries * self._unit
        for part, block in self._blocks(start):
            yield part, scaled @ block.T * self._scales[part]

    def unit_rows(self, rows: Int64[np.ndarray, " m"]) -> Float32[np.ndarray, "m d"]:
        """Some rows, divided by their norms; a row of zeros stays."""
        return self.vectors[rows].astype(np.float32) * self._scales[rows, None]

    def exact(self, rows: Int64[np.ndarray, " m"], query: Float64[np.ndarray, " d"]) -> Float64[np.ndarray, " m"]:
        """Cosine similarity in float64 of some rows to a query of norm 1; equal rows have equal similarities."""
        return self._in_float64(rows, lambda part: query)

    def exact_pairs(self, rows: Int64[np.ndarray, " m"], others: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
        """Cosine similarity in float64 of each row to another one."""
        return self._in_float64(rows, lambda part: self._units(others[part]))

    def _units(self, rows: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, "m d"]:
        values = self.vectors[rows].astype(np.float64)
        norms = np.sqrt((values * values).sum(axis=1, keepdims=True))
        return np.divide(values, norms, out=np.zeros_like(values), where=norms > 0)

    def _in_float64(
        self, rows: Int64[np.ndarray, " m"], queries: Callable[[slice], Float64[np.ndarray, "..."]]
    ) -> Float64[np.ndarray, " m"]:
        found = np.empty(len(rows))
        step = max(1, _BLOCK_BYTES // (8 * self.width))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            values = self.vectors[rows[part]].astype(np.float64)
            # a sum along rows, not a matrix product, whose order of additions depends on the place of a row
            products, norms = (values * queries(part)).sum(axis=1), np.sqrt((values * values).sum(axis=1))
            found[part] = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
        return found

    @property
    def _unit(self) -> np.float32:
        return _UNIT if self.vectors.dtype == np.float16 else np.float32(1)

    def _blocks(self, first: int = 0) -> Iterator[tuple[slice, Float32[np.ndarray, "b d"]]]:
        """The rows as float32, divided by `_unit`, in a buffer that the next block overwrites."""
        step = max(1, _BLOCK_BYTES // (4 * self.width))
        parts = [slice(start, min(start + step, len(self))) for start in range(first, len(self), step)]
        if self.vectors.dtype != np.float16:
            yield from ((part, self.vectors[part]) for part in parts)
            return
        bits = self.vectors.view(np.int16)
        buffer = np.empty((step, self.width), dtype=np.int32)
        for part in parts:
            block = buffer[: part.stop - part.start]
            np.copyto(block, bits[part])
            np.left_shift(block, _SHIFT, out=block)
            np.bitwise_and(block, _MASK, out=block)
            yield part, block.view(np.float32)

    def _inverse_norms(self) -> Float32[np.ndarray, " n"]:
        """One over each norm; 0 for a row of zeros."""
        squares = np.empty(len(self))
        for part, block in self._blocks():
            values = block * self._unit if self.vectors.dtype == np.float16 else block.astype(np.float64)
            squares[part] = np.einsum("nd,nd->n", values, values)
        with np.errstate(divide="ignore"):
            return np.where(squares > 0, 1 / np.sqrt(squares), 0).astype(np.float32)


def unit(query: Float[np.ndarray, " d"]) -> Float64[np.ndarray, " d"]:
    """A query divided by its norm.

    Raises:
        DataError: It has no direction: all numbers are 0, or one is not finite.
    """
    values = np.asarray(query, dtype=np.float64)
    norm = float(np.sqrt((values * values).sum()))
    if not np.isfinite(norm) or norm == 0:
        raise DataError("the query has no direction: " + ("all its numbers are 0" if norm == 0 else "nan or inf in it"))
    return values / norm


def nearest(
    rows: Rows,
    query: Float64[np.ndarray, " d"],
    *,
    top_k: int,
    allowed: Bool[np.ndarray, " n"] | None = None,
) -> tuple[Int64[np.ndarray, " k"], Float64[np.ndarray, " k"], int]:
    """The rows most similar to a query, as float64 finds them; equal ones in the order of the rows.

    Args:
        rows: All rows.
        query: Of norm 1.
        top_k: Number of rows to find; all allowed ones if there are fewer.
        allowed: Rows that may be found; None for all.

    Returns:
        Indices of the rows, their similarities, and the number of further rows as similar as the last of them.
    """
    scores = rows.similarities(query)
    if allowed is not None:
        scores[~allowed] = -np.inf
    count = min(top_k, len(rows) if allowed is None else int(allowed.sum()))
    if not count:
        return np.empty(0, dtype=np.int64), np.empty(0), 0
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    candidates = np.flatnonzero(scores >= least - np.float32(2 * rows.error))
    exact = rows.exact(candidates, query)
    order = np.lexsort((candidates, -exact))
    best = order[:count]
    num_ties = int((exact[order[count:]] == exact[best[-1]]).sum())
    return candidates[best].astype(np.int64), exact[best], num_ties
