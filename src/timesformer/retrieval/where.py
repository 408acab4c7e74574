"""Conditions on the columns of embeddings: which rows may be found."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from timesformer.errors import ConfigError, did_you_mean
from timesformer.jobs.parquet import arrow

if TYPE_CHECKING:
    import pyarrow as pa

Where = Mapping[str, Sequence[object]]
"""Allowed values of each column; a row has one of them in every column."""

_SHOWN = 20
"""Values that a message lists."""


def matching(table: "pa.Table", where: Where) -> Bool[np.ndarray, " n"] | None:
    """The rows that meet all conditions; None for all rows, if there is no condition.

    Values are compared as the type of the column, so `start=1` finds 1.0; a null matches nothing.

    Args:
        table: The columns, as far as the conditions name them.
        where: The conditions.

    Raises:
        ConfigError: There is no such column, or a value is not in it.
    """
    found = None
    for column, values in where.items():
        refuse_unknown(column, table.column_names)
        mask = np.logical_or.reduce([_equal(table[column], value, column=column) for value in values])
        found = mask if found is None else found & mask
    return found


def refuse_unknown(column: str, known: Sequence[str]) -> None:
    """Refuse a column that does not exist.

    Raises:
        ConfigError: It does not exist.
    """
    if column not in known:
        raise ConfigError(
            f"where {column}=...: there is no column {column!r}{did_you_mean(column, known)}; "
            f"columns: {', '.join(known)}"
        )


def _equal(values: "pa.ChunkedArray", value: object, *, column: str) -> Bool[np.ndarray, " n"]:
    pa = arrow()
    if pa.types.is_nested(values.type):
        raise ConfigError(f"where {column}={value}: the column holds lists ({values.type}), which are not compared")
    try:
        wanted = pa.scalar(str(value)).cast(values.type)
    except pa.ArrowException:
        wanted = None
    is_equal = None if wanted is None else pa.compute.equal(values, wanted).fill_null(False).to_numpy()
    if is_equal is None or not is_equal.any():
        raise ConfigError(f"where {column}={value}: no row has this value{_existing(values, str(value))}")
    return is_equal


def _existing(values: "pa.ChunkedArray", value: str) -> str:
    """The values of a column, as an end of a message."""
    unique = [_text(each) for each in values.unique().to_pylist() if each is not None]
    if not unique:
        return "; the column is empty"
    more = f" and {len(unique) - _SHOWN} more" if len(unique) > _SHOWN else ""
    return f"{did_you_mean(value, unique)}; values: {', '.join(sorted(unique)[:_SHOWN])}{more}"


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
