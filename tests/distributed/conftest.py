"""Seven video files, of which the fourth is not a video, and a model for them; videos to train on in several ranks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from launching import Launch, rank_host
from timesformer.config.info import ModelInfo
from timesformer.config.schema import ClipConfig, ModelConfig
from timesformer.data.synthetic.dataset import write_clip, write_motion_dataset
from timesformer.data.synthetic.motion import render_clip
from timesformer.model.timesformer import TimeSformer
from timesformer.weights.model_folder import save

LABELS = ("move_left", "move_right", "grow")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    config = ModelConfig(
        num_frames=2, image_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=3,
        initialization="scratch",
    )  # fmt: skip
    info = ModelInfo(clip=ClipConfig(sampling="uniform", num_crops=1), labels=LABELS)
    return save(TimeSformer(config, info=info), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def video_list(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    lines = []
    for number in range(7):
        label = LABELS[number % 3]
        path = folder / f"{number}.mp4"
        if number == 3:
            path.write_bytes(b"no video")
        else:
            write_clip(path, render_clip(label, seed=number, num_frames=5, size=(20, 24), background="plain"))
        lines.append(f"{path.name},{label}\n")
    (folder / "list.csv").write_text("".join(lines))
    return folder / "list.csv"


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `train/` (11 videos, one of them unreadable) and `val/` (5 videos)."""
    folder = tmp_path_factory.mktemp("motion") / "data"
    write_motion_dataset(folder, clips_per_class=4, val_clips_per_class=2, classes=LABELS, num_frames=5, size=(16, 20))
    train, val = (sorted((folder / split).rglob("*.mp4")) for split in ("train", "val"))
    train[4].unlink()
    train[7].write_bytes(b"no video")
    val[2].unlink()
    return folder


@pytest.fixture(scope="session")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    """Run the command line in several ranks."""
    with rank_host(tmp_path_factory.mktemp("host") / "errors.txt") as launch:
        yield launch


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests start as one process wherever they run."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
