"""`timesformer search`"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from timesformer.cli.console import note, print_json
from timesformer.cli.options import DATA, FLAG, OUTPUT, AsJson
from timesformer.errors import ConfigError
from timesformer.retrieval.index import Index
from timesformer.retrieval.result import Neighbor, SearchResult


def search(
    query: Annotated[str, Parameter(metavar="CLIP|ID")],
    /,
    *,
    index: Annotated[Path, Parameter(group=DATA, metavar="DIR")],
    where: Annotated[tuple[str, ...], Parameter(group=DATA, metavar="COLUMN=VALUE", negative=())] = (),
    other_videos: Annotated[bool, FLAG, Parameter(group=DATA)] = False,
    top_k: Annotated[int, Parameter(group=OUTPUT, metavar="K")] = 10,
    json: AsJson = False,
) -> int:
    """Find the clips that are most similar to a clip.

    Every row is compared: the result is exact. The query itself is left out: its row, and rows of the same bytes and
    the same segment.

    Example: `timesformer search clip.mp4 --index embeddings --top-k 5 --where label=clap`

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
    top_k
        Number of clips to show.
    """
    conditions = parse_where(where)
    opened = Index.open(index, columns=tuple(conditions))
    result = opened.search(query, top_k=top_k, where=conditions, other_videos=other_videos)
    _show(result, as_json=json)
    return 0


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
