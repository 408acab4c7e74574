"""`timesformer explain` on real files, with a trained model."""

import json
import re
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from timesformer.cli.explain import unique_names
from timesformer.config.run import DataConfig, RunConfig
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.clips.dataset import read_eval_views
from timesformer.data.synthetic.dataset import write_motion_dataset
from timesformer.model.rollout import rollout
from timesformer.training.train import train
from timesformer.weights.load import load
from videos import set_display_matrix, write_frames, write_video

SUFFIXES = (".gif", ".mp4", ".npz", ".png", ".svg")
CLASSES = ("move_left", "grow")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder: two epochs on clips of two classes."""
    folder = tmp_path_factory.mktemp("trained")
    write_motion_dataset(
        folder / "videos", clips_per_class=3, val_clips_per_class=2, classes=CLASSES, num_frames=7, size=(32, 40)
    )
    run = RunConfig(
        model=ModelConfig(
            num_frames=3,
            image_size=(16, 24),
            patch_size=8,
            embed_dim=12,
            depth=2,
            num_heads=2,
            initialization="scratch",
        ),
        clip=ClipConfig(sampling="uniform", num_crops=1),
        data=DataConfig(train=str(folder / "videos"), num_workers=0),
        output=str(folder / "run"),
        epochs=2,
        batch_size=2,
        device="cpu",
    )
    train(run, on_message=lambda line: None)
    return folder


def names_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("options", "tells_cls"), [((), False), (("--method", "class"), True)])
def test_each_video_gets_a_line_and_five_files(run, trained: Path, tmp_path: Path, options: tuple, tells_cls: bool):
    output = tmp_path / "new" / "explained"
    status, out, err = run("explain", trained / "videos/val", "-m", trained / "run", "-o", output, *options)
    assert (status, err) == (0, "")
    stems = [f"{name}_{number:04}" for name in CLASSES for number in range(2)]
    assert names_of(output) == sorted(stem + suffix for stem in stems for suffix in SUFFIXES)
    for line in out.splitlines():
        assert "; half of the relevance lies in " in line
        assert re.search(
            r" of 3 frames, (from 0\.\d\d to 0\.\d\d s \(frames \d to \d\)|at 0\.\d\d s \(frame \d\)); ", line
        )
        assert ("% stays in the class token; " in line) is tells_cls
        assert line.endswith(".mp4, .gif, .png, .svg, .npz")
    assert len(out.splitlines()) == 4


def test_the_files_show_the_map_of_the_center_view(run, trained: Path, tmp_path: Path):
    video = trained / "videos/val/grow/grow_0001.mp4"
    arguments = ("--method", "rollout", "--residual", "norm", "--json")
    status, out, _ = run("explain", video, "-m", trained / "run", "-o", tmp_path, *arguments)
    row = json.loads(out)
    assert status == 0
    assert row["files"] == [str(tmp_path / f"grow_0001{suffix}") for suffix in (".mp4", ".gif", ".png", ".svg", ".npz")]
    model = load(trained / "run")
    views, _ = read_eval_views(video, model.config, model.info.clip)
    expected = rollout(model, views[:1], residual="norm").patches[0]
    with np.load(tmp_path / "grow_0001.npz") as stored:
        torch.testing.assert_close(torch.from_numpy(stored["map"]), expected / expected.sum())
        assert stored["frames"].tolist() == row["frames"] == [0, 3, 6]
        assert stored["curve"].tolist() == pytest.approx(row["curve"])
        assert (stored["label"].item(), stored["target"].item()) == (row["label"], -1)
    assert row["target"] is None
    with av.open(tmp_path / "grow_0001.mp4") as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 7  # every frame from the first to the last of the view
    with Image.open(tmp_path / "grow_0001.png") as strip:
        strip.verify()
    assert (tmp_path / "grow_0001.svg").read_text("utf-8").startswith("<svg")
    with Image.open(tmp_path / "grow_0001.gif") as animation:
        assert animation.n_frames > 1


@pytest.mark.parametrize(("name", "index"), [("grow", None), ("1", 1)])
def test_a_class_is_chosen_by_name_or_index(run, trained: Path, tmp_path: Path, name: str, index: int | None):
    video = trained / "videos/val/grow/grow_0000.mp4"
    labels = load(trained / "run").info.labels
    _, out, _ = run("explain", video, "-m", trained / "run", "-o", tmp_path, "--class", name, "--json")
    row = json.loads(out)
    assert row["target"] == (labels.index(name) if index is None else index)
    assert row["label"] == labels[row["target"]]


def test_occlusion_takes_the_options_of_forward_passes(run, trained: Path, tmp_path: Path):
    video = trained / "videos/val/grow/grow_0000.mp4"
    options = ("--method", "occlusion", "--batch-size", 5, "--no-fast", "--set", "num_frames=2", "--json")
    status, out, _ = run("explain", video, "-m", trained / "run", "-o", tmp_path, *options)
    row = json.loads(out)
    assert (status, row["cls_fraction"], row["grid"]) == (0, None, [2, 2, 3])


def test_an_unreadable_video_is_one_line_and_the_others_are_explained(run, trained: Path, tmp_path: Path):
    bad, good = tmp_path / "bad.mp4", trained / "videos/val/grow/grow_0000.mp4"
    bad.write_text("this is not a video")
    status, out, err = run("explain", bad, good, "-m", trained / "run", "-o", tmp_path / "out")
    assert status == 1
    assert out.startswith(f"{good}: ")
    first, last = err.splitlines()
    assert first.startswith(f"error: {bad}: ")
    assert last == "1 of 2 videos could not be read"
    assert names_of(tmp_path / "out") == [f"grow_0000{suffix}" for suffix in SUFFIXES]
    status, out, _ = run("explain", bad, "-m", trained / "run", "-o", tmp_path / "out", "--json")
    assert status == 1
    assert json.loads(out)["path"] == str(bad)
    assert json.loads(out)["error"]


def test_a_video_of_one_frame_and_one_that_is_turned_are_explained(run, trained: Path, tmp_path: Path):
    one = write_video(tmp_path / "one.mp4", num_frames=1)
    turned = set_display_matrix(write_video(tmp_path / "turned.mp4", num_frames=9), (0, 1, -1, 0))
    status, out, err = run("explain", one, turned, "-m", trained / "run", "-o", tmp_path / "out")
    assert (status, err) == (0, "")
    assert " of 3 frames, at 0.00 s (frame 0); " in out
    with av.open(tmp_path / "out" / "turned.mp4") as clip:
        assert (clip.streams.video[0].height, clip.streams.video[0].width) == (80, 48)


def test_equal_stems_get_different_names(run, trained: Path, tmp_path: Path):
    source = trained / "videos/val/grow/grow_0000.mp4"
    for name in ("a/clip.mp4", "b/clip.mp4", "c/CLIP.mp4"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(source, tmp_path / name)
    write_frames(tmp_path / "d/clip.v2", num_frames=4)
    paths = [tmp_path / name for name in ("a/clip.mp4", "b/clip.mp4", "c/CLIP.mp4", "d/clip.v2")]
    assert run("explain", *paths, "-m", trained / "run", "-o", tmp_path / "out")[0] == 0
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {"clip", "clip-2", "CLIP-3", "clip-4"}
    assert unique_names([Path("a/x.mp4"), Path("b/x.mp4"), Path("x-2.mp4")]) == ["x", "x-2", "x-2-2"]


def test_files_are_replaced_on_request_only(run, trained: Path, tmp_path: Path):
    command = ("explain", trained / "videos/val/grow/grow_0000.mp4", "-m", trained / "run", "-o", tmp_path)
    (tmp_path / "grow_0000.svg").write_text("mine")
    status, out, err = run(*command)
    assert (status, out) == (2, "")
    assert err == (
        f"error: {tmp_path / 'grow_0000.svg'}: already exists; pass overwrite=True (--overwrite) to replace it\n"
    )
    assert names_of(tmp_path) == ["grow_0000.svg"]
    assert run(*command, "--overwrite")[0] == 0
    assert (tmp_path / "grow_0000.svg").read_text("utf-8") != "mine"


def test_the_output_folder_is_not_explained_again(run, trained: Path, tmp_path: Path):
    videos = tmp_path / "videos"
    (videos / "sub").mkdir(parents=True)
    video = write_video(videos / "sub/a.mkv", num_frames=6)
    arguments = ("explain", videos, "--model", trained / "run", "--output")
    status, out, err = run(*arguments, videos)
    assert (status, out) == (2, "")
    assert err == f"error: --output {videos}: is searched for videos, and would get new ones; choose another folder\n"
    assert run(*arguments, videos / "maps")[0] == 0
    made = names_of(videos / "maps")
    status, _, err = run(*arguments, videos / "maps")
    assert status == 2
    assert "already exists; pass overwrite=True (--overwrite)" in err
    status, out, err = run(*arguments, videos / "maps", "--overwrite")
    assert status == 0
    assert out.startswith(f"{video}: ") and len(out.splitlines()) == 1
    assert f"{videos / 'maps'}: files of the output folder are not explained: 2\n" in err
    assert names_of(videos / "maps") == made
    video.unlink()
    status, _, err = run(*arguments, videos / "maps", "--overwrite")
    assert status == 2
    assert f"error: {videos}: no videos besides those in the output folder {videos / 'maps'}\n" in err


def test_a_video_is_never_replaced(run, trained: Path, tmp_path: Path):
    video = write_video(tmp_path / "clip.mp4", num_frames=4)
    before = video.read_bytes()
    status, _, err = run("explain", video, "-m", trained / "run", "-o", tmp_path, "--overwrite")
    assert (status, err) == (2, f"error: {video}: is an input: choose another file to write\n")
    assert video.read_bytes() == before
    pictures = write_frames(tmp_path / "pictures", num_frames=4)
    status, _, err = run("explain", pictures, "-m", trained / "run", "-o", pictures)
    assert status == 2
    assert err == f"error: --output {pictures}: is a folder of frames that is explained; choose another folder\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "rolout"), "'rolout' is not one of contribution, class, rollout, occlusion"),
        (("--residual", "full", "--method", "rollout"), "'full' is not one of half, norm"),
        (("--residual", "norm"), "residual='norm' has no effect on method='contribution'"),
        (("--class", "gro"), "the model has no class 'gro'; did you mean 'grow'?"),
        (("--class", "2"), "target=2 must be at most 1"),
        (("--class", "grow", "--method", "rollout"), "target='grow' has no effect on method='rollout'"),
        (("--step", "spac"), "unknown attention step 'spac': allowed are 'time', 'space'; did you mean 'space'?"),
        (("--step", "time"), "the class token takes no part in 'time': no patch reaches it; add 'space'"),
        (("--step", "all,space"), "--step all,space: `all` includes the others; give it alone, or leave it out"),
        (("--step", "space", "--method", "occlusion"), "steps=('space',) has no effect on method='occlusion'"),
        (("--batch-size", 4), "batch_size=4 has no effect on method='contribution', only on method='occlusion'"),
        (("--set", "num_frame=4"), "did you mean num_frames?"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(run, trained: Path, tmp_path: Path, options, message):
    video = trained / "videos/val/grow/grow_0000.mp4"
    status, out, err = run("explain", video, "-m", trained / "run", "-o", tmp_path / "out", *options)
    assert (status, out) == (2, "")
    assert message in " ".join(err.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_all_steps_are_the_default(run, trained: Path, tmp_path: Path):
    video = trained / "videos/val/grow/grow_0000.mp4"
    curves = []
    for number, options in enumerate([(), ("--step", "all"), ("--step", "time,space"), ("--step", "space")]):
        _, out, _ = run("explain", video, "-m", trained / "run", "-o", tmp_path / str(number), "--json", *options)
        curves.append(json.loads(out)["curve"])
    assert curves[0] == curves[1] == curves[2] != curves[3]


def test_an_onnx_file_is_refused_in_one_line(run, trained: Path, tmp_path: Path):
    status, _, err = run("explain", trained / "videos/val", "-m", "mine.onnx", "-o", tmp_path / "out")
    assert status == 2
    assert err == (
        "error: mine.onnx: an ONNX file cannot be explained, because its attention is not accessible; name the run or "
        "model folder that it was exported from\n"
    )
