"""Classes of a manifest matched to the classes of a model, by name."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from timesformer.data.manifest.manifest import (
    Manifest,
    holds_splits,
    load_manifest,
    load_split,
    refuse_no_path,
)
from timesformer.data.manifest.source_files import class_names_file
from timesformer.errors import DataError, closest
from timesformer.names import compose, tell_apart

logger = logging.getLogger(__name__)


def read_manifest(source: str | Path, *, labels: Sequence[str]) -> Manifest:
    """Read the videos to evaluate on.

    Numeric labels of a list are indices of the model's classes, unless a file next to the list names its classes:
    `classes.txt`, or next to a JSON file the class file of its data set.

    Args:
        source: Source for `load_manifest`, or a folder with splits, whose validation split is read.
        labels: Class names of the model, in index order; empty if it has none.

    Raises:
        DataError: The source cannot be used, or has a class that the model does not have.
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
    """Read validation videos, with the classes of the training videos.

    Raises:
        DataError: As `read_manifest` and `match_classes`.
    """
    found = read_manifest(source, labels=train.class_names)
    return match_classes(found, labels=train.class_names, num_classes=len(train.class_names))


def match_classes(manifest: Manifest, *, labels: Sequence[str], num_classes: int) -> Manifest:
    """Replace the labels of a manifest by the model's class indices, matched by name.

    Accents may be in NFC or NFD. The videos need not show all classes. For a model without class names the order of the
    manifest's classes is kept, with a warning.

    Raises:
        DataError: The model does not have a class, or has no class names and another number of classes.
    """
    if not labels:
        if len(manifest.class_names) != num_classes:
            raise DataError(
                f"the videos have {len(manifest.class_names)} classes, the model has {num_classes} and no class names: "
                f"name them in a labels.txt in the model folder"
            )
        logger.warning("the model has no class names: they are taken from the videos, in their order")
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
    hint = f"did you mean {shown}?" if close else f"the model's classes start with {list(labels[:5])}"
    return f"the model does not have {len(unknown)} of the videos' classes: {names}; {hint}"
