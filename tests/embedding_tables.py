"""Tables of embeddings in tests: rows of classes and groups, as any model might give them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CLASSES = ("clap", "jump", "wave")


def made_rows(*, seed: int = 0, num_rows: int = 90, dim: int = 7, num_groups: int = 6) -> dict[str, Any]:
    """Columns `embedding`, `true_label` and `group`: classes in turn, with a center each, and persons in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_rows) % len(CLASSES)
    groups = np.arange(num_rows) // len(CLASSES) % num_groups
    centers, shifts = rng.normal(size=(len(CLASSES), dim)), 0.4 * rng.normal(size=(num_groups, dim))
    features = centers[labels] + shifts[groups] + 0.8 * rng.normal(size=(num_rows, dim))
    return {
        "embedding": list(features.astype(np.float32)),
        "true_label": [CLASSES[label] for label in labels],
        "group": [f"s{group}" for group in groups],
    }


def made_frames(*, seed: int = 0, num_rows: int = 120, frames: int = 5, dim: int = 4) -> dict[str, Any]:
    """Rows of frames, of which one, at a place that a large fourth channel marks, tells the class; others mislead."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_rows) % len(CLASSES)
    features = rng.normal(size=(num_rows, frames, dim))
    misleading = rng.integers(0, len(CLASSES), (num_rows, frames))
    features[..., : len(CLASSES)] = 2 * np.eye(len(CLASSES))[misleading] + 0.1 * features[..., : len(CLASSES)]
    features[..., 3] *= 0.1
    told = rng.integers(0, frames, num_rows)
    features[np.arange(num_rows), told] = np.pad(2 * np.eye(len(CLASSES))[labels], ((0, 0), (0, 1)), constant_values=3)
    return {
        "embedding": list(features.reshape(num_rows, -1).astype(np.float32)),
        "true_label": [CLASSES[label] for label in labels],
        "group": [f"s{number % 8}" for number in range(num_rows)],
    }


def write_rows(path: Path, columns: Mapping[str, Sequence[Any]], *, metadata: Mapping[str, str] | None = None) -> Path:
    """Write columns as a Parquet file."""
    pq.write_table(pa.table(dict(columns)).replace_schema_metadata(dict(metadata or {})), path)
    return path
