"""What is computed from all rows of an index, by `embed` and `search` alike: map, duplicates and kNN accuracy."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from timesformer.cli.console import note, print_json, progress
from timesformer.errors import ConfigError
from timesformer.outputs import check_files

if TYPE_CHECKING:
    from timesformer.retrieval.index import Index
    from timesformer.retrieval.knn import KnnAccuracy

ANALYSIS = Group("Analysis", sort_key=7)
_HTML = (".html", ".htm")


@Parameter(name="*", group=ANALYSIS)
@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What to compute from all rows."""

    map: Annotated[Path | None, Parameter(metavar="FILE.html")] = None
    """Write a page with a point for each clip, by t-SNE and by principal components, with its picture and class."""
    map_points: Annotated[int, Parameter(metavar="N")] = 2000
    """Most points of the map; of more clips, each class by its share."""
    duplicates: Annotated[float | None, Parameter(metavar="EPS")] = None
    """Print clips with a cosine similarity of at least 1 - EPS, in groups, as CSV or, with `--json`, as JSON."""
    knn: Annotated[int | None, Parameter(metavar="K")] = None
    """Print the accuracy of the K nearest neighbors; clips of the same group, video or file never vote."""

    @property
    def is_wanted(self) -> bool:
        """Whether anything is to be computed."""
        return self.map is not None or self.duplicates is not None or self.knn is not None

    def check(self, *, overwrite: bool, reads: Sequence[Path] = ()) -> None:
        """Refuse, before the work, what cannot work after it.

        Raises:
            ConfigError: A value is out of its range, or the map cannot be written.
        """
        if self.map is None and self.map_points != NO_ANALYSIS.map_points:
            raise ConfigError("--map-points has no effect without --map")
        if self.map_points < 2:
            raise ConfigError(f"--map-points {self.map_points}: must be at least 2")
        if self.duplicates is not None and not 0 <= self.duplicates <= 1:
            raise ConfigError(f"--duplicates {self.duplicates}: EPS must lie between 0 and 1")
        if self.knn is not None and self.knn < 1:
            raise ConfigError(f"--knn {self.knn}: K must be at least 1")
        if self.map is not None:
            if self.map.suffix.lower() not in _HTML:
                raise ConfigError(f"--map {self.map}: is a page: name a file that ends with .html")
            check_files(self.map, overwrite=overwrite, reads=reads)


NO_ANALYSIS = Analysis()


def analyze(
    path: Path,
    analysis: Analysis,
    *,
    allow_codecs: Collection[str] = (),
    overwrite: bool = False,
    as_json: bool = False,
) -> None:
    """Compute what is wanted from all rows of an index, and print it.

    Raises:
        TimeSformerError: The index cannot be read, or a result cannot be computed or written.
    """
    from timesformer.retrieval.index import Index

    index = Index.open(path, columns=None)
    if analysis.duplicates is not None:
        _print_duplicates(index, analysis.duplicates, as_json=as_json)
    if analysis.knn is not None:
        _print_knn(index, analysis.knn, as_json=as_json)
    if analysis.map is not None:
        _write_map(index, path, analysis, allow_codecs=allow_codecs, overwrite=overwrite, as_json=as_json)


def _print_duplicates(index: "Index", eps: float, *, as_json: bool) -> None:
    from timesformer.retrieval.duplicates import find_duplicates

    found = find_duplicates(index, eps=eps)
    if as_json:
        print_json({"duplicates": found.to_dict()})
    else:
        print(found.to_csv(), end="", flush=True)
    groups = found.groups
    num_rows = sum(map(len, groups))
    note(f"{num_rows} of {len(index)} clips in {len(groups)} groups of near-duplicates (similarity >= {1 - eps:g})")


def _print_knn(index: "Index", k: int, *, as_json: bool) -> None:
    from timesformer.retrieval.knn import knn_accuracy

    found = knn_accuracy(index, k=k)
    if as_json:
        print_json({"knn": found.to_dict()})
    else:
        print(describe_knn(found), flush=True)


def describe_knn(found: "KnnAccuracy") -> str:
    """Accuracy, interval, and what was left out, in one line."""
    from timesformer.evaluation.intervals import describe_method, format_interval

    interval = found.interval
    method = describe_method(interval.method, num_groups=interval.num_groups, num_alone=0)
    left_out = {"without a class": found.num_unlabeled, "without a neighbor of another source": found.num_alone}
    same = ", ".join(found.left_out)
    return (
        f"kNN accuracy, k={found.k}: {found.accuracy:.1%} of {found.num_rows} clips (95 %: "
        f"{format_interval(interval.low, interval.high)}, {method}; chance {found.chance:.1%}); "
        f"{f'clips of the same {same} do not vote' if same else 'all other clips vote'}"
        + "".join(f"; {count} {what}" for what, count in left_out.items() if count)
    )


def _write_map(
    index: "Index", path: Path, analysis: Analysis, *, allow_codecs: Collection[str], overwrite: bool, as_json: bool
) -> None:
    from timesformer.retrieval.map import make_map
    from timesformer.retrieval.map_page import write_map
    from timesformer.retrieval.pictures import PictureOptions, working_folder

    target = analysis.map
    assert target is not None
    with progress("t-SNE", unit="steps") as on_progress:
        found = make_map(index, most_points=analysis.map_points, on_progress=on_progress)
    options = PictureOptions(folder=working_folder(path), allow_codecs=allow_codecs)
    with progress("pictures") as on_progress:
        num_without = write_map(
            found, target, title=f"Map of {path.name or path}", options=options, overwrite=overwrite,
            on_progress=on_progress,
        )  # fmt: skip
    if as_json:
        print_json({"map": {"path": str(target), "num_points": len(found.rows), "num_rows": len(index),
                            "num_without_picture": num_without}})  # fmt: skip
    else:
        print(f"{target}: {len(found.rows)} of {len(index)} clips")
    if num_without:
        note(f"{num_without} clips have no picture: their videos are not there or cannot be decoded")
