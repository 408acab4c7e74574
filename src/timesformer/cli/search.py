"""`timesformer search`"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

from cyclopts import Parameter

from timesformer.cli.analysis import NO_ANALYSIS, Analysis, analyze
from timesformer.cli.console import note, print_json, progress
from timesformer.cli.options import (
    DATA,
    FLAG,
    MODEL_NAMES,
    OUTPUT,
    PREDICT_COMPUTE,
    AsJson,
    Overrides,
    Overwrite,
    PredictCompute,
    compute_options,
    model_overrides,
)
from timesformer.data.video.tar_member import is_there
from timesformer.errors import ConfigError
from timesformer.jobs.parquet import arrow
from timesformer.outputs import check_files
from timesformer.retrieval.index import Index
from timesformer.retrieval.result import Neighbor, SearchResult

if TYPE_CHECKING:
    from timesformer.retrieval.approximate import ApproximateIndex
    from timesformer.retrieval.query import Query

AnyIndex: TypeAlias = "Index | ApproximateIndex"


def search(
    query: Annotated[str, Parameter(group=DATA, metavar="CLIP|ID")] = "",
    /,
    *,
    index: Annotated[Path, Parameter(group=DATA, metavar="DIR")],
    where: Annotated[tuple[str, ...], Parameter(group=DATA, metavar="COLUMN=VALUE", negative=())] = (),
    other_videos: Annotated[bool, FLAG, Parameter(group=DATA)] = False,
    approximate: Annotated[bool, FLAG, Parameter(group=DATA)] = False,
    model: Annotated[str, MODEL_NAMES] = "",
    overrides: Overrides = (),
    compute: PredictCompute = PREDICT_COMPUTE,
    top_k: Annotated[int, Parameter(group=OUTPUT, metavar="K")] = 10,
    page: Annotated[Path | None, Parameter(group=OUTPUT, metavar="FILE.html")] = None,
    overwrite: Overwrite = False,
    json: AsJson = False,
    analysis: Analysis = NO_ANALYSIS,
) -> int:
    """Find the clips that are most similar to a clip.

    Every row is compared: the result is exact. The query itself is left out: its row, and rows of the same bytes and
    the same segment.

    Example: `timesformer search clip.mp4 --index embeddings --top-k 5 --where label=clap`

    Without a query, about all rows: `timesformer search --index embeddings --map map.html --knn 5 --duplicates 0.02`

    Parameters
    ----------
    query
        A video, which is embedded with the model of the index, or the id of a row or its first digits, at least 6.
    index
        Folder that `timesformer embed` wrote, or a Parquet file or a folder of Parquet files with a column `embedding`.
    where
        Only rows with this value in a column, such as `label=clap`; repeatable: one of the values of each column.
    other_videos
        Leave out the other segments of the query's video, too.
    approximate
        Search a graph instead, which may miss a neighbor: for more than a million rows, needs `timesformer[index]`. It
        is built at the first use, in minutes, and stored beside the rows; not with `--where`.
    model
        The model of the index, if it is no longer where it was (another model is refused).
    top_k
        Number of clips to show.
    page
        Also write the result as a page with pictures.
    """
    if not query and not analysis.is_wanted:
        raise ConfigError("which clip? Give CLIP or the ID of a row, or --map, --duplicates or --knn for all rows")
    analysis.check(overwrite=overwrite)
    if page is not None:
        check_files(page, overwrite=overwrite)
    _import_arrow_without_pandas()
    if query:
        conditions = parse_where(where)
        opened = _open_approximate(index, where) if approximate else Index.open(index, columns=tuple(conditions))
        found = _embed(opened, query, model=model, overrides=overrides, compute=compute) if is_there(query) else None
        result = opened.search(
            query if found is None else found.vector, top_k=top_k, where=conditions, other_videos=other_videos,
            sha256="" if found is None else found.sha256, name=query,
        )  # fmt: skip
        if page is not None:
            _write_page(opened, result, page, is_clip=found is not None, compute=compute, overwrite=overwrite)
        _show(result, as_json=json)
    else:
        _refuse_without_query(where=where, other_videos=other_videos, approximate=approximate, model=model, page=page)
    if analysis.is_wanted:
        analyze(index, analysis, allow_codecs=compute.allow_codecs, overwrite=overwrite, as_json=json)
    return 0


def _open_approximate(path: Path, where: Sequence[str]) -> "ApproximateIndex":
    """Open the approximate index, which is built if there is none of these rows."""
    from timesformer.retrieval.approximate import build_approximate, open_approximate

    if where:
        raise ConfigError("--where has no effect on the approximate index: leave out --approximate")
    found = open_approximate(path)
    if found is not None:
        return found
    note(f"{path}: building the approximate index; the next search uses it")
    with progress("building", unit="rows") as on_progress:
        built = build_approximate(path, on_progress=on_progress)
    note(f"recall of the 10 nearest neighbors: {built.recall:.1%}, over {built.num_queries} rows as queries")
    found = open_approximate(path)
    if found is None:
        raise ConfigError(f"{path}: has changed while its approximate index was built: run the command again")
    return found


def _import_arrow_without_pandas() -> None:
    """Import pyarrow in a new process so that it finds no pandas, which it would import for half a second."""
    if "pyarrow" in sys.modules or "pandas" in sys.modules:
        return
    finder = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        arrow().array([0])  # it looks for pandas once, at the first conversion
    finally:
        sys.meta_path.remove(finder)


class _WithoutPandas(MetaPathFinder):
    """Import hook that hides pandas."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Refuse pandas; leave all others to the next hook."""
        if fullname == "pandas":
            raise ModuleNotFoundError("hidden while pyarrow is imported", name=fullname)


