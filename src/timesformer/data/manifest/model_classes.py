"""The classes of a set of videos as the classes of a model."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from timesformer.data.manifest.manifest import (
    Manifest,
    class_names_file,
    holds_splits,
    load_manifest,
    load_split,
    refuse_no_path,
)
from timesformer.errors import DataError, closest
from timesformer.names import compose, tell_apart

logger = logging.getLogger(__name__)


def read_manifest(source: str | Path, *, labels: Sequence[str]) -> Manifest:
    """Read the videos to evaluate on.

    A list whose labels are numbers means the model's classes by index, unless a file beside it says what the numbers
    mean: `classes.txt`, or beside a JSON the file in which the data set names its classes.

    Args:
        source: What `load_manifest` takes, or a folder that holds splits: then validation is taken.
        labels: Class names of the model, in index order; empty where it has none.

    Raises:
        DataError: The source cannot be used, or has a class that the model does not know.
    """
    refuse_no_path(source)
    source = Path(source)
    if holds_splits(source):
        split = load_split(source, "val")
        if split is not None:
            return split
    names_itself = source.is_dir() or class_names_file(source) is not None or not labels
    return load_manifest(source, class_names=None if names_itself else labels)


def read_validation(source: str | Path, *, train: Manifest) -> Manifest:
    """Read the videos that validate what is trained on others, with the classes of those.

    Raises:
        DataError: As `read_manifest` and `match_classes`.
    """
    found = read_manifest(source, labels=train.class_names)
    return match_classes(found, labels=train.class_names, num_classes=len(train.class_names))


def match_classes(manifest: Manifest, *, labels: Sequence[str], num_classes: int) -> Manifest:
    """Give the videos the class indices of a model, going by name.

    Accents may have either form (NFC or NFD). The videos need not show all classes. A model without label names takes
    the classes in their own order, with a warning.

    Raises:
        DataError: The model does not know a class, or has no label names and another number of classes.
    """
    if not labels:
        if len(manifest.class_names) != num_classes:
            raise DataError(
                f"the videos have {len(manifest.class_names)} classes and the model {num_classes}, without names to "
                f"tell which is which; give the model a labels.txt"
            )
        logger.warning("the model does not name its classes: those of the videos are taken in their own order")
        return manifest
    index = {compose(name): number for number, name in enumerate(labels)}
    used = {sample.label for sample in manifest.samples}
    names = [compose(name) for name in manifest.class_names]
    unknown = [name for label, name in enumerate(names) if label in used and name not in index]
    if unknown:
        raise DataError(_describe_unknown(unknown, labels))
    samples = tuple(replace(s, label=index[names[s.label]]) for s in manifest.samples)
    return Manifest(samples, tuple(labels))


def _describe_unknown(unknown: Sequence[str], labels: Sequence[str]) -> str:
    close = closest(unknown[0], labels)
    first, shown = tell_apart(unknown[0], close or "")
    names = ", ".join((first, *map(repr, unknown[1:5]))) + (", ..." if len(unknown) > 5 else "")
    hint = f"did you mean {shown}?" if close else f"its classes start with {list(labels[:5])}"
    return f"the model does not know {len(unknown)} of the videos' classes: {names}; {hint}"
