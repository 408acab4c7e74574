"""Approximate search by usearch, for more than a million rows: a graph of neighbors, stored beside the rows.

Its file holds the vectors too, and is mapped into memory, so that a search reads the columns of the rows and little
else. It belongs to its rows: the hash of their files is stored with it, and an index of other rows is refused. Its
recall is measured when it is built: the fraction of the 10 exact nearest neighbors that it finds, over some of the rows
as queries. The search becomes wider until that is at least 0.98.

Source: Malkov and Yashunin 2018, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
Small World graphs".
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256 as new_sha256
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from timesformer.config.checks import check_count, refuse
from timesformer.errors import DataError, DependencyError
from timesformer.files import replacing_durably, sha256_of
from timesformer.jobs.embedding_schema import EMBEDDING
from timesformer.jobs.parquet import arrow, read_table
from timesformer.outputs import writing
from timesformer.retrieval.catalog import Catalog
from timesformer.retrieval.embeddings import embedding_files
from timesformer.retrieval.index import COLUMNS, Index
from timesformer.retrieval.result import SearchResult
from timesformer.retrieval.rows import Rows, unit
from timesformer.retrieval.where import Where

FORMAT_VERSION = 1
LEAST_RECALL = 0.98
_NUM_QUERIES = 200
_TOP_K = 10
_WIDTHS = (64, 128, 256, 512, 1024, 2048, 4096)
"""Candidates of a search, tried in this order until the recall is high enough."""
_CHUNK = 2**14

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What is stored about an approximate index."""

    rows_sha256: str
    """Hash of the files of its rows."""
    stamps: tuple[tuple[str, int, int], ...]
    """Name, size and time of change of each of them: while these stay, the hash is not computed again."""
    num_rows: int
    without: tuple[int, ...]
    """Rows of the files that have no vector, and are no rows of the index."""
    num_candidates: int
    """Width of a search."""
    recall: float
    """Fraction of the 10 nearest neighbors that are found, 0 to 1."""
    num_queries: int
    """Rows that were searched for, to measure it."""
    num_bytes: int
    """Size of the file of the graph: a shorter one, mapped into memory, would end the process."""
    usearch: str
    """Version of usearch."""


class ApproximateIndex:
    """Approximate search among embeddings; `open_approximate` opens one.

    Args:
        graph: The index of usearch.
        catalog: What the rows say.
        built: What is stored about it.
    """

    def __init__(self, graph: Any, catalog: Catalog, built: Built) -> None:
        self._graph = graph
        self.catalog = catalog
        self.built = built

    def __len__(self) -> int:
        return len(self.catalog)

    def vector(self, row: int) -> Float[np.ndarray, " d"]:
        """The vector of a row, as stored."""
        return self._graph.get(row)

    def search(
        self,
        query: str | Float[np.ndarray, " d"],
        *,
        top_k: int = 10,
        where: Where | None = None,
        sha256: str = "",
        other_videos: bool = False,
        name: str = "",
    ) -> SearchResult:
        """As `Index.search`, without conditions; a neighbor may be missing. Similarities are exact.

        Raises:
            ConfigError: No row has the id, `top_k` is not a whole number from 1, or `where` is given.
            DataError: The vector has another length, or no direction.
        """
        check_count("top_k", top_k)
        refuse(bool(where), "where has no effect on an approximate index: use Index, which is exact")
        catalog = self.catalog
        row = catalog.find(query) if isinstance(query, str) else None
        vector = unit(catalog.checked(query, width=self._graph.ndim) if row is None else self.vector(row))
        is_left_out = catalog.left_out(row, sha256, other_videos=other_videos)
        num_left_out = int(is_left_out.sum())
        keys = _nearest(self._graph, vector, count=min(top_k + num_left_out, len(self)))
        keys = keys[~is_left_out[keys]]
        exact = Rows(np.stack(self._graph.get(keys))).exact(np.arange(len(keys)), vector) if len(keys) else np.empty(0)
        best = np.lexsort((keys, -exact))[:top_k]
        return catalog.result(
            keys[best], exact[best], 0, query=name if row is None else catalog.ids[row].as_py(),
            num_searched=len(self) - num_left_out, num_left_out=num_left_out, is_exact=False,
        )  # fmt: skip


def build_approximate(
    path: str | Path, *, num_threads: int = 0, on_progress: OnProgress = lambda done, total: None
) -> Built:
    """Build the approximate index of embeddings, measure its recall, and store it beside them; replaces an older one.

    Args:
        path: As for `Index.open`.
        num_threads: Threads that insert rows; 0 for one for each core. With one, equal rows give equal indexes.
        on_progress: Called with the rows inserted and in total.

    Raises:
        DependencyError: usearch is not installed.
        DataError: The rows cannot be read.
        TimeSformerError: The disk refused.
    """
    usearch = _usearch()
    exact = Index.open(path)
    vectors = exact.rows.vectors
    kind = "f16" if vectors.dtype == np.float16 else "f32"
    graph = usearch.index.Index(ndim=vectors.shape[1], metric="cos", dtype=kind)
    for start in range(0, len(vectors), _CHUNK):
        part = vectors[start : start + _CHUNK]
        graph.add(np.arange(start, start + len(part)), part, threads=num_threads)
        on_progress(start + len(part), len(vectors))
    queries = np.linspace(0, len(vectors) - 1, min(_NUM_QUERIES, len(vectors))).round().astype(np.int64)
    expected = [_exact_neighbors(exact, row) for row in queries]
    recall = 0.0
    for width in _WIDTHS:
        graph.expansion_search = width
        recall = _recall(graph, vectors, queries, expected)
        if recall >= LEAST_RECALL:
            break
    built = Built(
        rows_sha256=_hash(embedding_files(path)), stamps=_stamps(embedding_files(path)), num_rows=len(vectors),
        without=_without(path), num_candidates=graph.expansion_search, recall=recall, num_queries=len(queries),
        num_bytes=graph.serialized_length, usearch=usearch.__version__,
    )  # fmt: skip
    _store(graph, built, Path(path))
    return built


