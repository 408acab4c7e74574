"""A clip of each class by each of several persons."""

from collections.abc import Iterable
from pathlib import Path

from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import render_clip


def write_persons(
    folder: Path, persons: Iterable[str], classes: Iterable[str], *, num_frames: int, size: tuple[int, int]
) -> Path:
    """Write the clips and a list with the persons as groups, and return the list."""
    lines = ["path,label,group"]
    for seed, person in enumerate(persons):
        for label in classes:
            frames = render_clip(label, seed=seed, num_frames=num_frames, size=size, background="plain")
            write_clip(folder / f"{person}_{label}.mp4", frames)
            lines.append(f"{person}_{label}.mp4,{label},{person}")
    (folder / "list.csv").write_text("\n".join([*lines, ""]))
    return folder / "list.csv"
