"""Videos of an experiment, synthetic or the user's: lists of training and test videos shared by all its trainings."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from timesformer.config.run import DataConfig
from timesformer.data.manifest.holdout import hold_out
from timesformer.data.manifest.manifest import CLASSES_FILE, Manifest, load_manifest
from timesformer.data.manifest.save import save_manifest
from timesformer.data.synthetic.dataset import write_motion_dataset
from timesformer.data.synthetic.motion import OPPOSITES
from timesformer.data.synthetic.reversed import write_reversed
from timesformer.data.video.segment import Segment
from timesformer.errors import ConfigError, DataError
from timesformer.reproduce.experiment import Motions
from timesformer.training.dataloaders import Split, load_data

OnProgress = Callable[[int, int], None]

PAIRS = ("move_left", "shrink", "vanish")
CLASSES = tuple(name for first in PAIRS for name in (first, OPPOSITES[first]))
"""Classes of the synthetic sets: three pairs of a motion and its reverse.

A single frame identifies the pair: small objects occur in one pair, faint ones in another. Moves along rows and moves
along columns would not do: a feature averaged over frames is a sum over the positions of the object, and no function of
position has a positive sum over every row and a negative sum over every column.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSet:
    """Lists of training and test videos on disk, and their description."""

    train: Path
    val: Path
    num_train: int
    num_val: int
    num_classes: int
    num_groups: int = 0
    """Number of groups of test videos; a video without a group counts as its own. 0 if no video has a group."""
    is_paired: bool
    """Whether classes come in pairs of opposite playback direction."""
    description: str

    def data(self, data: DataConfig, *, fraction: float) -> DataConfig:
        """Data config of a training on a fraction of these videos; call `write_fraction` first."""
        train = self.train if fraction == 1 else _fraction_file(self.train, fraction)
        return replace(data, train=str(train), val=str(self.val))


def synthetic_set(folder: Path, motions: Motions, *, seed: int, on_progress: OnProgress) -> VideoSet:
    """Write a set of motion videos, or reuse the existing one.

    Args:
        folder: Parent folder; the set's own folder is named after its parameters.
        motions: Size and number of the videos.
        seed: Seed of the run.
        on_progress: Progress callback, called with the number of clips done and their total.

    Raises:
        ConfigError: There are fewer training videos than classes.
    """
    per_class = motions.clips // len(CLASSES)
    if per_class < 1:
        raise ConfigError(f"clips={motions.clips} must be at least {len(CLASSES)}, one per class")
    seed += motions.seed_offset
    name = f"motions_{per_class}x{len(CLASSES)}_{motions.num_frames}x{motions.size}_seed{seed}"
    root = write_motion_dataset(
        folder / name / "clips",
        clips_per_class=per_class,
        val_clips_per_class=max(1, per_class // 3),
        classes=CLASSES,
        num_frames=motions.num_frames,
        size=motions.size,
        background="dark",
        seed=seed,
        on_progress=on_progress,
    )
    split = Split(load_manifest(root / "train", class_names=CLASSES), load_manifest(root / "val", class_names=CLASSES))
    description = (
        f"{len(CLASSES)} synthetic motions in pairs that differ in the order of frames alone, {motions.num_frames} "
        f"frames of {motions.size} x {motions.size}, seed {seed}"
    )
    return _write(split, folder / name, description=description, is_paired=True)


def own_set(folder: Path, data: DataConfig, *, seed: int) -> VideoSet:
    """Use the caller's videos, split once for all trainings.

    Args:
        folder: Where to write the lists.
        data: Data config that names the videos.
        seed: Seed of the split, if `data` names no validation videos.

    Raises:
        ConfigError, DataError: As `timesformer.training.dataloaders.load_data`.
        DataError: The folder holds lists of other videos.
    """
    return _write(load_data(data, seed=seed), folder, description=_describe(data), is_paired=False)


def reversed_set(folder: Path, data: DataConfig, *, seed: int, on_progress: OnProgress) -> VideoSet:
    """Use the caller's videos together with reversed copies, which are separate classes.

    Raises:
        ConfigError, DataError: As `own_set`.
        DecodeError: A video cannot be decoded.
    """
    split = load_data(data, seed=seed)
    total = 2 * (split.size.train + split.size.val)
    before = 2 * split.size.train
    clips, codecs = folder / "clips", data.allow_codecs
    train = write_reversed(
        split.train, clips, on_progress=lambda done, _: on_progress(done, total), allow_codecs=codecs
    )
    val = write_reversed(
        split.val, clips, on_progress=lambda done, _: on_progress(before + done, total), allow_codecs=codecs
    )
    description = f"{_describe(data)}, each video also played backwards, as a separate class"
    return _write(Split(train, val), folder, description=description, is_paired=True)


def write_fraction(videos: VideoSet, *, fraction: float, seed: int) -> None:
    """Write the list of a fraction of the training videos of each class, next to the full list.

    With the same seed, smaller fractions are subsets of larger ones.

    Raises:
        DataError: No class has two videos, or the folder holds a list of other videos.
    """
    if fraction < 1:
        everything = load_manifest(videos.train)
        # groups may be split, because the videos left out are not used for testing
        left_out = hold_out([(s.path, s.label, "") for s in everything.samples], fraction=1 - fraction, seed=seed)
        kept = Manifest(tuple(s for s in everything.samples if s.path not in left_out), everything.class_names)
        _save_once(kept, _fraction_file(videos.train, fraction))


def _fraction_file(train: Path, fraction: float) -> Path:
    return train.with_stem(f"train_{round(100 * fraction)}")


def _describe(data: DataConfig) -> str:
    return data.train + (f" (tested on {data.val})" if data.val else "")


def _write(split: Split, folder: Path, *, description: str, is_paired: bool) -> VideoSet:
    folder.mkdir(parents=True, exist_ok=True)
    for name, manifest in zip(("train", "val"), split, strict=True):
        _save_once(manifest, folder / f"{name}.csv")
    return VideoSet(
        train=folder / "train.csv",
        val=folder / "val.csv",
        num_train=split.size.train,
        num_val=split.size.val,
        num_classes=len(split.train.class_names),
        num_groups=_num_groups(split.val),
        is_paired=is_paired,
        description=description,
    )


def _num_groups(manifest: Manifest) -> int:
    num_alone = sum(not sample.group for sample in manifest.samples)
    return len(manifest.groups) + num_alone if manifest.groups else 0


def _save_once(manifest: Manifest, path: Path) -> None:
    """Write a list; an existing one must name the same videos, because trained models depend on it."""
    if not path.exists():
        save_manifest(manifest, path)
        return
    existing = load_manifest(path, check_exists=False)
    if _content(existing) != _content(manifest):
        raise DataError(f"{path} and {path.with_name(CLASSES_FILE)} list other videos: choose another output folder")


def _content(manifest: Manifest) -> tuple[tuple[str, ...], list[tuple[Path, int, str, Segment | None]]]:
    return manifest.class_names, [
        (sample.path.absolute(), sample.label, sample.group, sample.segment) for sample in manifest.samples
    ]
