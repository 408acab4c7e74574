"""Labeled rows of a table of embeddings: features, classes, groups, and what each row is of."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from timesformer.config.class_names_file import is_class_name
from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.video.segment import Segment
from timesformer.errors import ConfigError, DataError, did_you_mean
from timesformer.jobs.embedding_schema import SETTINGS
from timesformer.jobs.parquet import arrow
from timesformer.names import compose
from timesformer.retrieval.embeddings import Embeddings, read_embeddings

if TYPE_CHECKING:
    import pyarrow as pa

_OPTIONAL = ("id", "path", "start", "end", "sha256")
"""Columns that are used if they exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What computed the features of a table; empty where the table does not say."""

    model_sha256: str = ""
    level: str = ""

    def describe(self) -> str:
        """`level cls of model 1f2e3d4c5b6a`, or that the model is unknown."""
        level = f"level {self.level} of " if self.level else ""
        return f"{level}{f'model {self.model_sha256[:12]}' if self.model_sha256 else 'an unnamed model'}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Rows with features and a class, in the order of the table."""

    source: str
    features: Float[np.ndarray, "n ..."]
    """Features, as they are stored: float16, float32 or float64."""
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    """Person, camera or recording of each row; empty if the table does not say."""
    units: tuple[str, ...]
    """What each row is of, equal for rows of one video: hash of the video, path, id or, without these, of the row."""
    digests: tuple[str, ...]
    """Hash of the features of each row."""
    paths: tuple[str, ...]
    segments: tuple[Segment | None, ...]
    origin: Origin
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What decided the features besides the weights, such as `clip`; empty if the table does not say."""
    num_unembedded: int = 0
    """Rows of the table without features."""
    num_unlabeled: int = 0
    """Other rows without a class."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the features of a row."""
        return self.features.shape[1:]

    @property
    def has_groups(self) -> bool:
        """Whether any row has a group."""
        return any(self.groups)

    def select(self, indices: Sequence[int] | Int[np.ndarray, " m"]) -> "Rows":
        """Some of the rows, in the order of the indices."""
        fields = ("labels", "groups", "units", "digests", "paths", "segments")
        chosen = {name: tuple(getattr(self, name)[index] for index in indices) for name in fields}
        return replace(self, features=self.features[np.asarray(indices, dtype=np.int64)], **chosen)

    def canonical(self) -> "Rows":
        """The rows in an order that does not depend on that of the table."""
        times = [segment or (-1.0, -1.0) for segment in self.segments]
        keys = list(zip(self.units, times, self.groups, self.labels, self.digests, strict=True))
        return self.select(sorted(range(len(self)), key=keys.__getitem__))

    def manifest(self) -> Manifest:
        """The rows as labeled videos, with the classes that occur, sorted; whole numbers by value."""
        names = sorted(set(self.labels), key=class_order(self.labels))
        index = {name: number for number, name in enumerate(names)}
        samples = tuple(
            Sample(Path(path), index[label], group, segment)
            for path, label, group, segment in zip(self.paths, self.labels, self.groups, self.segments, strict=True)
        )
        return Manifest(samples, tuple(names))

    def median_seconds(self) -> float | None:
        """Median length of the segments; None if a row is of a whole video, whose length the table does not say."""
        lengths = [segment.end - segment.start for segment in self.segments if segment is not None]
        return float(np.median(lengths)) if len(lengths) == len(self) else None

    def describe(self) -> str:
        """Rows, classes and groups, and what was left out, as text."""
        groups = f", {len({*self.groups} - {''})} groups" if self.has_groups else ""
        left_out = [
            f"{count} without {what}"
            for count, what in ((self.num_unembedded, "an embedding"), (self.num_unlabeled, "a label"))
            if count
        ]
        rest = f"; left out: {' and '.join(left_out)}" if left_out else ""
        shape = " x ".join(map(str, self.shape))
        return f"{self.source}: {len(self)} rows of {shape} features, {len(set(self.labels))} classes{groups}{rest}"


def class_order(labels: Sequence[str]) -> Callable[[str], Any]:
    """Sort key of class names: by value if all are whole numbers, otherwise by name."""
    return int if all(label.isdecimal() for label in labels) else str


