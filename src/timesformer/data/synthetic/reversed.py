"""Videos played backwards: a test of whether a model uses the order of frames, on any videos."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from timesformer.data.manifest.manifest import Manifest, Sample
from timesformer.data.video.file_stat import video_stamp
from timesformer.data.video.reader import open_reader
from timesformer.data.video.segment import Segment
from timesformer.data.video.timing import ASSUMED_FPS, is_plausible
from timesformer.data.video.writer import write_mp4
from timesformer.errors import DecodeError
from timesformer.files import replacing

SUFFIX = " reversed"
"""Suffix of a class name for its videos played backwards."""


def write_reversed(
    manifest: Manifest,
    folder: str | Path,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    num_threads: int = 4,
    allow_codecs: Collection[str] = (),
) -> Manifest:
    """Copy every video or segment twice, forward and backward, which doubles the classes.

    Both copies are encoded losslessly from the same pixels. Their frames are bit-identical: only the order tells them
    apart, not single frames or codec artifacts. Existing copies are reused. Odd sides lose a row or column of pixels.

    Args:
        manifest: The videos.
        folder: Target; one subfolder is created for each class.
        on_progress: Called in this thread, with the number of copies done and their total.
        num_threads: Number of videos copied at a time.
        allow_codecs: Codecs to decode besides `timesformer.data.video.codecs.DEFAULT_CODECS`.

    Returns:
        The copies: all forward ones in the order of the manifest, then all reversed ones, whose classes follow the
        others as `<class> reversed`. A copy is in the group of its original.

    Raises:
        DecodeError: A video cannot be decoded.
        OSError: A copy cannot be written.
    """
    names = (*manifest.class_names, *(name + SUFFIX for name in manifest.class_names))
    sources, count = manifest.samples, len(manifest.class_names)
    forward, backward = ([_copy_of(s, Path(folder), names, shift=shift) for s in sources] for shift in (0, count))
    # a video listed twice is copied once
    copies = list(
        dict.fromkeys(
            (source.path, source.segment, one.path, other.path)
            for source, one, other in zip(sources, forward, backward, strict=True)
        )
    )
    with ThreadPoolExecutor(num_threads) as pool:
        for done, _ in enumerate(pool.map(lambda paths: _copy(*paths, allow_codecs), copies), start=1):
            on_progress(2 * done, 2 * len(copies))
    return Manifest((*forward, *backward), names)


def _copy_of(sample: Sample, folder: Path, names: Sequence[str], *, shift: int) -> Sample:
    label = sample.label + shift
    return replace(sample, path=_copy_path(sample, folder, names[label]), label=label, segment=None)


def _copy_path(sample: Sample, folder: Path, class_name: str) -> Path:
    """Path of the copy of a video or segment; a video that has changed gets another one."""
    source, stamp = sample.path, video_stamp(sample.path)
    if stamp is None:
        raise DecodeError(f"{source}: there is no such video")
    size, mtime_ns = stamp
    key = f"{source.absolute()} {size} {mtime_ns}" + (f" {tuple(sample.segment)}" if sample.segment else "")
    digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    stem = "".join(letter if letter.isprintable() else "_" for letter in source.stem)  # lists are UTF-8 text
    return folder / class_name.replace("/", "_") / f"{stem}_{digest}.mp4"


def _copy(source: Path, segment: Segment | None, forward: Path, backward: Path, allow_codecs: Collection[str]) -> None:
    if forward.exists() and backward.exists():
        return
    with open_reader(source, segment=segment, allow_codecs=allow_codecs) as reader:
        frames, fps = reader.read(range(reader.info.num_frames)), reader.info.fps
    if not is_plausible(fps):  # sampling then counts frames, as at this rate; most players refuse the original rate
        fps = ASSUMED_FPS
    height, width = (side - side % 2 for side in frames.shape[1:3])
    frames = frames[:, :height, :width]
    for path, ordered in ((forward, frames), (backward, frames[::-1])):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            write_mp4(partial, ordered, rate=Fraction(fps).limit_denominator(100_000), quality={"qp": "0"})
