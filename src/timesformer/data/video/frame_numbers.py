"""Numbers of frames that a caller asks for."""

import operator
from collections.abc import Iterable
from typing import SupportsIndex

import numpy as np
from jaxtyping import Int64

from timesformer.errors import DataError

_LAST_INDEX = 2**62
"""Cap on frame numbers, so that they fit into int64; any number past the end gives the last frame."""


def checked_indices(indices: Iterable[SupportsIndex]) -> Int64[np.ndarray, " t"]:
    """Frame numbers as an array of integers.

    Raises:
        DataError: `indices` is empty, or one is negative or not a whole number.
    """
    wanted = []
    for index in indices:
        try:
            wanted.append(operator.index(index))
        except TypeError as error:
            raise DataError(f"frame index {index!r} is not a whole number") from error
        if wanted[-1] < 0:
            raise DataError(f"frame index {index!r} is negative: frames are counted from 0")
    if not wanted:
        raise DataError("indices is empty: ask for at least one frame")
    return np.array([min(index, _LAST_INDEX) for index in wanted], dtype=np.int64)
