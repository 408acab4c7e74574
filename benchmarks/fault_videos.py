"""Videos for `job_faults.py`: most are whole; some are corrupt, kill the decoder, or keep it busy for ever.

Deaths and hangs are real, but the product has no hook for them: the folder that `write_traps` makes comes first on
`PYTHONPATH`, and its `sitecustomize.py` wraps `av.open` in every Python process started with it. A file whose name
contains `kills` then ends the process that opens it by SIGSEGV, and one whose name contains `hangs` never returns.
The name of each file that is opened is written to a pipe, if `OPENED` names one.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from import_hooks import import_hook
from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import MOTION_CLASSES, render_clip

OPENED = "TIMESFORMER_FAULT_VIDEOS_OPENED"
"""Environment variable with the pipe."""
_NUM_SOURCES = 40
"""Different videos; the others are copies of these, each with a comment of its own at the end of the file."""

_TRAPS = """
import os, signal, time

opened = module.open


def trapped(file, *arguments, **keywords):
    name = os.path.basename(str(getattr(file, "name", file)))
    if pipe := os.environ.get("TIMESFORMER_FAULT_VIDEOS_OPENED"):
        descriptor = os.open(pipe, os.O_WRONLY)  # a child of the product may write no file, but a pipe
        os.write(descriptor, os.fsencode(name) + b"\\n")
        os.close(descriptor)
    if "kills" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    while "hangs" in name:
        time.sleep(1)
    return opened(file, *arguments, **keywords)


module.open = trapped
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultVideos:
    """Paths by what is wrong with them, all of them in `order`."""

    order: tuple[Path, ...]
    corrupt: frozenset[Path]
    kills: frozenset[Path]
    hangs: frozenset[Path]

    @property
    def bad(self) -> frozenset[Path]:
        """All files without a row."""
        return self.corrupt | self.kills | self.hangs


def write_fault_videos(folder: Path, *, count: int, share: int = 0, hangs: int = 1, seed: int) -> FaultVideos:
    """Write `count` files into a folder, in a random order: 1 % corrupt, 1 % that kill the decoder, one that hangs.

    Args:
        folder: Folder to make.
        count: Number of files.
        share: Number of corrupt files, and of those that kill; 0 takes 1 %.
        hangs: Number of files that hang.
        seed: Of the order.
    """
    sources = _write_sources(folder.parent / f"{folder.name}-sources")
    share = share or max(1, count // 100)
    kinds = ["corrupt"] * share + ["kills"] * share + ["hangs"] * hangs
    kinds = np.random.default_rng(seed).permutation(kinds + ["whole"] * (count - len(kinds))).tolist()
    folder.mkdir()
    by_kind: dict[str, list[Path]] = {kind: [] for kind in ("whole", "corrupt", "kills", "hangs")}
    for number, kind in enumerate(kinds):
        path = folder / f"{number:05d}-{kind}.mp4"
        _write(path, kind, sources[number % len(sources)], number=number)
        by_kind[kind].append(path)
    order = sorted(path for paths in by_kind.values() for path in paths)
    bad = {kind: frozenset(by_kind[kind]) for kind in ("corrupt", "kills", "hangs")}
    return FaultVideos(order=tuple(order), **bad)


def write_traps(folder: Path) -> Path:
    """Write the `sitecustomize.py` that makes deaths and hangs real, and give its folder back, for `PYTHONPATH`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(import_hook("av", _TRAPS))
    return folder


def _write_sources(folder: Path) -> Sequence[Path]:
    folder.mkdir()
    paths = [folder / f"{number}.mp4" for number in range(_NUM_SOURCES)]
    for number, path in enumerate(paths):
        motion = MOTION_CLASSES[number % len(MOTION_CLASSES)]
        write_clip(path, render_clip(motion, seed=number, num_frames=16, size=(48, 64), background="texture"))
    return paths


def _write(path: Path, kind: str, source: Path, *, number: int) -> None:
    if kind == "corrupt":
        content = source.read_bytes()
        path.write_bytes(content[: len(content) // 3] if number % 2 else b"no video" * 64)
        return
    shutil.copyfile(source, path)
    comment = b"%08d" % number
    with path.open("ab") as file:  # an MP4 box that players skip, so that no two files are equal
        file.write((8 + len(comment)).to_bytes(4, "big") + b"free" + comment)
