"""Parquet files: written as a whole or not at all, and equal to the byte for equal tables."""

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from timesformer.errors import DataError, DependencyError
from timesformer.files import printable
from timesformer.jobs.durable import write_durably

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_ROWS_OF_A_BATCH = 4096


def arrow() -> ModuleType:
    """The module `pyarrow`.

    Raises:
        DependencyError: It is not installed.
    """
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise DependencyError(
            "batch jobs and embeddings need pyarrow, which is not installed: pip install 'timesformer[jobs]'"
        ) from error
    return pyarrow


def write_table(table: "pa.Table", path: Path) -> None:
    """Write a table as one file, durably; the same table and schema give the same bytes.

    Raises:
        TimeSformerError: The disk refused.
    """
    pa = arrow()
    sink = pa.BufferOutputStream()
    options = {"row_group_size": max(1, len(table)), "write_page_checksum": True}
    pa.parquet.write_table(table.combine_chunks(), sink, **options, **_encodings(table.schema))
    write_durably(path, memoryview(sink.getvalue()))


def _encodings(schema: "pa.Schema") -> dict[str, Any]:
    """Columns of vectors are stored as they are: they compress by a tenth, and are then read eight times as slowly."""
    vectors = _vector_columns(schema)
    if not vectors:
        return {"compression": "zstd"}
    others = [name for name in schema.names if name not in vectors]
    return {
        "compression": dict.fromkeys(others, "zstd") | {f"{name}.list.element": "none" for name in vectors},
        "use_dictionary": others,
    }


def read_table(path: Path, *, columns: list[str] | None = None) -> "pa.Table":
    """Read a file that `write_table` wrote.

    Raises:
        DataError: The file is damaged.
        FileNotFoundError: There is none.
    """
    pa = arrow()
    try:
        # from memory and without threads: a thread of pyarrow that reads a Python file may end the process at its exit
        content = pa.BufferReader(path.read_bytes())
        file = pa.parquet.ParquetFile(content, page_checksum_verification=True)
        return (
            _read_in_batches(file, columns)
            if _vector_columns(file.schema_arrow)
            else file.read(columns=columns, use_threads=False)
        )
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{printable(str(path))}: cannot be read: {error}") from error


def _vector_columns(schema: "pa.Schema") -> set[str]:
    """Names of the columns of lists of one length."""
    return {field.name for field in schema if arrow().types.is_fixed_size_list(field.type)}


def _read_in_batches(file: "pq.ParquetFile", columns: list[str] | None) -> "pa.Table":
    """Read a file some rows at a time: read as a whole, vectors take four times their memory."""
    batches = [*file.iter_batches(batch_size=_ROWS_OF_A_BATCH, columns=columns, use_threads=False)]
    if not batches:
        return file.read(columns=columns, use_threads=False)
    return arrow().Table.from_batches(batches).replace_schema_metadata(file.schema_arrow.metadata)
