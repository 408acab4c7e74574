"""A data set with one planted fault of every kind that a check of files finds, and what it has to find."""

import shutil
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from timesformer.data.synthetic.dataset import write_clip
from timesformer.data.synthetic.motion import render_clip
from videos import cut_off, damage_packets, write_video

FINDINGS = {
    ("unreadable", ("train/wave/broken.mp4",)),
    ("truncated", ("train/clap/cut.mp4",)),
    ("truncated", ("train/clap/damaged.mp4",)),
    ("too_short", ("train/clap/short.mp4",)),
    ("conflicting_label", ("train/bow/misfiled.mp4", "train/clap/3.mp4")),
    ("leak", ("train/wave/0.mp4", "val/wave/copy.mp4")),
    ("leak", ("train/wave/1.mp4", "val/wave/smaller.mp4")),
    ("empty_class", ()),
    ("duplicate", ("train/bow/1.mp4", "train/bow/copy.mp4")),
    ("near_duplicate", ("train/bow/2.mp4", "train/bow/smaller.mp4")),
}
"""Kind and files of each finding, seen from the data set's folder."""

LEFT_OUT = {
    "train/wave/broken.mp4": "unreadable",
    "train/clap/cut.mp4": "truncated",
    "train/clap/damaged.mp4": "truncated",
    "train/clap/short.mp4": "too_short",
    "train/bow/misfiled.mp4": "conflicting_label",
    "train/clap/3.mp4": "conflicting_label",
    "train/wave/0.mp4": "leak",
    "train/wave/1.mp4": "leak",
    "train/bow/copy.mp4": "duplicate",
    "train/bow/smaller.mp4": "near_duplicate",
}
"""Videos that a clean list leaves out, and why."""

_CLASSES = {"bow": "grow", "clap": "turn_clockwise", "wave": "move_left"}


def plant(folder: Path) -> Path:
    """Write the data set, half of it on dark backgrounds, and give its folder back."""
    for split, count in (("train", 5), ("val", 2)):
        for label, motion in _CLASSES.items():
            for number in range(count):
                _write(folder / split / label / f"{number}.mp4", clip(motion, split, number))
    (folder / "train" / "nod").mkdir()
    (folder / "train/wave/broken.mp4").write_bytes(b"no video" * 50)
    whole = write_video(folder / "train/clap/cut.mp4", num_frames=90, format_options={"movflags": "faststart"})
    cut_off(whole, 0.6)
    damage_packets(_write(folder / "train/clap/damaged.mp4", clip("meet", "train", 7)), [13])
    _write(folder / "train/clap/short.mp4", clip("appear", "train", 8)[:7])
    shutil.copy(folder / "train/clap/3.mp4", folder / "train/bow/misfiled.mp4")
    shutil.copy(folder / "train/wave/0.mp4", folder / "val/wave/copy.mp4")
    shutil.copy(folder / "train/bow/1.mp4", folder / "train/bow/copy.mp4")
    reencode(folder / "train/wave/1.mp4", folder / "val/wave/smaller.mp4")
    reencode(folder / "train/bow/2.mp4", folder / "train/bow/smaller.mp4")
    return folder


def clip(motion: str, split: str, number: int) -> UInt8[np.ndarray, "t h w 3"]:
    """A clip of its own for each motion, split and number."""
    seed = np.random.default_rng([*motion.encode(), *split.encode(), number])
    background = ("dark", "texture")[number % 2]
    return render_clip(motion, seed=seed, num_frames=24, size=(64, 80), background=background)


def reencode(source: Path, target: Path, *, size: tuple[int, int] = (56, 48), crf: int = 26) -> Path:
    """Write the frames of a video again, at another size (width and height) and quality."""
    with av.open(source) as file, av.open(target, "w") as copy:
        stream = copy.add_stream("libx264", rate=16, options={"crf": str(crf)})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in file.decode(video=0):
            small = Image.fromarray(frame.to_ndarray(format="rgb24")).resize(size)
            copy.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(small), format="rgb24")))
        copy.mux(stream.encode(None))
    return target


def _write(path: Path, frames: UInt8[np.ndarray, "t h w 3"]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(path, frames)
    return path
