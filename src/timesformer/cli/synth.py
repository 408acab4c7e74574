"""`timesformer synth`"""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from timesformer.cli.console import print_json, progress
from timesformer.cli.options import DATA, LIST, OUTPUT_NAMES, AsJson
from timesformer.data.synthetic.dataset import write_motion_dataset
from timesformer.data.synthetic.motion import MOTION_CLASSES

_DATA = Parameter(group=DATA)
_CLASSES = Parameter(
    metavar="NAME,...", consume_multiple=True, show_default=lambda default: f"all {len(default)}"
)  # several names after one `--classes` are the old form of the list


def synth(
    output: Annotated[Path, OUTPUT_NAMES],
    *,
    clips_per_class: Annotated[int, _DATA] = 100,
    val_clips_per_class: Annotated[int, _DATA] = 20,
    classes: Annotated[tuple[str, ...], LIST, _DATA, _CLASSES] = MOTION_CLASSES,
    num_frames: Annotated[int, _DATA] = 16,
    size: Annotated[int, _DATA] = 64,
    background: Annotated[str, _DATA] = "texture",
    seed: Annotated[int, _DATA] = 0,
    json: AsJson = False,
) -> None:
    """Write a data set of synthetic motion videos.

    The class of a video is its motion. Classes come in pairs, each the other played backwards, so only the order of
    frames tells them apart.

    Example: `timesformer synth --output data/motion --clips-per-class 50 --size 32 --background dark`

    Parameters
    ----------
    output
        Folder to write: `train/<class>/` and `val/<class>/`.
    clips_per_class
        Training clips per class.
    val_clips_per_class
        Validation clips per class.
    classes
        Motions to write.
    num_frames
        Frames per clip.
    size
        Height and width in pixels.
    background
        From easy to hard: `dark`, `plain` (one random color) or `texture` (a smooth random image).
    seed
        Random seed; equal seeds give equal files.
    """
    with progress("writing", unit="clips") as on_progress:
        written = write_motion_dataset(
            output,
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
