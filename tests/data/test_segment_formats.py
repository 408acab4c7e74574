"""One annotation in every format: the same segments, and the same clips as from files cut at the same frames."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from pympi.Elan import Eaf

from timesformer.config.run import DataConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips.dataset import TrainClips
from timesformer.data.manifest.manifest import Manifest, Sample, read_rows
from timesformer.data.video.frame_folder import FRAMES_PER_SECOND
from timesformer.data.video.reader import read_frames
from videos import write_video

FPS = int(FRAMES_PER_SECOND)
NUM_FRAMES = {"a": 75, "b": 64}
FRAMES = {"a": [("wave", 2, 31), ("clap", 31, 50), ("wave", 52, 75)], "b": [("clap", 0, 17), ("wave", 20, 63)]}
"""Label, first frame and end of the segments of each video; frames 2 and 20 are not at a whole millisecond."""
LABELS = ("clap", "wave")
MODEL = ModelConfig(num_frames=3, image_size=(8, 16), patch_size=4, embed_dim=8, num_heads=2, depth=1)


def write_table(folder: Path) -> Path:
    lines = [f"{v}.mkv,{label},{i / FPS!r},{j / FPS!r}\n" for v, own in FRAMES.items() for label, i, j in own]
    (folder / "table.csv").write_text("path,label,start,end\n" + "".join(lines))
    return folder / "table.csv"


def write_activitynet(folder: Path) -> Path:
    database = {
        v: {"annotations": [{"label": label, "segment": [i / FPS, j / FPS]} for label, i, j in own]}
        for v, own in FRAMES.items()
    }
    (folder / "activity_net.json").write_text(json.dumps({"database": database}))
    return folder / "activity_net.json"


def write_label_studio(folder: Path) -> Path:
    def region(label: str, start: int, end: int) -> dict[str, object]:
        value = {"ranges": [{"start": start + 1, "end": end}], "timelinelabels": [label]}
        return {"type": "timelinelabels", "value": value}

    tasks = [
        {"data": {"video": f"{v}.mkv"}, "annotations": [{"result": [region(*segment) for segment in own]}]}
        for v, own in FRAMES.items()
    ]
    (folder / "studio.json").write_text(json.dumps(tasks))
    return folder / "studio.json"


def write_elan(folder: Path) -> Path:
    (folder / "elan").mkdir(exist_ok=True)
    for v, own in FRAMES.items():
        eaf = Eaf()
        eaf.add_linked_file(f"file:///elsewhere/{v}.mkv", relpath=f"../{v}.mkv", mimetype="video/x-matroska")
        for label, i, j in own:
            eaf.add_annotation("default", round(1000 * i / FPS), round(1000 * j / FPS), label)
        eaf.to_file(str(folder / "elan" / f"{v}.eaf"))
    return folder / "elan"


def write_boris(folder: Path) -> Path:
    header = "Observation id,Media file name,Behavior,Behavior type,Start (s),Stop (s)\n"
    lines = [
        f"{v},D:/{v}.mkv,{label},STATE,{i / FPS:.3f},{j / FPS:.3f}\n"
        for v, own in FRAMES.items()
        for label, i, j in own
    ]
    (folder / "boris.csv").write_text(header + "".join(lines))
    return folder / "boris.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    for name, num_frames in NUM_FRAMES.items():
        write_video(folder / f"{name}.mkv", num_frames=num_frames, fps=FPS, codec="ffv1")
    return folder


@pytest.fixture(scope="module")
def cut(folder) -> Manifest:
    """The segments as folders of pictures, which keep every bit."""
    samples = []
    for name, own in FRAMES.items():
        for label, start, end in own:
            path = folder / "cut" / f"{name}_{start}_{end}"
            path.mkdir(parents=True)
            for number, pixels in enumerate(read_frames(folder / f"{name}.mkv", range(start, end))):
                Image.fromarray(pixels).save(path / f"{number:05d}.png")
            samples.append(Sample(path, LABELS.index(label)))
    return Manifest(tuple(samples), LABELS)


@pytest.mark.parametrize(
    "write",
    [write_table, write_activitynet, write_label_studio, write_elan, write_boris],
    ids=lambda write: write.__name__,
)
def test_segments_of_every_format_give_the_clips_of_cut_files(write: Callable[[Path], Path], folder, cut):
    rows, _ = read_rows(write(folder))
    manifest = Manifest(tuple(Sample(row.path, LABELS.index(row.label), segment=row.segment) for row in rows), LABELS)
    clip, data = ClipConfig(frame_stride=2), DataConfig(flip=True)
    segments, files = (TrainClips(each, model=MODEL, clip=clip, data=data, seed=7) for each in (manifest, cut))
    for epoch in range(3):
        segments.set_epoch(epoch)
        files.set_epoch(epoch)
        for index in range(len(cut.samples)):
            (of_segment, label), (of_file, expected) = segments[index], files[index]
            assert label == expected
            assert torch.equal(of_segment, of_file)
