"""Embeddings in memory, read from what `timesformer embed` writes and from Parquet of other tools."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from timesformer.errors import DataError
from timesformer.files import printable
from timesformer.jobs.embedding_schema import EMBEDDING, LEVEL, MODEL_SHA256, SHAPE
from timesformer.jobs.folder import JobFolder
from timesformer.jobs.parquet import arrow, read_table
from timesformer.jobs.parts import ERROR

if TYPE_CHECKING:
    import pyarrow as pa

_CHECKED_AT_A_TIME = 2**22
_EXPONENT_OF_F16 = 0x7C00


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Vectors and what they belong to, row by row, in the order of the files."""

    vectors: Float[np.ndarray, "n d"]
    """Float16 or float32, as stored, not normalized; finite."""
    table: "pa.Table"
    """The other columns, n rows."""
    metadata: Mapping[str, str]
    """Metadata of the schema by key, such as `timesformer.level`; empty in files of most other tools."""
    num_without: int = 0
    """Rows that were left out because they have no vector, such as those with an `error`."""

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def model_sha256(self) -> str:
        """Hash of the model's weights; empty if the files do not say."""
        return self.metadata.get(MODEL_SHA256, "")

    @property
    def level(self) -> str:
        """`cls`, `frame` or `patch`; empty if the files do not say."""
        return self.metadata.get(LEVEL, "")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one embedding: `[d]`, `[t, d]` of frames, or that of the files of patches, `[t, h, w, d]`."""
        return tuple(json.loads(self.metadata[SHAPE])) if SHAPE in self.metadata else self.vectors.shape[1:]


def read_embeddings(
    path: str | Path, *, columns: Sequence[str] | None = None, embedding: str = EMBEDDING
) -> Embeddings:
    """Read embeddings: the folder of a finished `timesformer embed`, a Parquet file, or a folder of Parquet files.

    Args:
        path: The folder or file; files of a folder are read in the order of their names.
        columns: Columns of `table`, those of a file as far as it has them; None for all.
        embedding: Column of the vectors: lists of float16, float32 or float64, all of one length.

    Raises:
        DataError: There is nothing to read, the job is not finished, a file is damaged or of another model than the
            others, a vector holds nan or inf, or vectors differ in length.
        DependencyError: pyarrow is not installed.
    """
    pa = arrow()
    files = embedding_files(path)
    wanted = None if columns is None else [*dict.fromkeys([*columns, embedding])]
    tables = [_read(file, wanted, embedding=embedding) for file in files]
    metadata = _metadata(tables, files)
    vectors, others, num_rows = [], [], 0
    for table, file in zip(tables, files, strict=True):
        num_rows += len(table)
        kept = table.filter(pa.compute.is_valid(table[embedding])) if table[embedding].null_count else table
        vectors += [_vectors(chunk, file) for chunk in kept[embedding].chunks if len(chunk)]
        others.append(kept.drop_columns([embedding]).replace_schema_metadata())
    if not vectors:
        raise DataError(f"{_name(path)}: no row has a vector in column {embedding!r}{_first_error(tables)}")
    _refuse_other_widths(vectors, path)
    joined = vectors[0] if len(vectors) == 1 else np.concatenate(vectors)
    return Embeddings(joined, _joined(others, path), metadata, num_without=num_rows - len(joined))


def embedding_files(path: str | Path) -> list[Path]:
    """The Parquet files of embeddings, in order.

    Raises:
        DataError: There are none, or the job that writes them is not finished.
    """
    given = Path(path).expanduser()
    if given.is_file():
        return [given]
    if not given.is_dir():
        raise DataError(f"{_name(path)}: no such file or folder")
    job = JobFolder(given)
    if not job.job.exists():
        files = sorted(given.glob("*.parquet"))
        if not files:
            raise DataError(f"{_name(path)}: holds no Parquet file, and is not a folder that `timesformer embed` wrote")
        return files
    files = job.row_files()
    if not files or job.part_files() or job.staged.exists():
        raise DataError(f"{_name(path)}: the job is not finished: run the command that started it again")
    return files


def _read(file: Path, columns: list[str] | None, *, embedding: str) -> "pa.Table":
    try:
        table = read_table(file, columns=columns)
    except FileNotFoundError as error:
        raise DataError(f"{_name(file)}: was removed while it was read") from error
    if embedding not in table.column_names:
        found = ", ".join(repr(field.name) for field in table.schema if _is_list_of_floats(field.type))
        hint = f"columns of lists of numbers: {found}" if found else "no column holds lists of numbers"
        raise DataError(f"{_name(file)}: has no column {embedding!r}; {hint}")
    kind = table.schema.field(embedding).type
    if not _is_list_of_floats(kind):
        raise DataError(f"{_name(file)}: column {embedding!r} is of type {kind}, not a list of floating-point numbers")
    return table


def _is_list_of_floats(kind: "pa.DataType") -> bool:
    types = arrow().types
    is_list = types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind)
    return is_list and types.is_floating(kind.value_type)


def _vectors(column: "pa.Array", file: Path) -> Float[np.ndarray, "n d"]:
    """The vectors of a chunk without nulls."""
    lengths = np.unique(arrow().compute.list_value_length(column).to_numpy(zero_copy_only=False))
    if len(lengths) > 1 or not lengths[0]:
        raise DataError(
            f"{_name(file)}: vectors have lengths from {lengths[0]} to {lengths[-1]}, not one length from 1"
        )
    values = column.flatten()
    numbers = values.to_numpy(zero_copy_only=not values.null_count)  # a null becomes nan, which is refused
    numbers = numbers.astype(np.float32) if numbers.dtype == np.float64 else numbers
    if not _are_finite(numbers):
        raise DataError(f"{_name(file)}: a vector holds nan, inf or null")
    return numbers.reshape(len(column), -1)


def _are_finite(numbers: Float[np.ndarray, " n"]) -> bool:
    """Whether all numbers are finite; float16 is compared by its bits, which is ten times as fast."""
    for start in range(0, len(numbers), _CHECKED_AT_A_TIME):
        part = numbers[start : start + _CHECKED_AT_A_TIME]
        if part.dtype == np.float16:
            is_finite = (part.view(np.uint16) & _EXPONENT_OF_F16).max() < _EXPONENT_OF_F16
        else:
            is_finite = np.isfinite(part).all()
        if not is_finite:
            return False
    return True


def _metadata(tables: "Sequence[pa.Table]", files: Sequence[Path]) -> dict[str, str]:
    """The metadata of all files, which must agree in model, level and shape."""
    found = [{key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()
              if key.startswith(b"timesformer.")} for table in tables]  # fmt: skip
    for other, file in zip(found, files, strict=True):
        for key in (MODEL_SHA256, LEVEL, SHAPE):
            if other.get(key) != found[0].get(key):
                raise DataError(
                    f"{_name(file)}: {key} is {other.get(key)!r}, and {found[0].get(key)!r} in {_name(files[0])}: "
                    "embeddings of several models or levels cannot be compared"
                )
    return found[0]


def _refuse_other_widths(vectors: Sequence[np.ndarray], path: str | Path) -> None:
    widths = sorted({each.shape[1] for each in vectors})
    if len(widths) > 1:
        raise DataError(f"{_name(path)}: vectors have lengths from {widths[0]} to {widths[-1]}, not one length from 1")


def _joined(tables: "Sequence[pa.Table]", path: str | Path) -> "pa.Table":
    pa = arrow()
    try:
        return pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException as error:
        raise DataError(f"{_name(path)}: columns of its files have different types: {error}") from error


def _first_error(tables: "Sequence[pa.Table]") -> str:
    """The first reason in a column `error`, as an end of a message."""
    for table in tables:
        if ERROR in table.column_names:
            for reason in table[ERROR].drop_null().slice(0, 1).to_pylist():
                return f"; the first error: {reason}"
    return ""


def _name(path: str | Path) -> str:
    return printable(str(path))
