"""`timesformer shard`"""

import re
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from timesformer.cli.console import note, print_json, progress
from timesformer.cli.options import DATA, OUTPUT, OUTPUT_NAMES, AsJson, Overwrite, Val
from timesformer.data.manifest.inputs import list_files
from timesformer.data.manifest.manifest import CLASSES_FILE, Manifest, holds_splits, load_training
from timesformer.data.manifest.model_classes import read_validation
from timesformer.data.manifest.shard_writer import ShardSet, write_shards
from timesformer.errors import ConfigError
from timesformer.outputs import check_folder, refuse_inputs

_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_MAX_CLIPS = 100_000


def shard(
    data: Annotated[str, Parameter(group=DATA)],
    /,
    *,
    val: Val = "",
    max_size: Annotated[str, Parameter(group=OUTPUT, metavar="SIZE")] = "1GB",
    max_clips: Annotated[int, Parameter(group=OUTPUT)] = _MAX_CLIPS,
    seed: Annotated[int, Parameter(group=OUTPUT)] = 0,
    output: Annotated[Path, OUTPUT_NAMES],
    overwrite: Overwrite = False,
    json: AsJson = False,
) -> None:
    """Pack a data set into tar files for network storage.

    Large files are fast there, many small ones are slow. Writes `train-000000.tar`, ... in WebDataset layout,
    `classes.txt` and the list `train.csv`, and with validation videos `val-000000.tar`, ... and `val.csv`. `train`,
    `evaluate` and `check` read videos inside the tar files, in any order; nothing is unpacked. Videos are copied
    unchanged.

    Example: `timesformer shard my_videos --output shards --max-size 500MB`

    Parameters
    ----------
    data
        Folder with one subfolder per class (or with `train/` and `val/`), or annotation file, as for `train`.
    output
        Folder of the shards, outside the data set.
    max_size
        Maximum size of a shard, such as `500MB` or `1GB`; a larger video gets its own shard.
    max_clips
        Maximum number of videos in a shard.
    seed
        Random seed of the order; videos are shuffled so that shards mix classes. Equal seeds give equal files.
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
    content = _describe(written, train, held_out)
    if json:
        print_json(content)
        return
    print("\n".join(content["lists"]))
    num_videos, megabytes = len(train.paths) + (len(held_out.paths) if held_out else 0), written.num_bytes / 1e6
    note(f"videos: {num_videos}, shards: {len(written.shards)}, together {megabytes:.1f} MB")
    note(f"try it: timesformer train {output if held_out else written.train}")


def _refuse_output(output: Path, source: Path) -> None:
    target, source_path = output.resolve(), source.resolve()
    if target in (source_path, source_path.parent):
        raise ConfigError(f"--output {output}: holds the data set itself; name a separate folder")
    if source_path in target.parents:
        raise ConfigError(f"--output {output}: is inside the data set {source}; name a folder outside it")


def _read(data: str, val: str) -> tuple[Manifest, Manifest | None]:
    """Training videos and, if there are any, validation videos; none are held out here."""
    train = load_training(data)
    if not val and not holds_splits(data):
        return train, None
    return train, read_validation(val or data, train=train)


def _describe(written: ShardSet, train: Manifest, held_out: Manifest | None) -> dict[str, Any]:
    return {
        "lists": [str(path) for path in (written.train, written.val) if path is not None],
        "shards": list(map(str, written.shards)),
        "num_train": len(train.samples),
        "num_val": len(held_out.samples) if held_out else 0,
        "num_classes": len(train.class_names),
        "num_bytes": written.num_bytes,
    }


def _parse_size(text: str) -> int:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kMGT]?B)", text)
    if match is None:
        raise ConfigError(f"--max-size {text}: is not a size such as 500MB or 1GB; units are {', '.join(_UNITS)}")
    return int(float(match[1]) * _UNITS[match[2]])
