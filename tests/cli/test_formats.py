"""Videos that are no single files, through the command line: folders of frames."""

import json
from pathlib import Path

import pytest
from PIL import Image

from timesformer.data.motion import render_clip

CLASSES = ("grow", "move_left")
SMALL = [
    part
    for text in (
        "model.image_size=[16, 24]",
        "model.num_frames=3",
        "model.patch_size=8",
        "model.embed_dim=12",
        "model.depth=1",
        "model.num_heads=2",
        "data.num_workers=0",
    )
    for part in ("--set", text)
]


@pytest.fixture(scope="module")
def frame_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of frames of two classes, three for training and two for validation of each."""
    folder = tmp_path_factory.mktemp("frames")
    for split, count in (("train", 3), ("val", 2)):
        for motion in CLASSES:
            for number in range(count):
                clip = folder / split / motion / f"{number}"
                clip.mkdir(parents=True)
                frames = render_clip(
                    motion, seed=10 * count + number, num_frames=8, size=(32, 40), background="texture"
                )
                for index, frame in enumerate(frames, start=1):
                    Image.fromarray(frame).save(clip / f"img_{index:05d}.jpg", quality=95)
    return folder


def train_and_evaluate(run, data, tmp_path, *, num_val: int) -> None:
    output = tmp_path / "run"
    status, _, err = run(
        "train", data, "--output", output, "--epochs", 1, "--batch-size", 2, "--device", "cpu", *SMALL, "--json"
    )
    assert status == 0, err
    status, out, err = run("evaluate", data, "--model", output, "--num-workers", 0, "--json")
    assert status == 0, err
    assert json.loads(out)["num_videos"] == num_val


def test_folders_of_frames_are_checked_trained_on_and_evaluated(run, frame_set, tmp_path):
    status, out, _ = run("check", frame_set, "--output", tmp_path / "check", "--num-workers", 0, "--json")
    assert (status, json.loads(out)["findings"]) == (0, [])
    train_and_evaluate(run, frame_set, tmp_path, num_val=4)
    status, out, _ = run(
        "predict",
        frame_set / "val/grow/0",
        frame_set / "train",
        f"{frame_set}/val/*/1",
        "--model",
        tmp_path / "run",
        "--json",
    )
    paths = [Path(json.loads(line)["path"]).relative_to(frame_set).as_posix() for line in out.splitlines()]
    assert status == 0
    assert paths[0] == "val/grow/0" and len(paths) == 9


def test_a_list_of_folders_with_the_number_of_frames_is_trained_on(run, frame_set, tmp_path):
    for split in ("train", "val"):
        lines = [
            f"{frame_set}/{split}/{motion}/{clip.name} 8 {label}"
            for label, motion in enumerate(CLASSES)
            for clip in sorted((frame_set / split / motion).iterdir())
        ]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines))
    train_and_evaluate(run, tmp_path, tmp_path, num_val=4)


def test_a_gap_in_the_frames_stops_training_with_one_line(run, frame_set, tmp_path):
    for motion in CLASSES:
        for number in range(2):
            clip = tmp_path / "videos" / motion / str(number)
            clip.mkdir(parents=True)
            for path in sorted((frame_set / "train" / motion / str(number)).iterdir()):
                (clip / path.name).write_bytes(path.read_bytes())
            (clip / "img_00004.jpg").unlink()
    status, _, err = run("train", tmp_path / "videos", "--output", tmp_path / "run", "--epochs", 1, *SMALL)
    assert status == 1
    assert "frame 4 is missing: img_00003.jpg is followed by img_00005.jpg" in err
    assert run("check", tmp_path / "videos", "--num-workers", 0)[0] == 1
