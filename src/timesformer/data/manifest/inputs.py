"""Files that reading a data set reads, which outputs must not replace."""

from collections.abc import Iterator
from pathlib import Path

from timesformer.data.manifest.datasets import UCF101_CLASSES, is_hmdb51
from timesformer.data.manifest.manifest import SPLIT_NAMES, Manifest, class_names_file, find_split, holds_splits
from timesformer.data.video.tar_member import split_member


def list_files(*sources: str | Path) -> Iterator[Path]:
    """Annotation files of sources and the class files next to them; an empty source is skipped."""
    for source in map(Path, filter(None, sources)):
        if source.is_dir() and holds_splits(source):
            yield from list_files(*filter(None, (find_split(source, split) for split in SPLIT_NAMES)))
        elif is_hmdb51(source):
            yield from source.parent.glob("*_test_split*.txt")
        elif source.is_file():
            yield from (source, source.with_name(UCF101_CLASSES), *filter(None, [class_names_file(source)]))


def video_files(*manifests: Manifest) -> Iterator[Path]:
    """Video files, folders of frames and tar files of manifests."""
    for manifest in manifests:
        for sample in manifest.samples:
            yield file_of(sample.path)


def file_of(video: Path) -> Path:
    """The file or folder of frames that a video lies in: itself, or its tar file."""
    member = split_member(video)
    return video if member is None else member[0]