def open_approximate(path: str | Path) -> ApproximateIndex | None:
    """Open the approximate index of embeddings; None if there is none, or it is one of other rows.

    Args:
        path: As for `Index.open`.

    Raises:
        DependencyError: usearch is not installed.
        DataError: It is damaged, or the rows cannot be read.
    """
    usearch = _usearch()
    graph_file, about_file = _files(Path(path))
    if not (graph_file.is_file() and about_file.is_file()):
        return None
    built = _read_about(about_file)
    files = embedding_files(path)
    if built is None or (built.stamps != _stamps(files) and built.rows_sha256 != _hash(files)):
        return None
    if graph_file.stat().st_size != built.num_bytes:
        raise DataError(f"{graph_file}: is damaged; delete it, and it is built again")
    try:
        graph = usearch.index.Index.restore(str(graph_file), view=True)
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{graph_file}: is damaged: {error}; delete it, and it is built again") from error
    graph.expansion_search = built.num_candidates
    return ApproximateIndex(graph, _catalog(path, files, built), built)


def _usearch() -> Any:
    try:
        import usearch
        import usearch.index
    except ImportError as error:
        raise DependencyError(
            "an approximate index needs usearch, which is not installed: pip install 'timesformer[index]'; "
            "exact search needs nothing"
        ) from error
    return usearch


def _nearest(graph: Any, vector: Float[np.ndarray, " d"], *, count: int) -> np.ndarray:
    # a search gives no more rows than it has candidates
    width = graph.expansion_search
    graph.expansion_search = max(width, count)
    found = graph.search(vector.astype(np.float32), count, threads=1)
    graph.expansion_search = width
    return found.keys.astype(np.int64)


def _exact_neighbors(index: Index, row: np.int64) -> set[int]:
    return {each.row for each in index.search(index.vector(int(row)), top_k=_TOP_K).neighbors}


def _recall(graph: Any, vectors: np.ndarray, queries: np.ndarray, expected: Sequence[set[int]]) -> float:
    num_found = 0
    for row, exact in zip(queries, expected, strict=True):
        num_found += len(exact & set(_nearest(graph, vectors[row], count=len(exact)).tolist()))
    return num_found / sum(map(len, expected))


def _files(path: Path) -> tuple[Path, Path]:
    """The graph, and what is stored about it."""
    base = path / "approximate" if path.is_dir() else path
    return base.with_name(f"{base.name}.usearch"), base.with_name(f"{base.name}.usearch.json")


def _store(graph: Any, built: Built, path: Path) -> None:
    graph_file, about_file = _files(path)
    with writing(graph_file):
        about_file.unlink(missing_ok=True)  # first: a new graph is never taken for that of an old description
        with replacing_durably(graph_file) as partial:
            graph.save(str(partial))
        with replacing_durably(about_file) as partial:
            partial.write_text(json.dumps({"format_version": FORMAT_VERSION} | asdict(built)), "utf-8")


def _read_about(file: Path) -> Built | None:
    """What is stored about an index; None if it is of another version or damaged."""
    try:
        content = json.loads(file.read_bytes())
        if content.pop("format_version") != FORMAT_VERSION:
            return None
        content["stamps"] = tuple(map(tuple, content["stamps"]))
        content["without"] = tuple(content["without"])
        return Built(**content)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _stamps(files: Sequence[Path]) -> tuple[tuple[str, int, int], ...]:
    return tuple((file.name, status.st_size, status.st_mtime_ns) for file in files for status in [file.stat()])


def _hash(files: Sequence[Path]) -> str:
    digest = new_sha256()
    for file in files:
        digest.update(f"{sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _without(path: str | Path) -> tuple[int, ...]:
    """Rows of the files that have no vector."""
    missing = [read_table(file, columns=[EMBEDDING])[EMBEDDING].is_null().to_numpy() for file in embedding_files(path)]
    return tuple(np.flatnonzero(np.concatenate(missing)).tolist())


def _catalog(path: str | Path, files: Sequence[Path], built: Built) -> Catalog:
    """The columns of the rows, without their vectors."""
    pa = arrow()
    tables = [read_table(file, columns=list(COLUMNS)) for file in files]
    metadata = {key.decode(): value.decode() for key, value in (tables[0].schema.metadata or {}).items()
                if key.startswith(b"timesformer.")}  # fmt: skip
    table = pa.concat_tables([each.replace_schema_metadata() for each in tables], promote_options="default")
    if built.without and table.num_columns:
        kept = np.ones(len(table), dtype=bool)
        kept[list(built.without)] = False
        table = table.filter(pa.array(kept))
    return Catalog(table, metadata, source=str(path), num_rows=built.num_rows)