def parse_where(texts: Sequence[str]) -> dict[str, list[str]]:
    """Allowed values by column, from texts such as `label=clap`.

    Raises:
        ConfigError: A text has no `=`, or nothing on a side of it.
    """
    conditions: dict[str, list[str]] = {}
    for text in texts:
        column, equals, value = text.partition("=")
        if not (equals and column and value):
            raise ConfigError(f"--where {text}: is not COLUMN=VALUE, such as label=clap")
        conditions.setdefault(column, []).append(value)
    return conditions


def _refuse_without_query(**given: object) -> None:
    """Refuse options that have an effect on a query only.

    Raises:
        ConfigError: One is given.
    """
    for name, value in given.items():
        if value:
            raise ConfigError(f"--{name.replace('_', '-')} has no effect without CLIP or ID")


def _embed(index: AnyIndex, path: str, *, model: str, overrides: Sequence[str], compute: PredictCompute) -> "Query":
    from timesformer.retrieval.query import read_query

    return read_query(
        index, path, model=model or None, options=compute_options(compute), overrides=model_overrides(overrides)
    )


def _write_page(
    index: AnyIndex, result: SearchResult, page: Path, *, is_clip: bool, compute: PredictCompute, overwrite: bool
) -> None:
    from timesformer.retrieval.pictures import Clip, PictureOptions, working_folder
    from timesformer.retrieval.search_page import NUM_FRAMES, write_results

    query = Clip(result.query, None, None)
    if not is_clip:
        (row,) = index.catalog.describe([index.catalog.find(result.query)], columns=("path", "start", "end"))
        query = Clip(row["path"] or "", row["start"], row["end"])
    options = PictureOptions(
        height=96, num_frames=NUM_FRAMES, folder=working_folder(index.catalog.source), allow_codecs=compute.allow_codecs
    )
    write_results(result, page, query=query, options=options, overwrite=overwrite)


def _show(result: SearchResult, *, as_json: bool) -> None:
    if as_json:
        print_json(result.to_dict())
        return
    for neighbor in result.neighbors:
        print("  ".join(_cells(neighbor)), flush=True)
    if not result.neighbors:
        note(f"{result.query}: no other row meets the conditions")
    if result.num_ties:
        note(f"{result.num_ties} more rows are exactly as similar as the last")


def _cells(neighbor: Neighbor) -> list[str]:
    times = "" if neighbor.start is None or neighbor.end is None else f"{neighbor.start:g} to {neighbor.end:g} s"
    cells = (neighbor.path or neighbor.id, times, neighbor.label or "")
    return [f"{neighbor.rank:3}", f"{neighbor.similarity:6.3f}", *filter(None, cells)]
