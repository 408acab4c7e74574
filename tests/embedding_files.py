"""Files of embeddings for tests, as `timesformer embed` writes them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from timesformer.jobs.embedding_schema import LEVEL, MODEL_SHA256, SHAPE

MODEL = "ab" * 32


def write_embeddings(
    path: Path, vectors: np.ndarray, /, *, model_sha256: str = MODEL, level: str = "cls", **columns: Sequence[Any]
) -> Path:
    """Write a file of float16 or float32 vectors with columns as `embed` has them; given ones replace them."""
    count, width = vectors.shape
    kind = pa.list_(pa.from_numpy_dtype(vectors.dtype), width)
    defaults = {
        "id": pa.array([f"{number:02d}{'f' * 62}" for number in range(count)]),
        "path": pa.array([f"videos/{number}.mp4" for number in range(count)]),
        "start": pa.nulls(count, pa.float64()),
        "end": pa.nulls(count, pa.float64()),
        "sha256": pa.array([f"{number:02d}{'e' * 62}" for number in range(count)]),
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=kind),
        "label": pa.array([("clap", "wave")[number % 2] for number in range(count)]),
        "score": pa.array(np.linspace(0.5, 1, count)),
        "true_label": pa.nulls(count, pa.string()),
        "group": pa.nulls(count, pa.string()),
        "error": pa.nulls(count, pa.string()),
    }
    table = pa.table(defaults | {name: pa.array(values) for name, values in columns.items()})
    metadata = {MODEL_SHA256: model_sha256, LEVEL: level, SHAPE: json.dumps([width])}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path
