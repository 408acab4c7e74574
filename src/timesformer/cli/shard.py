"""`timesformer shard`"""

import re
from pathlib import Path

from timesformer.cli.console import print_json, progress, say
from timesformer.cli.options import AsJson, Overwrite
from timesformer.data.manifest.classes import read_validation
from timesformer.data.manifest.inputs import list_files
from timesformer.data.manifest.manifest import CLASSES_FILE, Manifest, holds_splits, load_training
from timesformer.data.manifest.shard_writer import write_shards
from timesformer.errors import ConfigError
from timesformer.outputs import check_folder, refuse_inputs

_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_MAX_CLIPS = 100_000


def shard(
    data: str,
    /,
    *,
    output: Path,
    val: str = "",
    max_size: str = "1GB",
    max_clips: int = _MAX_CLIPS,
    seed: int = 0,
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Pack a data set into large tar files, for network storage and clusters that mind many small ones.

    Writes `train-000000.tar` and on in the layout of WebDataset, `classes.txt`, and the list `train.csv`; with
    validation also `val-000000.tar` and on, and `val.csv`. `train`, `evaluate` and `check` read videos in the tar files
    where they lie, in any order; nothing is unpacked. Videos are copied as they are.

    Example: `timesformer shard my_videos --output shards --max-size 500MB`

    Parameters
    ----------
    data
        What `train` takes: a folder with one folder a class (or with `train/` and `val/`), or an annotation file.
    output
        Folder of the shards, outside of the data set.
    val
        Validation videos, where they are not in DATA.
    max_size
        Size of a shard at most, such as `500MB` or `1GB`; a larger video has one of its own.
    max_clips
        Videos of a shard at most.
    seed
        Seed of the order: videos are shuffled, so that a shard holds no single class. Equal seeds give equal files.
    """
    max_bytes = _parse_size(max_size)
    for source in filter(None, (data, val)):
        _refuse_output(output, Path(source))
    refuse_inputs([output / name for name in ("train.csv", "val.csv", CLASSES_FILE)], list_files(data, val))
    check_folder(output)
    train, held_out = _read(data, val)
    with progress("packing") as on_progress:
        written = write_shards(
            train,
            held_out,
            output,
            max_bytes=max_bytes,
            max_clips=max_clips,
            seed=seed,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    lists = [written.train] + ([] if written.val is None else [written.val])
    num_val = len(held_out.samples) if held_out else 0
    if json:
        print_json(
            {
                "lists": list(map(str, lists)),
                "shards": list(map(str, written.shards)),
                "num_train": len(train.samples),
                "num_val": num_val,
                "num_classes": len(train.class_names),
                "num_bytes": written.num_bytes,
            }
        )
        return
    print("\n".join(map(str, lists)))
    num_videos, megabytes = len(train.samples) + num_val, written.num_bytes / 1e6
    say(f"videos: {num_videos}, shards: {len(written.shards)}, together {megabytes:.1f} MB")
    say(f"try it: timesformer train {output if held_out else written.train}")


def _refuse_output(output: Path, source: Path) -> None:
    place, source_place = output.resolve(), source.resolve()
    if place in (source_place, source_place.parent):
        raise ConfigError(f"--output {output}: holds the data set itself; name a folder of its own")
    if source_place in place.parents:
        raise ConfigError(f"--output {output}: lies in the data set {source}; name a folder outside of it")


def _read(data: str, val: str) -> tuple[Manifest, Manifest | None]:
    """Training videos, and those of validation where there are some; nothing is held out here."""
    train = load_training(data)
    if not val and not holds_splits(data):
        return train, None
    return train, read_validation(val or data, train=train)


def _parse_size(text: str) -> int:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kMGT]?B)", text)
    if match is None:
        raise ConfigError(f"--max-size {text}: is no size such as 500MB or 1GB; units are {', '.join(_UNITS)}")
    return int(float(match[1]) * _UNITS[match[2]])
