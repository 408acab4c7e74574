"""Exact and approximate search among drawn embeddings: sizes, times, recall, and what float16 costs.

    python benchmarks/search.py --rows 100000
    python benchmarks/search.py --rows 1000000 --approximate --queries 100

Rows are drawn as clusters around 500 centers, in a subspace of 64 of the dimensions, with noise in all of them: videos
of the same action are alike, and features of a network fill few directions. The file is written as `timesformer embed`
writes it. Cold is a whole process of `timesformer search ID`, Python's start included, with the file in the page cache;
warm is `Index.search` in one process. The oracle of the recall is brute force in float64. Prints JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32

from machine import describe_machine
from timesformer.jobs.embedding_schema import LEVEL, MODEL_SHA256, SHAPE
from timesformer.jobs.parquet import write_table
from timesformer.retrieval.approximate import build_approximate, open_approximate
from timesformer.retrieval.index import Index
from timesformer.retrieval.rows import Rows, nearest, unit

WIDTH = 768
TOP_K = 10
_CENTERS, _DIRECTIONS, _ROWS_OF_A_FILE = 500, 64, 100_000


def main() -> None:
    """Draw, measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1000, help="queries of the comparisons")
    parser.add_argument("--colds", type=int, default=7, help="cold searches")
    parser.add_argument("--approximate", action="store_true", help="build and measure the approximate index, too")
    parser.add_argument("--folder", type=Path, default=None, help="keep the files here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "embeddings"
        print(json.dumps(measure(folder, arguments), indent=1))


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """All measurements."""
    num_bytes, drawn = write(folder, num_rows=arguments.rows)
    generator = np.random.default_rng(1)
    chosen = generator.choice(arguments.rows, size=min(arguments.queries, arguments.rows), replace=False)
    queries = drawn[chosen] + 0.02 * generator.standard_normal((len(chosen), WIDTH), dtype=np.float32)
    found: dict[str, Any] = {
        "rows": arguments.rows,
        "width": WIDTH,
        "queries": len(chosen),
        "file_mb": num_bytes / 1e6,
        "cold_search_s": cold(folder, count=arguments.colds),
    }
    began = time.perf_counter()
    index = Index.open(folder)
    found["open_s"] = time.perf_counter() - began
    found["warm_search_ms"] = timed(lambda query: index.search(query, top_k=TOP_K), queries)
    found |= compare(index.rows, drawn, queries)
    if arguments.approximate:
        found["approximate"] = approximate(folder, index, queries)
    return found | {"date": time.strftime("%Y-%m"), "machine": describe_machine() | {"pyarrow": pa.__version__}}


def draw(num_rows: int, *, seed: int = 0) -> Float32[np.ndarray, "n d"]:
    """Clusters in a subspace, with noise."""
    generator = np.random.default_rng(seed)
    basis = generator.standard_normal((_DIRECTIONS, WIDTH), dtype=np.float32)
    centers = generator.standard_normal((_CENTERS, _DIRECTIONS), dtype=np.float32)
    rows = np.empty((num_rows, WIDTH), dtype=np.float32)
    for start in range(0, num_rows, _ROWS_OF_A_FILE):
        count = min(_ROWS_OF_A_FILE, num_rows - start)
        inside = centers[generator.integers(_CENTERS, size=count)]
        inside = inside + 0.7 * generator.standard_normal((count, _DIRECTIONS), dtype=np.float32)
        rows[start : start + count] = inside @ basis / np.sqrt(_DIRECTIONS)
        rows[start : start + count] += 0.1 * generator.standard_normal((count, WIDTH), dtype=np.float32)
    return rows


def write(folder: Path, *, num_rows: int) -> tuple[int, Float32[np.ndarray, "n d"]]:
    """Write the rows as `embed` does; gives the size of the files in bytes, and the rows before they became float16."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = draw(num_rows)
    metadata = {MODEL_SHA256: "0" * 64, LEVEL: "cls", SHAPE: json.dumps([WIDTH])}
    num_bytes = 0
    for number, start in enumerate(range(0, num_rows, _ROWS_OF_A_FILE)):
        part = rows[start : start + _ROWS_OF_A_FILE].astype(np.float16)
        numbers = range(start, start + len(part))
        table = pa.table(
            {
                "id": pa.array([row_id(row) for row in numbers]),
                "path": pa.array([f"videos/{row:07d}.mp4" for row in numbers]),
                "start": pa.nulls(len(part), pa.float64()),
                "end": pa.nulls(len(part), pa.float64()),
                "sha256": pa.array([f"{row * 2**200:064x}" for row in numbers]),
                "embedding": pa.FixedSizeListArray.from_arrays(
                    pa.array(part.ravel()), type=pa.list_(pa.field("element", pa.float16()), WIDTH)
                ),
                "label": pa.array([f"class {row % 400}" for row in numbers]),
            }
        )
        file = folder / f"part-{number:05d}.parquet"
        write_table(table.replace_schema_metadata(metadata), file)
        num_bytes += file.stat().st_size
    return num_bytes, rows


def row_id(row: int) -> str:
    """An id of 64 hexadecimal digits that do not compress, as ids are hashes."""
    return bytes(np.random.default_rng(row).integers(256, size=32, dtype=np.uint8)).hex()


def cold(folder: Path, *, count: int, options: tuple[str, ...] = ()) -> dict[str, float]:
    """Seconds of whole processes that search by the id of a row."""
    seconds = []
    for number in range(count + 1):
        command = [sys.executable, "-m", "timesformer", "search", row_id(number), "--index", str(folder), *options]
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - began)
    return summary(seconds[1:])  # the first fills the page cache


def timed(search: Callable[[np.ndarray], Any], queries: Float32[np.ndarray, "q d"]) -> dict[str, float]:
    """Milliseconds of searches, one after the other."""
    milliseconds = []
    for query in queries:
        began = time.perf_counter()
        search(query)
        milliseconds.append(1000 * (time.perf_counter() - began))
    return summary(milliseconds)


def summary(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and maximum."""
    return {"median": float(np.median(values)), "p95": float(np.quantile(values, 0.95)), "max": max(values)}


def compare(rows: Rows, drawn: Float32[np.ndarray, "n d"], queries: Float32[np.ndarray, "q d"]) -> dict[str, float]:
    """Recall against brute force in float64 on the stored rows, and the agreement with rows of float32."""
    exact, full = top(rows.vectors, queries), top(drawn, queries)
    found = np.stack([nearest(rows, unit(query), top_k=TOP_K)[0] for query in queries])
    overlap = np.array([len(set(one) & set(other)) for one, other in zip(found.tolist(), full.tolist(), strict=True)])
    return {
        "recall_at_10": float(np.mean([len(set(one) & set(other)) / TOP_K
                                       for one, other in zip(found.tolist(), exact.tolist(), strict=True)])),
        "float16_has_the_top_10_of_float32_in_percent_of_queries": 100 * float((overlap == TOP_K).mean()),
        "float16_has_the_order_of_float32_in_percent_of_queries": 100 * float((found == full).all(axis=1).mean()),
        "float16_mean_overlap_at_10": float(overlap.mean() / TOP_K),
    }  # fmt: skip


def top(vectors: np.ndarray, queries: Float32[np.ndarray, "q d"]) -> np.ndarray:
    """The nearest rows of each query by brute force in float64, some queries and rows at a time."""
    nearest_rows = []
    for first in range(0, len(queries), 100):
        units = np.stack([unit(query) for query in queries[first : first + 100]])
        similarities = np.empty((len(units), len(vectors)))
        for start in range(0, len(vectors), 10_000):
            part = vectors[start : start + 10_000].astype(np.float64)
            similarities[:, start : start + 10_000] = units @ (part / np.linalg.norm(part, axis=1, keepdims=True)).T
        nearest_rows.append(np.argsort(-similarities, axis=1, kind="stable")[:, :TOP_K])
    return np.concatenate(nearest_rows)


def approximate(folder: Path, exact: Index, queries: Float32[np.ndarray, "q d"]) -> dict[str, Any]:
    """Build, size, recall and times of the approximate index."""
    began = time.perf_counter()
    built = build_approximate(folder)
    seconds = time.perf_counter() - began
    index = open_approximate(folder)
    assert index is not None
    overlaps = []
    for query in queries:
        wanted = {each.row for each in exact.search(query, top_k=TOP_K).neighbors}
        overlaps.append(len(wanted & {each.row for each in index.search(query, top_k=TOP_K).neighbors}) / TOP_K)
    return {
        "build_s": seconds,
        "file_mb": built.num_bytes / 1e6,
        "num_candidates": built.num_candidates,
        "recall_when_built": built.recall,
        "recall_at_10": float(np.mean(overlaps)),
        "warm_search_ms": timed(lambda query: index.search(query, top_k=TOP_K), queries),
        "cold_search_s": cold(folder, count=3, options=("--approximate",)),
    }


if __name__ == "__main__":
    main()