def read_rows(
    source: str | Path, *, embedding_column: str, label_column: str, group_column: str, needs_groups: bool = False
) -> Rows:
    """Read the labeled rows of a table of embeddings; rows without features or class are counted and left out.

    Args:
        source: A folder that `timesformer embed` wrote, a Parquet file, or a folder of Parquet files.
        embedding_column: Column of the features.
        label_column: Column of the class: text, or whole numbers.
        group_column: Column of the group: text, or whole numbers.
        needs_groups: Refuse a table without this column.

    Raises:
        DataError: The table cannot be read, lacks a column, has no row with features and class, or a feature is not
            finite.
        DependencyError: pyarrow is not installed.
    """
    found = read_embeddings(source, columns=[*_OPTIONAL, label_column, group_column], embedding=embedding_column)
    names = found.table.column_names
    if label_column not in names:
        _refuse_missing(source, label_column, what="label", embedding_column=embedding_column)
    if needs_groups and group_column not in names:
        _refuse_missing(source, group_column, what="group", embedding_column=embedding_column)
    labels = _texts(found.table, label_column, source=source)
    kept = [index for index, label in enumerate(labels) if label]
    if not kept:
        without = f"; {found.num_without} others have no embedding" if found.num_without else ""
        raise DataError(
            f"{source}: none of {len(labels)} rows has a label in column {label_column!r}{without}: embed a list with "
            "labels, or name another column with label_column (--label-column)"
        )
    rows = _all_rows(found, labels, group_column=group_column, source=source).select(kept)
    bad = next((label for label in rows.labels if not is_class_name(label)), None)
    if bad is not None:
        raise DataError(f"{source}: label {bad!r} is not a class name, which is one line of text")
    return replace(rows, num_unembedded=found.num_without, num_unlabeled=len(labels) - len(kept))


def _all_rows(found: Embeddings, labels: Sequence[str | None], *, group_column: str, source: str | Path) -> Rows:
    """All rows with features, also those without a label."""
    table, names = found.table, found.table.column_names
    groups = _texts(table, group_column, source=source) if group_column in names else [None] * len(table)
    others = {name: table[name].to_pylist() if name in names else [None] * len(table) for name in _OPTIONAL}
    digests = [hashlib.sha256(vector.tobytes()).hexdigest() for vector in found.vectors]
    identities = zip(others["sha256"], others["path"], others["id"], digests, strict=True)
    width = found.vectors.shape[1]
    shape = found.shape if math.prod(found.shape) == width else (width,)
    return Rows(
        source=str(source),
        features=found.vectors.reshape(len(found), *shape),
        labels=tuple(compose(label or "") for label in labels),
        groups=tuple(group or "" for group in groups),
        units=tuple(str(next(filter(None, candidates))) for candidates in identities),
        digests=tuple(digests),
        paths=tuple(
            str(path or name or f"row {index}")
            for index, (path, name) in enumerate(zip(others["path"], others["id"], strict=True))
        ),
        segments=tuple(
            None if start is None or end is None else Segment(float(start), float(end))
            for start, end in zip(others["start"], others["end"], strict=True)
        ),
        origin=Origin(model_sha256=found.model_sha256, level=found.level),
        settings=_settings(found, source=source),
    )


def _settings(found: Embeddings, *, source: str | Path) -> dict[str, Any]:
    try:
        settings = json.loads(found.metadata.get(SETTINGS, "{}"))
    except ValueError as error:
        raise DataError(f"{source}: {SETTINGS} in its metadata is not JSON: {error}") from error
    return settings if isinstance(settings, dict) else {}


def _refuse_missing(source: str | Path, column: str, *, what: str, embedding_column: str) -> None:
    """Refuse a table without a column, naming those that it has.

    Raises:
        DataError: Always.
    """
    others = read_embeddings(source, embedding=embedding_column).table.column_names
    raise DataError(
        f"{source}: has no column {column!r} for the {what}; other columns: {', '.join(others) or 'none'}"
        f"{did_you_mean(column, others)}; name one with {what}_column (--{what}-column)"
    )


def _texts(table: "pa.Table", column: str, *, source: str | Path) -> list[str | None]:
    """Values of a column as text; None for missing ones.

    Raises:
        DataError: The column has neither text nor whole numbers.
    """
    types, kind = arrow().types, table.schema.field(column).type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    fits = (types.is_string, types.is_large_string, types.is_string_view, types.is_integer, types.is_null)
    if not any(fit(kind) for fit in fits):
        raise DataError(f"{source}: column {column!r} has the type {kind}, needed are text or whole numbers")
    return [None if value is None else str(value) for value in table[column].to_pylist()]


def refuse_other_origin(given: Rows, *, origin: Origin, shape: tuple[int, ...], of: str) -> None:
    """Refuse rows whose features come from another model, level or shape than those of a head or of training.

    Raises:
        DataError: They differ.
    """
    if given.shape != shape:
        raise DataError(f"{given.source}: its features have the shape {list(given.shape)}, those of {of} {list(shape)}")
    if given.origin != origin:
        raise DataError(
            f"{given.source}: its features are {given.origin.describe()}, those of {of} {origin.describe()}: "
            "features of different models cannot be compared"
        )


def refuse_unknown_groups(rows: Rows, groups: Sequence[str]) -> None:
    """Refuse groups that no row has.

    Raises:
        ConfigError: A group is unknown.
    """
    known = sorted({*rows.groups} - {""})
    for group in groups:
        if group not in known:
            some = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
            raise ConfigError(
                f"val_groups: no row of {rows.source} has the group {group!r}; its groups are {some or 'none'}"
                f"{did_you_mean(group, known)}"
            )
