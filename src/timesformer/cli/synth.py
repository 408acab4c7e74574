"""`timesformer synth`"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from timesformer.cli.console import print_json, progress
from timesformer.cli.options import AsJson
from timesformer.data.synthetic.dataset import write_motion_dataset
from timesformer.data.synthetic.motion import MOTION_CLASSES


def synth(
    folder: Path,
    /,
    *,
    clips_per_class: int = 100,
    val_clips_per_class: int = 20,
    classes: Annotated[tuple[str, ...], Parameter(consume_multiple=True, negative=())] = MOTION_CLASSES,
    num_frames: int = 16,
    size: int = 64,
    background: str = "texture",
    seed: int = 0,
    json: AsJson = False,
) -> None:
    """Write a data set of real video files whose class lies in the motion alone.

    Classes come in pairs that are each other's reversal in time, so that only the order of frames tells them apart.

    Example: `timesformer synth data/motion --clips-per-class 50 --size 32 --background dark`

    Parameters
    ----------
    folder
        Where to; gets `train/<class>/` and `val/<class>/`.
    clips_per_class
        Training clips of each class.
    val_clips_per_class
        Validation clips of each class.
    classes
        Which motions; all by default.
    num_frames
        Frames of a clip.
    size
        Height and width in pixels.
    background
        `dark`, `plain` (one random color) or `texture` (a smooth random one), from easy to hard.
    seed
        Equal seeds give equal files.
    """
    with progress("writing", unit="clips") as on_progress:
        written = write_motion_dataset(
            folder,
            clips_per_class=clips_per_class,
            val_clips_per_class=val_clips_per_class,
            classes=classes,
            num_frames=num_frames,
            size=size,
            background=background,
            seed=seed,
            on_progress=on_progress,
        )
    if json:
        print_json({"folder": str(written), "classes": list(classes)})
    else:
        print(written)
